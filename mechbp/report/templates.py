"""The jinja2 environment that pages and index share, and the hashes that let their own scripts run and no other."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from mechbp.report.verdicts import KINDS, SHOWN, SHOWN_KINDS, VERDICTS, shown_rule, shown_verdict

HERE = Path(__file__).parent


@cache
def environment() -> jinja2.Environment:
    """Return the environment: everything is escaped, an undefined name is an error."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    env.filters |= {"code_spans": code_spans, "shown_rule": shown_rule, "shown_verdict": shown_verdict}
    env.globals.update(
        css=asset("page.css"), verdicts=VERDICTS, shown=SHOWN, kinds=KINDS, shown_kinds=SHOWN_KINDS, written=written
    )
    return env


def asset(name: str) -> Markup:
    """Return one of the package's own text files for inlining, unescaped."""
    return Markup((HERE / name).read_text(encoding="utf-8").strip())


def code_spans(text: str) -> Markup:
    """Escape a paragraph and set what stands between backquotes as code; an unpaired backquote stays as it is."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        parts[-2:] = ["`".join(parts[-2:])]
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts))


def written(value: Any) -> str:
    """Return a number, a truth value, text, nothing, or a list of these as a claim's reader is shown it."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(written, value)) or "none"
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def content_security_policy(*scripts: str, integrity: str = "") -> str:
    """Return a policy under which exactly these inline scripts run and nothing is fetched.

    With `integrity` they may also add the script that has it, which is the only thing a page then fetches.
    """
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts]
    if integrity:
        hashes += [f"'{integrity}'", "'strict-dynamic'"]
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(hashes) or chr(39) + 'none' + chr(39)}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )

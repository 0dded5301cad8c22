"""Figures of documents as PNG files, drawn by the page itself in headless Chromium.

    python -m mechbp.report.snapshot reports/tree_inference.json#fig-calibration --out reports/figures

needs the optional extra: pip install "mechbp[snapshot]", and a Chromium (the system's, or `playwright install chromium`).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mechbp.errors import InputError, MechbpError
from mechbp.report.document import Document, load
from mechbp.report.page import render
from mechbp.storage import atomic_write

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""The pages drawn here are our own and fetch nothing, so the sandbox, which containers often lack, is not missed."""
TIMEOUT_MS = 120_000


def snapshot(document: Document, figure: str, *, width_px: int = 1000, theme: str = "light", frame: int | None = None) -> bytes:
    """Return one figure with its title as a PNG at double resolution.

    width_px: width of the page it is drawn on; theme: `light` or `dark`; frame: position of the slider, by default the last.
    Raises InputError for a figure that is not drawn on the page, MechbpError where playwright or Chromium is missing.
    """
    known = {item.id: item for item in document.figures if item.status == "done"}
    if figure not in known:
        raise InputError(f"{document.slug}: no figure {figure!r} to draw; there are: {', '.join(known) or 'none'}.")
    frames = len(known[figure].data.get("frames", [None]))
    if frame is not None and not 0 <= frame < frames:
        raise InputError(f"{document.slug}: {figure} has the frames 0..{frames - 1}, got {frame}.")
    if theme not in ("light", "dark"):
        raise InputError(f"snapshot: theme must be 'light' or 'dark', got {theme!r}.")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder) / "page.html"
        path.write_text(render(document), encoding="utf-8", newline="\n")
        context = browser.new_context(viewport={"width": width_px, "height": 800}, color_scheme=theme, device_scale_factor=2)
        page = context.new_page()
        page.goto(path.as_uri() + f"#{figure}" + ("" if frame is None else f"/{frame}"), timeout=TIMEOUT_MS)
        page.evaluate("document.documentElement.dataset.snapshot = ''; dispatchEvent(new Event('resize'))")
        wait_until_drawn(page, f"plot-{figure}")
        return page.locator(f"#{figure}").screenshot(timeout=TIMEOUT_MS)


def wait_until_drawn(page: Any, plot: str) -> None:
    """Wait until the page has drawn at the width it now has. (Its policy forbids waiting for an expression.)"""
    width = page.evaluate("id => document.getElementById(id).parentElement.clientWidth", plot)
    page.wait_for_selector(f'html[data-drawn="yes"] #{plot}[data-width="{width}"]', timeout=TIMEOUT_MS)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a headless Chromium: the system's if there is one, else playwright's own."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise MechbpError(
            'snapshot needs playwright: pip install "mechbp[snapshot]", then install Chromium if there is none.'
        ) from None
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=system_chromium(), args=list(ARGUMENTS), timeout=TIMEOUT_MS)
        except Error as error:
            reason = str(error).strip().splitlines()[0]
            raise MechbpError(f"no Chromium starts ({reason}). Install one, or run `playwright install chromium`.") from None
        try:
            yield browser
        finally:
            browser.close()


def system_chromium() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


def main(arguments: list[str] | None = None) -> int:
    """Write DIR/<document>-<figure>.png for every DOCUMENT.json#FIGURE; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mechbp.report.snapshot", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("figures", nargs="+", metavar="DOCUMENT.json#FIGURE")
    parser.add_argument("--out", type=Path, default=Path("reports/figures"), metavar="DIR")
    parser.add_argument("--width", type=int, default=1000, metavar="PX")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    options = parser.parse_args(arguments)
    try:
        for target in options.figures:
            path, _, figure = target.rpartition("#")
            document = load(path or target)
            image = snapshot(document, figure, width_px=options.width, theme=options.theme)
            options.out.mkdir(parents=True, exist_ok=True)
            name = options.out / f"{document.slug}-{figure.removeprefix('fig-')}.png"
            atomic_write(name, image)
            print(name)
    except MechbpError as error:
        print(f"snapshot: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

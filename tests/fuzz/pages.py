"""The JSON of pages: a figure of every kind, claims and provenance, with values, keys and bytes changed."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from mechbp.report.document import dumps, load
from mechbp.report.folder import check_folder, render_folder
from tests.fuzz.outcome import Surprise, refusal_or_answer, snapshot
from tests.fuzz.trees import mutated, pick, scrambled
from tests.support.demo import demo


def one(draw: np.random.Generator, folder: Path) -> str:
    """Write one changed document, make its page, and say what became of it; a refusal leaves the folder as it was."""
    for path in folder.iterdir():
        if path.suffix != ".js":  # plotly, which all share
            path.unlink()
    (folder / "page.json").write_bytes(content(draw))
    before = snapshot(folder)
    told = refusal_or_answer(lambda: render_folder(folder, bundled=True))
    if told != "answer":
        if snapshot(folder) != before:
            raise Surprise(f"refused ({told}), but it has written {sorted(set(snapshot(folder)) - set(before))}")
        if "plotly cannot draw" not in told and refusal_or_answer(lambda: check_folder(folder)) == "answer":
            raise Surprise(f"refused ({told}) only after hours of work: check_folder accepts it")
        return told
    for page in folder.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        if "<script>alert(1)" in text:
            raise Surprise("a text of the document is executed on its page")
    document = load(folder / "page.json")
    if dumps(document) != dumps(load(_rewritten(folder, document))):
        raise Surprise("what was read is not what is written")
    return told


def content(draw: np.random.Generator) -> bytes:
    """The bytes of one document: one or two of the figures, everything else whole."""
    tree = json.loads(pick(draw, _documents()))
    if draw.random() < 0.15:
        return scrambled(json.dumps(tree).encode(), draw)
    if draw.random() < 0.03:
        return b'{"provenance": ' + b"[" * int(pick(draw, (300, 900, 10**5))) + json.dumps(tree).encode()
    if draw.random() < 0.6:
        tree["sections"][0]["figures"][0]["data"] = mutated(tree["sections"][0]["figures"][0]["data"], draw)
    else:
        tree = mutated(tree, draw)
    return json.dumps(tree).encode("utf-8", "surrogatepass")


@functools.cache
def _documents() -> tuple[str, ...]:
    """The demo cut into documents of one figure each; claims point at no figure then."""
    tree = json.loads(dumps(demo()))
    figures = [figure for section in tree["sections"] for figure in section["figures"]]
    claims = [claim | {"figure": ""} for claim in tree["claims"]]
    section = {"id": "one", "title": "One", "text": ["A `text`."], "status": "done", "reason": ""}
    found = [tree | {"claims": claims[:2], "sections": [section | {"figures": [figure]}], "telling": ""} for figure in figures]
    return tuple(json.dumps(document) for document in found)


def _rewritten(folder: Path, document) -> Path:
    path = folder / "again.json"
    path.write_text(dumps(document), encoding="utf-8")
    return path

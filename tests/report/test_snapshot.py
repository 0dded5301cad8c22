"""Snapshots of single figures; run apart from the browser tests because playwright allows one event loop at a time."""

import struct
import sys

import pytest
from demo import demo

from mechbp.errors import InputError, MechbpError
from mechbp.report.snapshot import main, snapshot, system_chromium


@pytest.mark.skipif(system_chromium() is None, reason="no Chromium on PATH: no snapshot can be taken")
@pytest.mark.slow
def test_snapshot_is_a_png_of_the_figure():
    pytest.importorskip("playwright")
    image = snapshot(demo(), "fig-ablation", width_px=800)
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", image[16:24])
    assert 1400 <= width <= 1600 and 400 <= height <= 1000


@pytest.mark.parametrize(
    "wrong", [{"figure": "fig-llc"}, {"figure": "fig-ablation", "frame": 1}, {"figure": "fig-ablation", "theme": "blue"}]
)
def test_wrong_requests_are_refused_before_a_browser_starts(wrong):
    with pytest.raises(InputError):
        snapshot(demo(), **wrong)


def test_missing_playwright_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(MechbpError, match=r"pip install \"mechbp\[snapshot\]\""):
        snapshot(demo(), "fig-ablation")


def test_a_missing_document_ends_with_exit_code_2(capsys):
    assert main(["/nonexistent.json#fig-a"]) == 2
    assert "cannot be read" in capsys.readouterr().err

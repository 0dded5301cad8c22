"""Bundled pages: small, one script beside them that is known by its digest, refused over HTTP where it is another."""

import http.server
import threading
from functools import partial

import pytest
from demo import demo

from mechbp import cli
from mechbp.report.bundle import Bundle, plotly_bundle
from mechbp.report.document import dumps
from mechbp.report.folder import render_folder
from mechbp.report.page import render
from mechbp.report.snapshot import chromium, system_chromium


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "demo.json").write_text(dumps(demo()), encoding="utf-8")
    render_folder(tmp_path, bundled=True)
    return tmp_path


def test_the_script_is_written_once_and_pages_are_small(folder):
    bundle = plotly_bundle()
    assert (folder / bundle.name).read_bytes() == bundle.content and len(list(folder.glob("plotly-*.js"))) == 1
    html = (folder / "demo.html").read_text(encoding="utf-8")
    assert len(html) < 1e6 and html.count("<script>") == 1 and html == render(demo(), bundle)
    policy = html[: html.index("</head>")].split('content="')[1].split('"')[0]
    assert bundle.integrity in policy.replace("&#43;", "+") and "unsafe" not in policy.split("style-src")[0]
    assert Bundle(b"1").name != Bundle(b"2").name and Bundle(b"1").integrity != Bundle(b"2").integrity


def test_the_command_line_bundles_only_when_asked(folder, monkeypatch, capsys):
    def pages_of(*options):
        monkeypatch.setattr("sys.argv", ["mechbp", "report", "--render", "--out", str(folder), *options])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code
        return (folder / "demo.html").read_text(encoding="utf-8")

    assert pages_of() == render(demo())
    assert pages_of("--bundle") == render(demo(), plotly_bundle())
    assert plotly_bundle().name not in capsys.readouterr().out  # what is named there are pages


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.skipif(system_chromium() is None, reason="no Chromium on PATH: pages are not drawn in a browser")
@pytest.mark.slow
def test_bundled_pages_draw_from_disk_and_from_a_server_which_cannot_change_the_script(folder):
    pytest.importorskip("playwright")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served = f"http://127.0.0.1:{server.server_port}/demo.html"
    try:
        with chromium() as browser:
            for address in ((folder / "demo.html").as_uri(), served):
                page = browser.new_page()
                page.goto(address)
                page.wait_for_selector('html[data-drawn="yes"]', timeout=60_000)
                assert page.locator(".plot .cartesianlayer").count() > 5
                page.close()
            (folder / plotly_bundle().name).write_bytes(plotly_bundle().content + b"\n;document.title = 'forged'")
            page = browser.new_context().new_page()
            page.goto(served)
            page.wait_for_selector("main > .missing", timeout=60_000)
            assert page.title() != "forged" and page.locator(".plot svg").count() == 0
            assert "could not be drawn" in page.locator("main > .missing").first.inner_text()
    finally:
        server.shutdown()
        server.server_close()

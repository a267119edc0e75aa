"""A page of `examples/javascript` opened in headless Chromium, with no network but this machine's own server."""

from __future__ import annotations

import json
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.report.browser import browser

_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
_REPORT = "/found"


class _Handler(SimpleHTTPRequestHandler):
    """Files of a folder; a page posts what it found, which ends the visit."""

    found: dict[str, Any]
    posted: threading.Event

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.found.update(json.loads(self.rfile.read(length)))
        self.send_response(204)
        self.end_headers()
        self.posted.set()

    def log_message(self, format: str, *words: Any) -> None:
        pass


def visit(site: Path, script: str, profile: Path, wait_s: float = 240) -> dict[str, Any]:
    """What a script finds out in a browser.

    Args:
        site: folder that is served; gets a page of its own, `visit.html`.
        script: body of an async function in a module of that page; what it returns is the result.
        profile: folder for what the browser keeps.
        wait_s: when to give up.
    """
    (site / "visit.html").write_text(_make_page(script), encoding="utf-8")
    found: dict[str, Any] = {}
    posted = threading.Event()
    handler = type("Handler", (_Handler,), {"found": found, "posted": posted})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/visit.html"
        command = [browser(), *_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as chromium:
            try:
                came = posted.wait(wait_s)
            finally:
                chromium.terminate()
                server.shutdown()
    if not came:
        pytest.fail("the page did not report")
    assert "error" not in found, found["error"]
    return found


def _make_page(script: str) -> str:
    return f"""<!doctype html><meta charset="utf-8"><body><script type="module">
const visit = async () => {{ {script} }};
const found = await visit().catch((error) => ({{error: String(error.stack ?? error)}}));
await fetch('{_REPORT}', {{method: 'POST', body: JSON.stringify(found)}});
</script>"""

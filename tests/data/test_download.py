"""Sets are fetched with progress, gone on with after an interruption, and kept only if they are the official files."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from edgeexit.data.download import SetFile, fetch, verify_file
from edgeexit.errors import InputError


class Shop(BaseHTTPRequestHandler):
    """Serves `files`, by ranges too; `cut` ends a reply early once; `asked` is what was asked for."""

    files: ClassVar[dict[str, bytes]] = {}
    cut: ClassVar[int | None] = None
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        body = Shop.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        Shop.asked.append(wanted)
        start = int(re.findall(r"\d+", wanted)[0]) if wanted else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = len(body) if Shop.cut is None else Shop.cut
        Shop.cut = None
        self.wfile.write(body[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def shop() -> Iterator[str]:
    """The address of a server on this machine."""
    Shop.files, Shop.cut, Shop.asked = {}, None, []
    server = HTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_file_is_fetched_with_progress(shop: str, tmp_path: Path) -> None:
    """And lies in the folder under its name, verified."""
    Shop.files["/a.gz"] = body = bytes(3 << 20)
    file = SetFile("a.gz", f"{shop}/a.gz", sha(body))
    seen = []

    fetch(tmp_path / "set", [file], lambda what, done, total: seen.append((done, total)))

    assert body == verify_file("set", tmp_path / "set", file).read_bytes()
    assert (len(body), len(body)) == seen[-1]
    assert [tmp_path / "set" / "a.gz"] == list((tmp_path / "set").iterdir())


def test_an_interrupted_download_is_gone_on_with(shop: str, tmp_path: Path) -> None:
    """The second request asks for the rest only."""
    Shop.files["/a.gz"], Shop.cut = (body := bytes(range(256)) * 8192), 100_000
    file = SetFile("a.gz", f"{shop}/a.gz", sha(body))

    with pytest.raises(InputError):
        fetch(tmp_path, [file])
    fetch(tmp_path, [file])

    assert [None, "bytes=100000-"] == Shop.asked
    assert body == (tmp_path / "a.gz").read_bytes()


def test_what_is_there_is_not_fetched_again(shop: str, tmp_path: Path) -> None:
    """The hash decides."""
    (tmp_path / "a.gz").write_bytes(b"there")

    fetch(tmp_path, [SetFile("a.gz", f"{shop}/a.gz", sha(b"there"))])

    assert [] == Shop.asked


def test_members_of_one_archive_are_fetched_once(shop: str, tmp_path: Path) -> None:
    """CIFAR-10 is one archive of several files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name in ("x/1.bin", "x/2.bin"):
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    Shop.files["/set.tar.gz"] = archive.getvalue()
    files = [SetFile(f"{i}.bin", f"{shop}/set.tar.gz", sha(f"x/{i}.bin".encode()), member=f"x/{i}.bin") for i in (1, 2)]

    fetch(tmp_path, files)

    assert [None] == Shop.asked
    assert {"1.bin": b"x/1.bin", "2.bin": b"x/2.bin"} == {p.name: p.read_bytes() for p in tmp_path.iterdir()}


def test_a_file_that_is_not_the_official_one_is_not_kept(shop: str, tmp_path: Path) -> None:
    """Neither whole nor in part."""
    Shop.files["/a.gz"] = b"other"

    with pytest.raises(InputError, match="not the official one"):
        fetch(tmp_path, [SetFile("a.gz", f"{shop}/a.gz", sha(b"right"))])

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["{shop}/none.gz", "http://127.0.0.1:9/none.gz"])
def test_no_file_and_no_network_are_one_message(shop: str, tmp_path: Path, address: str) -> None:
    """With the address."""
    with pytest.raises(InputError, match=r"cannot fetch http.*none\.gz"):
        fetch(tmp_path, [SetFile("none.gz", address.format(shop=shop), "")])

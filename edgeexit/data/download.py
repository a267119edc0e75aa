"""Where the public sets are, whether they are the official files, and how to fetch them where there is a network.

Files are looked for under $EDGEEXIT_DATA, or ~/.cache/edgeexit. Nothing is fetched unless asked:
`python -m edgeexit.data mnist` does it, with progress, and goes on where an interrupted download ended.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgeexit.errors import InputError
from edgeexit.util.atomic import replace_atomically
from edgeexit.util.progress import Progress, show_nothing

_BLOCK = 1 << 20
_KEPT = "The part downloaded so far is kept; the same command resumes the download."


@dataclass(frozen=True)
class SetFile:
    """One official file of a set.

    Attributes:
        name: file name in the set's folder.
        url: URL of the file, or of the archive that holds it.
        sha256: SHA-256 of the file itself.
        member: its path inside the archive; None where the url is the file.
    """

    name: str
    url: str
    sha256: str
    member: str | None = None


def find_data_folder() -> Path:
    """$EDGEEXIT_DATA, or ~/.cache/edgeexit."""
    return Path(os.environ.get("EDGEEXIT_DATA") or Path.home() / ".cache" / "edgeexit")


def verify_file(set_name: str, folder: Path, file: SetFile) -> Path:
    """The path of a file of a set, known to be the official one.

    Raises:
        InputError: it is missing, or its hash differs.
    """
    path = folder / file.name
    if not path.is_file():
        msg = (
            f"{set_name} is not on this machine: {path} is missing. Fetch it with: python -m edgeexit.data {set_name}; "
            f"or set EDGEEXIT_DATA to a folder that has {folder.name}/{file.name}"
        )
        raise InputError(msg)
    got = compute_file_sha256(path)
    if got != file.sha256:
        msg = f"{path} is not the official file: its SHA-256 is {got}, expected {file.sha256}. Remove it and fetch it again."
        raise InputError(msg)
    return path


def compute_file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fetch(folder: Path, files: Sequence[SetFile], progress: Progress = show_nothing) -> None:
    """Download what `folder` lacks of `files`. An interrupted download is kept as `<name>.part` and gone on with.

    Raises:
        InputError: no network, a server that does not have the file, or a file that is not the official one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [f for f in files if not (folder / f.name).is_file() or compute_file_sha256(folder / f.name) != f.sha256]
    for url in dict.fromkeys(f.url for f in missing):
        wanted = [f for f in missing if f.url == url]
        part = folder / (url.rsplit("/", 1)[-1] + ".part")
        _download(url, part, progress)
        for file in wanted:
            _install_file(part, file, folder)
        part.unlink()


def _download(url: str, part: Path, progress: Progress) -> None:
    import urllib.error  # here: they take a sixth of the time in which a process opens a bundle, and hardly any downloads
    import urllib.request

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - https, from this package
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            resumed = reply.status == 206
            have = have if resumed else 0
            total = have + int(reply.headers.get("Content-Length") or 0)
            with part.open("ab" if resumed else "wb") as out:
                _copy(reply, out, lambda got: progress(f"fetch {part.stem}", have + got, max(total, have + got)))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the range is empty: the file was complete already
            return
        msg = f"cannot fetch {url}: {error}"
        raise InputError(msg) from error
    except OSError as error:
        msg = f"cannot fetch {url}: {error}. {_KEPT}"
        raise InputError(msg) from error
    if part.stat().st_size < total:
        msg = f"cannot fetch {url}: it ended after {part.stat().st_size} of {total} bytes. {_KEPT}"
        raise InputError(msg)


def _copy(source: IO[bytes], out: IO[bytes], advance: Callable[[int], None]) -> None:
    got = 0
    while block := source.read(_BLOCK):
        out.write(block)
        got += len(block)
        advance(got)


def _install_file(part: Path, file: SetFile, folder: Path) -> None:
    data = part.read_bytes() if file.member is None else _read_member(part, file.member)
    got = hashlib.sha256(data).hexdigest()
    if got != file.sha256:
        part.unlink()
        msg = (
            f"{file.url} gave a {file.name} that is not the official one: SHA-256 {got}, expected {file.sha256}. The"
            f" download was discarded."
        )
        raise InputError(msg)
    with replace_atomically(folder / file.name) as scratch:
        scratch.write_bytes(data)


def _read_member(archive: Path, name: str) -> bytes:
    try:
        with tarfile.open(archive) as tar:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        archive.unlink()
        msg = f"the downloaded archive {archive.name} has no readable {name}: {error}. It was removed; fetch it again."
        raise InputError(msg) from error

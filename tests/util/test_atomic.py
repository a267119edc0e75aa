"""Files that appear whole: what has reached the disk when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeexit.util.atomic import write_bytes, write_whole


def _name_of(handle: int) -> str:
    return Path(f"/proc/self/fd/{handle}").readlink().name


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc, which names open files")
@pytest.mark.parametrize("write", [write_bytes, write_whole])
def test_a_file_is_on_the_disk_before_its_name_and_its_name_before_the_end(
    write: Callable[[Path, bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves the old content or the new one: the content is written out, then the file renamed, then its folder written out."""
    events: list[str] = []
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        events.append("rename" if (self.name, Path(target).name) == (written[-1], "final") else "another rename")
        return rename(self, target)

    written: list[str] = []

    def sync(handle: int) -> None:
        written.append(_name_of(handle))
        events.append("sync the folder" if _name_of(handle) == tmp_path.name else "sync the content")

    monkeypatch.setattr("os.fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    write(tmp_path / "final", b"new")

    assert events == ["sync the content", "rename", "sync the folder"]
    assert b"new" == (tmp_path / "final").read_bytes()

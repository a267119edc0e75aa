"""How a measuring process ends, and what its parent makes of that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeexit.errors import EdgeExitError, HardwareMissing, InternalError
from edgeexit.measure.processes import run_process
from edgeexit.util.progress import show_nothing


class NoJob:
    """A job whose file is empty."""

    def write(self, path: Path) -> None:
        """As an empty file."""
        path.write_text("")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """For the job; a child finds modules that are written into its parent folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


def work(folder: Path, body: str) -> dict[str, object]:
    """Run a process whose `main(import_s, job, out)` has this body."""
    (folder.parent / "measuring_body.py").write_text(
        f"import os, signal, tempfile\nimport numpy as np\ndef main(import_s, job, out):\n    {body}\n"
    )
    return dict(run_process(NoJob(), folder, process=0, processes=1, progress=show_nothing, module="measuring_body"))


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", HardwareMissing, "memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", InternalError, "ended with -11"),
        ("raise MemoryError('for the arrays')", InternalError, "MemoryError: for the arrays"),
        ("raise SystemExit(7)", InternalError, "ended with 7"),
    ],
)
def test_a_process_that_ends_badly_is_one_error_with_its_reason(
    folder: Path, body: str, kind: type[EdgeExitError], told: str
) -> None:
    """The system kills where memory runs out, which no report of a fault would mend."""
    with pytest.raises(kind, match=told):
        work(folder, body)


def test_temporary_files_of_a_process_lie_in_the_folder_of_its_job(folder: Path) -> None:
    """Which its parent removes, also when it had to kill the process."""
    found = work(folder, "np.savez(out, place=np.array(os.path.dirname(tempfile.mkdtemp())))")

    assert str(folder) == str(found["place"])

"""What commands print fits a terminal of 80 columns; only a path or a command for copying may be longer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from edgeexit.cli.app import app
from edgeexit.cli.bench_output import print_bench
from edgeexit.cli.wrapping import split_into_pieces
from edgeexit.measure import BenchResult
from tests.networks import images

pytestmark = pytest.mark.filterwarnings("ignore::edgeexit.runtime.CalibrationWarning")


def too_wide(text: str, columns: int) -> list[str]:
    """Lines that could have been broken."""
    lines = [line for line in text.splitlines() if cell_len(line) > columns]
    return [
        line
        for line in lines
        if max(map(cell_len, split_into_pieces(line))) < columns - 20 and not line.startswith("Next: ")
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Samples with labels for the compiled network."""
    np.savez(tmp_path / "data.npz", x=images(60), y=np.arange(60) % 4)
    return tmp_path / "data.npz"


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "BUNDLE"),
        ("run", "BUNDLE", "--data", "DATA", "--thresholds", "1.2,1.2"),
        ("analyse", "BUNDLE", "--data", "DATA"),
        ("compile", "MODEL", "-o", "OUT", "--seconds", "0"),
        ("calibrations", "list", "BUNDLE"),
        ("devices",),
        ("devices", "jetson-thor"),
        ("doctor",),
        ("version",),
    ],
    ids=" ".join,
)
def test_no_line_is_wider_than_the_terminal(
    words: tuple[str, ...], columns: int, compiled: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    """Tables are narrowed, shared out or written as blocks; text is wrapped at words."""
    given = {"BUNDLE": compiled, "MODEL": model, "DATA": data, "OUT": tmp_path / "out.eexit"}
    arguments = [str(given.get(word, word)) for word in words]

    done = CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns), "LINES": None}, catch_exceptions=False)

    assert 0 == done.exit_code, done.output
    assert [] == too_wide(done.output, columns)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_of_a_benchmark_is_wider_than_the_terminal(
    result: BenchResult,
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its tables have the longest cells."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.delenv("LINES", raising=False)
    print_bench(result, Path("result.json"))

    assert [] == too_wide(capsys.readouterr().out, columns)

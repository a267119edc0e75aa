"""What README and docs show is run as shown, page by page, in one folder as a user would have it."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeexit.cli.app import app
from edgeexit.errors import TargetNotMet
from edgeexit.training.recipe import TrainingRecipe, load_recipe
from edgeexit.tuning import TuningResult, tune
from tests.support.brief_defaults import make_choices_brief
from tests.support.papers import shorten_digits

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>python|sh|toml)(?P<rest>[^\n]*)\n(?P<body>.*?)^ *```", re.MULTILINE | re.DOTALL
)
_PREPARE = "edgeexit compile model.onnx -o model.eexit --seconds 0.1"


@dataclass(frozen=True)
class Block:
    """One fenced block of a page; `no-run` after its language says that it cannot be run here."""

    language: str
    body: str

    def commands(self) -> list[list[str]]:
        """The edgeexit commands of a shell block; others (pip, make) are not run."""
        lines = self.body.replace("\\\n", " ").splitlines()
        return [shlex.split(line, comments=True) for line in lines if line.startswith("edgeexit ")]


def blocks(page: Path) -> list[Block]:
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["language"], textwrap.dedent(m["body"])) for m in found if "no-run" not in m["rest"]]


_TESTED_ELSEWHERE = (
    "edgeexit adopt ",
    "edgeexit compile model.onnx -o fastest.eexit --backend auto ",
    "edgeexit demo",
    "edgeexit train add-exits ",
)
"""Commands that take minutes, and have tests of their own: here only their options are read."""
_SHORTER = {
    "bench": ["--preset", "short.toml"],
    "calibrate": ["--seconds", "0.1"],
    "train": ["--epochs", "1"],
    "tune": shlex.split(
        "--budget 1s --precisions float32 --modes staged --threads 1 --criteria entropy --temperatures none --no-mixed"
    ),
}
"""What makes a command shorter, beside `tests.support.brief_defaults`; the bundle that all pages begin with has its modes timed."""


def _shortened(command: list[str]) -> list[str]:
    """The same command with less time for measuring."""
    if "--help" in command or "--from-curve" in command:
        return command
    if f"{shlex.join(command)} ".startswith(_TESTED_ELSEWHERE):
        return [*command, "--help"]
    return [*command, *_SHORTER.get(command[1], [])]


def _load_short_recipe(name: str, **options: Any) -> TrainingRecipe:
    """A recipe with two epochs of each phase, where `edgeexit train` has one; a CPU without bfloat16 would take far longer in it."""
    return replace(load_recipe(name, **options).with_epochs(2), precision="float32")


def _tune_briefly(*given: Any, seconds: float, **options: Any) -> TuningResult:
    return tune(*given, seconds=min(seconds, 0.3), **options)


def _run_command(command: list[str]) -> None:
    """Run one command; a negative verdict (exit code 1) depends on the machine and is no fault of the page."""
    done = CliRunner().invoke(app, command[1:])
    assert done.exit_code in (0, 1), f"{shlex.join(command)}\n{done.output}\n{done.exception!r}"
    assert done.exception is None or isinstance(done.exception, (SystemExit, TargetNotMet)), repr(done.exception)


def _run_block(block: Block, folder: Path) -> None:
    if block.language == "python":
        (folder / "block.py").write_text(block.body)
        runpy.run_path(str(folder / "block.py"))
    if block.language == "toml" and (name := re.match(r"# ([\w-]+\.toml)", block.body)):
        (folder / name[1]).write_text(block.body)
    for command in block.commands() if block.language == "sh" else ():
        _run_command(_shortened(command))


@pytest.fixture(scope="session")
def prepared(user_folder: Path) -> Path:
    """The user's folder with model.onnx and model.eexit, which most pages begin with."""
    export = "edgeexit export net.py:make_net --input 1,8,8 -o model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(user_folder)
        patch.syspath_prepend(user_folder)
        for line in (export, _PREPARE):
            _run_command(shlex.split(line))
    quick = (ROOT / "benchmarks/suites/quick.toml").read_text()
    (user_folder / "short.toml").write_text(
        quick.replace("processes = 5", "processes = 1").replace("seconds = 1.0", "seconds = 0.1")
    )
    return user_folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.filterwarnings("default")
def test_every_code_block_of_a_page_runs(
    page: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python blocks run one by one, TOML blocks become the file that their first line names, shell commands run in order; no errors."""
    folder = Path(shutil.copytree(prepared, tmp_path / "user"))
    make_choices_brief(monkeypatch)
    shorten_digits(monkeypatch, parts=("calibration", "test"))
    monkeypatch.setattr("edgeexit.training.load_recipe", _load_short_recipe)
    monkeypatch.setattr("edgeexit.tune", _tune_briefly)
    monkeypatch.setattr("edgeexit.tuning.finalists.CONTENDERS", 2)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    for block in blocks(page):
        _run_block(block, folder)

"""Completion by the shell: bash itself completes, from the tables that the commands check values with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from edgeexit.backends import list_backends
from edgeexit.cli.app import main
from edgeexit.criteria import CRITERIA

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="there is no bash")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With `edgeexit` on the path, and a home folder of its own."""
    folder, home = tmp_path_factory.mktemp("bin"), tmp_path_factory.mktemp("home")
    (folder / "edgeexit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgeexit "$@"\n')
    (folder / "edgeexit").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(home)}


def run_bash(script: str, environment: dict[str, str]) -> str:
    """What a bash without the user's files prints; it stays the parent of what it starts."""
    command = [str(BASH), "--noprofile", "--norc", "-c", f"{script}\ntrue"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout


LINES = [
    "com",
    "compile --criterion ",
    "compile --fallback most",
    "run --mode f",
    "bench --preset ",
    "calibrate --backend ",
    "calibrate --recipe ",
    "compare --fail-on s",
    "train lenet-d",
    "devices jetson-orin-n",
    "run --data dig",
    "bench --against-t",
]
ASK = """COMP_WORDS=(edgeexit "$@"); COMP_CWORD=$#; _edgeexit_completion edgeexit; echo "${COMPREPLY[*]}" | tr "\\n" " "; echo"""


@pytest.fixture(scope="module")
def completed(environment: dict[str, str]) -> dict[str, list[str]]:
    """What a new bash completes for each line, once `edgeexit --install-completion` has run in another one."""
    run_bash("edgeexit --install-completion", environment)
    calls = "\n".join(f'ask {line}""' if line.endswith(" ") else f"ask {line}" for line in LINES)
    shown = run_bash(f'source "$HOME/.bashrc"\nask() {{ {ASK}; }}\n{calls}', environment)
    return {line: words.split() for line, words in zip(LINES, shown.splitlines(), strict=True)}


def test_bash_completes_commands_options_and_values(completed: dict[str, list[str]]) -> None:
    """Values from the same tables that the commands check them with."""
    assert {"compile", "compare", "compare-criteria"} == set(completed["com"])
    assert set(CRITERIA) == set(completed["compile --criterion "])
    assert ["most_confident"] == completed["compile --fallback most"]
    assert ["fused"] == completed["run --mode f"]
    assert {"quick", "standard", "publish"} <= set(completed["bench --preset "])
    assert set(list_backends()) == set(completed["calibrate --backend "])
    assert completed["calibrate --recipe "]
    assert ["slower"] == completed["compare --fail-on s"]
    assert "lenet-digits" in completed["train lenet-d"]
    assert "jetson-orin-nano" in completed["devices jetson-orin-n"]
    assert {"digits:train", "digits:calibration", "digits:test"} == set(completed["run --data dig"])
    assert ["--against-thresholds"] == completed["bench --against-t"]


def test_the_completion_of_a_shell_is_shown_or_asked_for_by_its_variable(environment: dict[str, str]) -> None:
    """Both scripts are the same; one line is completed as the script asks for it."""
    asked = {
        **environment,
        "_EDGEEXIT_COMPLETE": "complete_bash",
        "COMP_WORDS": "edgeexit run --backend tens",
        "COMP_CWORD": "3",
    }

    shown = run_bash("edgeexit --show-completion", environment)

    assert "_edgeexit_completion" in shown
    assert shown.split() == run_bash("_EDGEEXIT_COMPLETE=source_bash edgeexit", environment).split()
    assert ["tensorrt"] == run_bash("edgeexit", asked).split()


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_where_no_shell_can_be_found_out_a_message_says_so(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as from cron; the message says what works there."""
    import shellingham

    def fail() -> None:
        raise shellingham.ShellDetectionFailure

    monkeypatch.setattr(shellingham, "detect_shell", fail)
    monkeypatch.setattr(sys, "argv", ["edgeexit", option])

    with pytest.raises(SystemExit) as ended:
        main()

    assert 2 == ended.value.code
    assert "_EDGEEXIT_COMPLETE=source_bash edgeexit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["compile", "m.onnx", "--criterion", "entropie"], "no criterion named 'entropie'. Did you mean 'entropy'?"),
        (["compile", "m.onnx", "--backend", "onnxrun"], "no backend named 'onnxrun'. Did you mean 'onnxruntime'?"),
        (
            ["run", "b.eexit", "--data", "digits:test", "--mode", "stagd"],
            "no mode named 'stagd'. Did you mean 'staged'?",
        ),
        (["bench", "b.eexit", "--data", "digits:test", "--rate", "9", "--arrivals", "fix"], "Did you mean 'fixed'?"),
        (["compare", "a.json", "b.json", "--fail-on", "slow"], "Did you mean 'slower'?"),
    ],
)
def test_an_unknown_value_ends_with_2_and_the_nearest_name(
    command: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read."""
    monkeypatch.setattr(sys, "argv", ["edgeexit", *command])

    with pytest.raises(SystemExit) as ended:
        main()

    assert 2 == ended.value.code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("command", "values"), [("compile", CRITERIA), ("calibrate", list_backends())])
def test_the_help_lists_the_values_of_an_option(
    command: str, values: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the table, so that a new one is there without a change of the help."""
    monkeypatch.setattr(sys, "argv", ["edgeexit", command, "--help"])

    with pytest.raises(SystemExit):
        main()

    listed = " ".join(capsys.readouterr().out.split()).partition("One of:")[2]  # wherever a line breaks
    assert all(value in listed for value in values)

"""A module is found by a short text; what fails in a user's file is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgeexit.errors import InputError, ModelError
from edgeexit.nets import build
from edgeexit.nets.modules import load_module

SOURCE = """
import torch
from helper import WIDTH

def make(classes=4):
    return torch.nn.Linear(WIDTH, classes)

ready = torch.nn.Linear(2, 2)
number = 7
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A user's file that imports its neighbour."""
    (tmp_path / "helper.py").write_text("WIDTH = 6\n")
    path = tmp_path / "my-net.py"
    path.write_text(SOURCE)
    return path


def test_a_network_of_edgeexit_is_its_name() -> None:
    """With options."""
    assert type(build("lenet")) is type(load_module("lenet", {"classes": 5}))


def test_a_file_gives_what_its_factory_makes(file: Path) -> None:
    """Its folder is searched for what it imports."""
    module = load_module(f"{file}:make", {"classes": 3})

    assert isinstance(module, torch.nn.Linear)
    assert (6, 3) == (module.in_features, module.out_features)


def test_a_module_that_is_ready_is_taken(file: Path) -> None:
    """No call is needed."""
    assert isinstance(load_module(f"{file}:ready"), torch.nn.Linear)


def test_a_package_gives_what_its_factory_makes() -> None:
    """As in an import statement."""
    assert type(build("lenet")) is type(load_module("edgeexit.nets.branchynet:lenet"))


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("{file}:mak", "Did you mean 'make'"),
        ("{file}", "does not say what to take from it"),
        ("none.py:make", "no such file"),
        ("no_package.at_all:make", "cannot import"),
        ("edgeexit.nets:nothing", "has no 'nothing'"),
        ("lenett", "Did you mean 'lenet'"),
    ],
)
def test_what_is_not_there_is_answered(file: Path, target: str, hint: str) -> None:
    """With the near miss where there is one."""
    with pytest.raises(InputError) as caught:
        load_module(target.format(file=file))

    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "fault"), [("number", {}, "cannot be called"), ("make", {"wide": 1}, "cannot be called")]
)
def test_what_makes_no_module_is_one_message(file: Path, name: str, options: dict[str, int], fault: str) -> None:
    """With what it was called with."""
    with pytest.raises(ModelError, match=fault):
        load_module(f"{file}:{name}", options)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import torch\nx = undefined_name\n", r"NameError: name 'undefined_name' is not defined .*bad\.py, line 2\)"),
        ("def make():\n    raise ValueError('no such variant')\n", r"ValueError: no such variant .*bad\.py, line 2\)"),
        ("def make():\n    return 1 + 'a'\n", r"calling .* TypeError: unsupported .*bad\.py, line 2\)"),
        ("def make():\n    import torch\n    return torch.zeros(2).view(3)\n", r"RuntimeError: .*bad\.py, line 3\)"),
        ("x = 1\ndef make(:\n", r"SyntaxError: .*bad\.py, line 2\)"),
        ("import sys\nsys.exit(0)\n", r"SystemExit: 0 .*bad\.py, line 2\)"),
        ("\nimport no_such_package\n", r"cannot import .*no_such_package.*bad\.py, line 2\)"),
        ("import sys\nsys.path.pop(0)\nmake = 3\n", "cannot be called"),
    ],
)
def test_a_failing_file_is_one_message_with_its_line(tmp_path: Path, source: str, fault: str) -> None:
    """Whether it fails when it is run or when its factory is called; `sys.exit` does not end the command in silence."""
    (tmp_path / "bad.py").write_text(source)

    with pytest.raises(InputError, match=fault):
        load_module(f"{tmp_path / 'bad.py'}:make")


def test_an_error_of_edgeexit_in_a_users_file_stays_as_it_is(tmp_path: Path) -> None:
    """It says already what is wrong."""
    (tmp_path / "net.py").write_text("from edgeexit.nets import build\ndef make():\n    return build('lenett')\n")

    with pytest.raises(InputError, match=r"^no network named 'lenett'"):
        load_module(f"{tmp_path / 'net.py'}:make")

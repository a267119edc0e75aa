"""Weights are loaded without running code, and misfits are listed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgeexit.errors import InputError
from edgeexit.nets.weights import load_weights


def test_weights_are_put_into_the_module(tmp_path: Path) -> None:
    """A state_dict, as `torch.save` writes it."""
    a, b = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    torch.save(a.state_dict(), tmp_path / "a.pt")

    load_weights(b, tmp_path / "a.pt")

    assert a.weight.equal(b.weight)


def test_misfits_are_listed(tmp_path: Path) -> None:
    """All of them, in one message."""
    torch.save({"weight": torch.zeros(3, 5), "scale": torch.zeros(1)}, tmp_path / "a.pt")

    with pytest.raises(InputError, match=r"lacks bias; has scale, .*; weight is \[3, 5\] and the module's \[3, 2\]"):
        load_weights(torch.nn.Linear(2, 3), tmp_path / "a.pt")


def test_a_whole_pickled_module_is_not_loaded(tmp_path: Path) -> None:
    """Only tensors: code in the file is never run."""
    torch.save(torch.nn.Linear(2, 3), tmp_path / "a.pt")

    with pytest.raises(InputError, match="only tensors are taken: code in a file is never run"):
        load_weights(torch.nn.Linear(2, 3), tmp_path / "a.pt")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    """No traceback for a typo."""
    with pytest.raises(InputError, match="no such file"):
        load_weights(torch.nn.Linear(2, 3), tmp_path / "none.pt")


def test_files_that_torch_refuses_are_told_in_our_words(tmp_path: Path) -> None:
    """Torch's own advise an argument that would run the file's code. A text makes its reader fail in ways of its own."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    (tmp_path / "text.pt").write_text("hello there this is text")
    (tmp_path / "empty.pt").touch()
    told = {
        "module.pt": r"holds torch\.nn\.modules\.linear\.Linear.*torch\.save\(module\.state_dict\(\), path\)",
        "text.pt": "is damaged, or torch.save did not write it",
        "empty.pt": "is damaged, or torch.save did not write it",
        ".": "cannot read .*: Is a directory",
    }
    for name, words in told.items():
        with pytest.raises(InputError, match=words) as refusal:
            load_weights(torch.nn.Linear(2, 2), tmp_path / name)
        assert "weights_only" not in str(refusal.value)

"""Weights are loaded without running code, and misfits are listed."""

from __future__ import annotations

import argparse
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
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


def wrapped(state: dict[str, Any], how: str) -> Any:
    """A state_dict as training scripts save it."""
    parallel = {f"module.{k}": v for k, v in state.items()}
    return {
        "nested": {"epoch": 3, "arch": "small", "state_dict": state, "optimizer": {"state": {}, "lr": 0.1}},
        "parallel": parallel,
        "both": {"net": parallel, "best": np.float64(0.7)},
        "deep": {"checkpoint": {"model": state}, "args": argparse.Namespace(lr=0.1)},
        "lightning": {"state_dict": {**{f"net.{k}": v for k, v in state.items()}, "loss.weight": torch.ones(2)}},
        "averaged too": {"model": state, "model_ema": {k: v * 0 for k, v in state.items()}},
        "compiled": {f"_orig_mod.{k}": v for k, v in state.items()},
    }[how]


PLACES = {
    "nested": ("state_dict", ""),
    "parallel": ("", "module."),
    "both": ("net", "module."),
    "deep": ("checkpoint.model", ""),
    "lightning": ("state_dict", "net."),
    "averaged too": ("model", ""),
    "compiled": ("", "_orig_mod."),
}


@pytest.mark.parametrize("how", PLACES)
def test_weights_are_found_in_a_checkpoint_as_training_scripts_write_it(how: str, tmp_path: Path) -> None:
    """One or more levels down, and behind a common prefix; the result says where."""
    a, b = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    torch.save(wrapped(a.state_dict(), how), tmp_path / "a.pt")

    found = load_weights(b, tmp_path / "a.pt")

    assert a.weight.equal(b.weight)
    assert PLACES[how] == (found.place, found.prefix)
    assert ("model_ema" in str(found)) is (how == "averaged too")


def test_a_wrapper_takes_the_weights_of_what_it_wraps(tmp_path: Path) -> None:
    """The prefix is then the module's own."""
    inner, wrapper = torch.nn.Linear(2, 3), torch.nn.Sequential(torch.nn.Linear(2, 3))
    torch.save(inner.state_dict(), tmp_path / "a.pt")

    assert "with the prefix '0.'" == str(load_weights(wrapper, tmp_path / "a.pt"))
    assert inner.bias.equal(next(p for n, p in wrapper.named_parameters() if n == "0.bias"))


def test_a_nested_checkpoint_of_another_module_says_where_it_looked_and_what_it_has(tmp_path: Path) -> None:
    """Names of the file beside those of the module, few of each."""
    torch.save({"state_dict": {f"layer{i}.weight": torch.zeros(1) for i in range(9)}}, tmp_path / "a.pt")

    with pytest.raises(InputError, match=r"lacks weight; lacks bias; has layer0.weight, .* and 6 more"):
        load_weights(torch.nn.Linear(2, 3), tmp_path / "a.pt")


def test_a_checkpoint_without_counters_of_batches_is_taken(tmp_path: Path) -> None:
    """As PyTorch wrote them before 0.4.1; evaluation does not need them."""
    state = torch.nn.BatchNorm1d(2).state_dict()
    state["running_mean"] = torch.tensor([1.0, 2.0])
    del state["num_batches_tracked"]
    torch.save(state, tmp_path / "a.pt")

    module = torch.nn.BatchNorm1d(2)
    load_weights(module, tmp_path / "a.pt")

    assert [1.0, 2.0] == module.state_dict()["running_mean"].tolist()


def test_weights_that_two_layers_share_may_be_stored_once(tmp_path: Path) -> None:
    """As safetensors files of shared weights are; a missing weight of a layer of its own is still one."""
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    state = {"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2), "1.bias": torch.zeros(2)}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"lacks 1\.weight"):
        load_weights(module, tmp_path / "a.pt")

    module[1].weight = module[0].weight
    load_weights(module, tmp_path / "a.pt")

    assert 4 == float(module.state_dict()["1.weight"].sum())


def test_a_checkpoint_that_was_cut_off_is_damaged(tmp_path: Path) -> None:
    """Wherever it ends."""
    torch.save(torch.nn.Linear(20, 30).state_dict(), tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    for kept in (10, len(whole) // 2, len(whole) - 300, len(whole) - 1):
        (tmp_path / "a.pt").write_bytes(whole[:kept])
        with pytest.raises(InputError, match="damaged"):
            load_weights(torch.nn.Linear(20, 30), tmp_path / "a.pt")


def write_safetensors(path: Path, state: dict[str, torch.Tensor]) -> None:
    """As the format's description says."""
    header, data = {}, b""
    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}
    for name, tensor in state.items():
        raw = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_safetensors_are_read_whole_and_in_parts(tmp_path: Path) -> None:
    """In bfloat16 as well, which NumPy does not have."""
    a, b = torch.nn.Linear(2, 3).bfloat16(), torch.nn.Linear(2, 3)
    write_safetensors(tmp_path / "model.safetensors", a.state_dict())
    load_weights(b, tmp_path / "model.safetensors")
    assert a.weight.float().equal(b.weight)

    write_safetensors(tmp_path / "w.safetensors", {"weight": torch.ones(3, 2)})
    write_safetensors(tmp_path / "b.safetensors", {"bias": torch.zeros(3)})
    parts = {"weight": "w.safetensors", "bias": "b.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    load_weights(b, tmp_path / "model.safetensors.index.json")
    assert torch.ones(3, 2).equal(b.weight)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_safetensors_are_one_message(seed: int, tmp_path: Path) -> None:
    """Whatever bytes change or are missing."""
    path = tmp_path / "model.safetensors"
    write_safetensors(path, torch.nn.Linear(2, 3).state_dict())
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for _ in range(4):
        content[rng.integers(len(content) // 2)] = rng.integers(256)
    path.write_bytes(content[: rng.integers(len(content) // 2, len(content))])

    with pytest.raises(InputError):
        load_weights(torch.nn.Linear(2, 3), path)


@pytest.mark.parametrize("name", ["c.pt", "c.safetensors", "c.safetensors.index.json"])
def test_a_pipe_is_no_checkpoint(name: str, tmp_path: Path) -> None:
    """Reading one would wait for ever."""
    os.mkfifo(tmp_path / name)

    with pytest.raises(InputError, match="is a pipe, not a file"):
        load_weights(torch.nn.Linear(2, 2), tmp_path / name)

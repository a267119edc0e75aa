"""Weights of published repositories load into edgeexit's own networks, by a map of names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgeexit.errors import InputError
from edgeexit.nets import build
from edgeexit.nets.published_names import NAME_MAPS, rename_eenet, rename_msdnet
from edgeexit.nets.weights import load_weights

LISTS = Path(__file__).parent / "published"
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "msdnet": ("kalviny/MSDNet-PyTorch", {"steps": (2, 2, 2), "channels": 4, "growth": 2}),
    "eenet": ("eksuas/eenets.pytorch", {"depth": 20, "after": (2, 3)}),
}
"""By list of names and shapes: the repository whose network has them, and the options of ours that make the same one."""


def listed(name: str) -> dict[str, Tensor]:
    """Random weights under the names and in the shapes that the repository's own network has."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for line in (LISTS / f"{name}.txt").read_text().splitlines():
        weight, shape = line.split()
        sizes = [] if shape == "-" else [int(size) for size in shape.split("x")]
        found[weight] = torch.rand(sizes, generator=generator)
    return found


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", NETWORKS)
def test_published_weights_load_into_the_network_of_the_same_name(name: str, prefix: str, tmp_path: Path) -> None:
    """Every weight of ours gets one of theirs, once; nested as it was saved, and said where it was."""
    repository, options = NETWORKS[name]
    theirs, module = listed(name), build(name, **options)
    torch.save({"epoch": 7, "state_dict": {prefix + k: v for k, v in theirs.items()}}, tmp_path / "model.pth")

    found = load_weights(module, tmp_path / "model.pth")

    assert ("state_dict", repository) == (found.place, found.names)
    assert f"under the names of {repository}" in str(found)
    loaded = {v.flatten()[0].item() for k, v in module.state_dict().items() if "num_batches" not in k}
    assert loaded <= {float(v.flatten()[0]) for v in theirs.values()}
    assert len(loaded) == sum("num_batches" not in k for k in module.state_dict())


def test_options_that_differ_are_told_in_our_names(tmp_path: Path) -> None:
    """The exits of this checkpoint stand after blocks 2 and 3."""
    torch.save(listed("eenet"), tmp_path / "model.pth")

    with pytest.raises(
        InputError,
        match=r"names of eksuas/eenets.pytorch\) does not fit .*lacks heads.6.classify.weight.*has heads.2.c",
    ):
        load_weights(build("eenet", depth=20, after=(3, 6)), tmp_path / "model.pth")


def test_other_weights_are_nobody_elses() -> None:
    """Of our own networks, of each other's, of nothing."""
    for rename in NAME_MAPS.values():
        assert rename({}) is None
        for name, (_, options) in NETWORKS.items():
            assert rename(build(name, **options).state_dict()) is None
    assert rename_msdnet(listed("eenet")) is None
    assert rename_eenet(listed("msdnet")) is None

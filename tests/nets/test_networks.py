"""Every registered network has the shapes of its paper, is its plain network with exits taken off, and exports as eager computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from edgeexit.errors import InputError
from edgeexit.exporter import export
from edgeexit.nets import NETS, build, find_network, register
from edgeexit.nets.outputs import run_exits

VARIANTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "lenet": ("lenet", {}, 2),
    "alexnet, code": ("alexnet", {"branches": "code"}, 3),
    "alexnet, paper": ("alexnet", {"branches": "paper"}, 3),
    "lenet, light": ("lenet", {"branches": "light"}, 2),
    "alexnet, light": ("alexnet", {"branches": "light"}, 3),
    "resnet-8, light": ("resnet", {"n": 1, "branches": "light"}, 3),
    "alexnet, first branch only": ("alexnet", {"first_only": True, "first_convs": 4}, 2),
    "resnet-20, code": ("resnet", {"n": 3, "branches": "code"}, 3),
    "resnet-8, paper": ("resnet", {"n": 1, "branches": "paper"}, 3),
    "eenet-20": ("eenet", {}, 3),
    "eenet-14, one exit": ("eenet", {"n": 2, "after": (2,)}, 2),
    "eenet-18": ("eenet", {"depth": 18, "stem": "imagenet"}, 4),
    "eenet-18, placed": (
        "eenet",
        {"depth": 18, "stem": "imagenet", "after": "linear", "count": 2, "head": "bnpool", "shares": "macs"},
        3,
    ),
    "eenet8": ("eenet8", {}, 3),
    "msdnet": ("msdnet", {"steps": (1, 2, 3)}, 3),
    "vit": ("vit", {"depth": 4}, 2),
    "signal": ("signal", {}, 3),
    "resnet-cascade": ("resnet-cascade", {"depths": (8, 14)}, 2),
    "resnet-cascade, basic": ("resnet-cascade", {"depths": (8, 14), "block": "basic", "policy_hidden": 8}, 2),
    "cascade-cnn": ("cascade-cnn", {"place": 2}, 2),
    "densenet": ("densenet", {"layers": 2}, 3),
}


def sample(name: str, batch: int) -> torch.Tensor:
    return torch.randn(batch, *find_network(name).input_shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_network_has_its_exits(variant: str) -> None:
    """Logits of one width, for any batch."""
    name, options, count = VARIANTS[variant]

    exits = run_exits(build(name, **options).eval(), sample(name, 3))

    assert count == len(exits)
    assert all((3, exits[-1].logits.shape[1]) == e.logits.shape for e in exits)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_plain_network_is_the_same_trunk_without_exits(variant: str) -> None:
    """With its weights the last exit answers the same, and nothing of the plain network is missing in the one with exits."""
    name, options, _ = VARIANTS[variant]
    whole, plain = build(name, **options).eval(), build(name, **options, exits=False).eval()

    loaded = whole.load_state_dict(plain.state_dict(), strict=False)

    assert [] == loaded.unexpected_keys
    x = sample(name, 2)
    [only] = run_exits(plain, x)
    torch.testing.assert_close(only.logits, run_exits(whole, x)[-1].logits)


@pytest.mark.parametrize("variant", ["lenet, light", "resnet-8, light", "eenet-18, placed"])
def test_a_network_exports_as_eager_computes(variant: str, tmp_path: Path) -> None:
    """Every exit an output; checked on random inputs by the exporter itself.

    `test_every_mode.py` has what these have not: together they have every kind of trunk, stem, branch and head.
    """
    name, options, count = VARIANTS[variant]
    torch.manual_seed(0)

    exported = export(build(name, **options), sample(name, 1), tmp_path / "m.onnx")

    assert count == len(exported.exits)
    assert exported.largest_difference < 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_exit_trains_every_parameter_before_it(variant: str) -> None:
    """A gradient reaches all parameters from all exits together: no dead weight."""
    name, options, _ = VARIANTS[variant]
    module = build(name, **options)

    exits = run_exits(module, sample(name, 4))
    torch.autograd.backward(
        torch.stack([t.square().mean() for e in exits for t in (e.logits, e.score) if t is not None]).sum()
    )

    assert [] == [n for n, p in module.named_parameters() if p.grad is None]


def test_lenet_computes_what_branch_and_trunk_share_once(tmp_path: Path) -> None:
    """Three convolutions in the trunk, one in the branch, and one pool and relu after each: none twice."""
    export(build("lenet"), sample("lenet", 1), tmp_path / "m.onnx")

    kinds = [n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node]
    assert {"Conv": 4, "MaxPool": 4, "Relu": 4, "Gemm": 3} == {
        k: kinds.count(k) for k in ("Conv", "MaxPool", "Relu", "Gemm")
    }


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_sizes_are_those_of_the_papers_layers() -> None:
    """Counted by hand from the layer lists."""
    lenet_trunk = (25 + 1) * 5 + (5 * 25 + 1) * 10 + (10 * 25 + 1) * 20 + (720 + 1) * 84 + (84 + 1) * 10
    lenet_branch = (5 * 9 + 1) * 10 + (640 + 1) * 10
    convolutions = (75 + 1) * 32 + (32 * 25 + 1) * 64 + (64 * 9 + 1) * 96 + (96 * 9 + 1) * 96 + (96 * 9 + 1) * 64
    alexnet_trunk = convolutions + 1025 * 256 + 257 * 128 + 129 * 10

    assert lenet_trunk == parameters(build("lenet", exits=False))
    assert lenet_trunk + lenet_branch == parameters(build("lenet"))
    assert alexnet_trunk == parameters(build("alexnet", exits=False))
    assert alexnet_trunk + (64 * 9 + 1) * 32 + (32 * 9 + 1) * 32 + 5130 + (96 * 9 + 1) * 32 + 1290 == parameters(
        build("alexnet")
    )


def test_resnet_110_has_109_convolutions_and_one_fully_connected_layer() -> None:
    """The paper counts it so; shortcuts that change width are not counted."""
    module = build("resnet", exits=False)

    convolutions = [n for n, m in module.named_modules() if isinstance(m, torch.nn.Conv2d) and "shortcut" not in n]
    assert 109 == len(convolutions)


@pytest.mark.parametrize("variant", ["eenet-20", "eenet8", "resnet-cascade"])
def test_learned_confidences_are_probabilities_and_the_last_exit_has_none(variant: str) -> None:
    """The last exit always answers."""
    name, options, _ = VARIANTS[variant]

    *early, last = run_exits(build(name, **options).eval(), sample(name, 5))

    assert last.score is None
    assert all(e.score is not None and (5, 1) == e.score.shape and ((e.score > 0) & (e.score < 1)).all() for e in early)


def test_branches_are_the_papers_or_the_codes() -> None:
    """Anything else is answered with the near miss."""
    with pytest.raises(InputError, match=r"one of paper, code, light is needed\. Did you mean 'paper'"):
        build("alexnet", branches="papr")


@pytest.mark.parametrize("after", [(0,), (9,), (3, 2), (2, 2)])
def test_eenets_exits_stand_after_blocks_that_there_are(after: tuple[int, ...]) -> None:
    """Rising, and before the last."""
    with pytest.raises(InputError, match="they must rise from 1 to 8"):
        build("eenet", n=3, after=after)


def test_an_unknown_network_or_option_is_answered() -> None:
    """With the near miss."""
    with pytest.raises(InputError, match=r"no network named 'lennet'\. Did you mean 'lenet'"):
        build("lennet")
    with pytest.raises(InputError, match=r"no option 'branch'\. Did you mean 'branches'"):
        build("alexnet", branch="paper")


def test_a_name_is_registered_once() -> None:
    """A second network of that name is a fault of the code that brings it."""

    def lenet() -> torch.nn.Module:
        return torch.nn.Identity()

    with pytest.raises(ValueError, match="two networks are named 'lenet'"):
        register(source="")(lenet)
    assert "edgeexit.nets.branchynet" == NETS["lenet"].factory.__module__

"""What an exit costs is counted by what it is computed from. `test_every_mode.py` and `test_attach.py` hold it against compiled files."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.nets import build
from edgeexit.nets.costs import exit_costs
from edgeexit.nets.outputs import ExitTensors, run_exits
from tests.nets.test_networks import VARIANTS, sample


def list_tensors(exits: list[ExitTensors]) -> list[Tensor]:
    return [t for e in exits for t in (e.logits, e.score) if t is not None]


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_up_to_an_exit_are_those_that_its_gradient_reaches(variant: str) -> None:
    """Heads of later exits are not counted, and those of earlier ones are."""
    name, options, count = VARIANTS[variant]
    module = build(name, **options)
    reached = []
    for k in range(count):
        module.zero_grad()
        tensors = list_tensors(run_exits(module, sample(name, 2))[: k + 1])
        torch.autograd.backward(torch.stack([t.square().mean() for t in tensors]).sum())
        reached.append(sum(p.numel() for p in module.parameters() if p.grad is not None))

    assert reached == list(exit_costs(module, sample(name, 1)).reach_parameters)


@pytest.mark.parametrize("variant", ["lenet", "eenet-20", "msdnet", "resnet-cascade"])
def test_an_exit_alone_costs_what_it_does_without_the_others(variant: str) -> None:
    """The last exit by itself is the plain network."""
    name, options, _ = VARIANTS[variant]

    whole, plain = (exit_costs(build(name, **options, exits=e), sample(name, 1)) for e in (True, False))

    assert plain.reach_macs[-1] == whole.alone_macs[-1] < whole.reach_macs[-1]
    assert whole.alone_macs[0] == whole.reach_macs[0]


def test_costs_are_of_one_sample_and_leave_the_module_as_it_was() -> None:
    """Whatever the batch of the example, in training or not."""
    module = build("eenet").train()
    before = {name: value.clone() for name, value in module.state_dict().items()}

    assert exit_costs(module, sample("eenet", 1)) == exit_costs(module, sample("eenet", 5))
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_module_that_fails_is_one_message() -> None:
    """With what torch says."""
    with pytest.raises(ModelError, match="forward failed on the example: RuntimeError"):
        exit_costs(build("lenet"), torch.zeros(1, 3, 28, 28))


def test_weights_that_several_layers_share_are_counted_once() -> None:
    """They are read from one place."""
    layer = nn.Linear(4, 4)

    costs = exit_costs(nn.Sequential(layer, layer), torch.zeros(1, 4))

    assert ((20,), (32,)) == (costs.reach_parameters, costs.reach_macs)


class Constant(nn.Module):
    """The last exit answers the same for all inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("answer", torch.zeros(1, 3))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.fc(x), self.get_buffer("answer")]


def test_an_exit_that_nothing_computes_has_no_cost() -> None:
    """A stored tensor is no exit."""
    with pytest.raises(ModelError, match="exit 'exit2' is computed by nothing"):
        exit_costs(Constant(), torch.zeros(1, 4))

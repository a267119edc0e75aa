"""A policy network in front of a network with exits is trained, exported, split and run like any other criterion."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgeexit
from edgeexit.data import load_data
from edgeexit.errors import InputError
from edgeexit.nets import WithPolicy, build, policy
from edgeexit.nets.costs import exit_costs
from edgeexit.training import load_recipe, train
from edgeexit.training import policy as training_policy
from edgeexit.training.metrics import record_exits
from edgeexit.training.policy import make_policy_data


class Fixed(nn.Module):
    """A policy that gives every input the same chances."""

    def __init__(self, *chances: float) -> None:
        super().__init__()
        self.register_buffer("logits", torch.log(torch.tensor(chances)))
        self.weigh = nn.Linear(4, len(chances))

    def forward(self, x: Tensor) -> Tensor:
        return self.weigh(x.flatten(1)[:, :4]) * 0 + self.logits  # type: ignore[no-any-return]


def test_scores_are_the_chances_that_an_exit_up_to_here_is_to_answer() -> None:
    """So that at 0.5 the median of the predicted exit answers; exits that are not to choose from add nothing."""
    network, x = build("msdnet", steps=(1, 1, 1), channels=4, growth=4, head=8).eval(), torch.zeros(2, 3, 32, 32)
    for only, chances, expected in (
        (None, (0.2, 0.5, 0.3), (0.2, 0.7)),
        ((1, 3), (0.4, 0.6), (0.4, 0.4)),
        ((2, 3), (0.4, 0.6), (0.0, 0.4)),
    ):
        with torch.no_grad():
            exits = WithPolicy(network, Fixed(*chances), only=only)(x)

        assert expected == pytest.approx([float(score[0]) for _, score in exits[:-1]])
        assert [2, 1] == list(exits[0][1].shape)


def test_the_policy_is_paid_for_at_the_first_exit() -> None:
    """Its multiply-accumulates come before those of any stage, and once."""
    network, policy, x = build("lenet"), build("lenet", classes=2, exits=False), torch.zeros(1, 1, 28, 28)
    alone, asked = exit_costs(network, x).reach_macs, exit_costs(policy, x).reach_macs[-1]
    both = exit_costs(WithPolicy(network, policy), x).reach_macs

    assert both == tuple(macs + asked for macs in alone)


def test_another_number_of_exits_is_refused() -> None:
    """When it is run, with both numbers; and exits in no order at once."""
    with pytest.raises(InputError, match=r"the policy has 3 classes; it chooses between exits \[1, 2\] of 2"):
        WithPolicy(build("lenet"), Fixed(0.2, 0.3, 0.5))(torch.zeros(1, 1, 28, 28))
    with pytest.raises(InputError, match="rising order"):
        WithPolicy(build("lenet"), Fixed(0.5, 0.5), only=(2, 1))


def test_examples_print_what_they_say() -> None:
    """Of both modules."""
    for module in (policy, training_policy):
        found = doctest.testmod(module)
        assert (True, 0) == (found.attempted > 0, found.failed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::edgeexit.runtime.CalibrationWarning")
def test_a_trained_policy_is_compiled_and_decides(tmp_path: Path) -> None:
    """From the exits' answers to its data, its training, the bundle, and the exits that the bundle leaves at: those of the module."""
    digits, network = load_data("digits:calibration"), build("lenet").eval()
    exits = record_exits(network, digits)
    data = make_policy_data(digits, exits, exit_costs(network, torch.zeros(1, 1, 28, 28)).reach_macs, price=5)
    data = data.take(data.y == 0)  # no sample is labelled with exit 2: the policy has an output for it all the same
    recipe = replace(load_recipe("exit-policy", preset="quick,small").with_epochs(1), precision="float32")
    trained = train(recipe, tmp_path / "policy", parts=dict.fromkeys(("train", "calibration", "test"), data))
    assert trained.model is not None
    both = WithPolicy(network, trained.model).eval()
    exported = edgeexit.export(
        both, torch.zeros(1, 1, 28, 28), tmp_path / "both.onnx", criterion="learned", thresholds=[0.5]
    )
    bundle = edgeexit.compile(exported.path, tmp_path / "both.eexit", seconds=0)
    with edgeexit.load(bundle.path) as runner, torch.no_grad():
        left = [p.exit for p in runner.batch(digits.x[:50])]
        score = both(torch.from_numpy(digits.x[:50]))[0][1].numpy()[:, 0]

    clear = np.abs(score - 0.5) > 1e-4
    assert (np.where(score >= 0.5, 1, 2) == np.array(left))[clear].all()

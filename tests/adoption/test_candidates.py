"""Candidates for exits are places of any classifier, each with heads that fit, and can be tried all at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import edgeexit
from edgeexit.adoption.candidates import MOST_PLACES, add_peeks, build_trial, list_candidates
from edgeexit.adoption.timing import time_exits
from edgeexit.errors import InputError, ModelError
from edgeexit.nets.attach import split_head
from edgeexit.nets.attach.survey import survey_places
from tests.nets.test_attach import NETWORKS, ask, make


@pytest.mark.parametrize("name", ["ResNet-18", "MobileNetV2", "ConvNeXt", "ViT", "1-D CNN", "GRU"])
def test_every_candidate_of_a_classifier_answers(name: str) -> None:
    """Several heads at one place, and the network's own answer as it was."""
    module, example = make(name)
    want = ask(module, example)

    survey = survey_places(module, example, None)
    candidates = list_candidates(survey, "auto")
    trial = build_trial(module, candidates, survey.classes, None).eval()
    exits = ask(add_peeks(trial, survey.classes).eval(), example)

    assert len({c.place.name for c in candidates}) <= MOST_PLACES
    assert len(exits) == 2 * len(candidates) + 1
    assert torch.equal(exits[-1], want)
    assert name in NETWORKS


def test_every_exit_of_a_trial_is_timed() -> None:
    """In ONNX Runtime, by itself; the way to a place takes no longer than with the head there, but for noise."""
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 10)).eval()
    example = torch.zeros(1, 1, 8, 8)
    survey = survey_places(net, example, None)
    trial = add_peeks(build_trial(net, list_candidates(survey, "auto"), survey.classes, None), survey.classes)

    seconds = time_exits(trial, example, seconds=0.2)

    assert len(seconds) == len(trial.heads) + 1
    assert np.all(seconds > 0)


def test_a_network_without_a_place_is_refused() -> None:
    """One layer has nothing to leave before."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    with pytest.raises(ModelError, match="no place for an exit"):
        list_candidates(survey_places(net, torch.zeros(1, 1, 8, 8), None), "auto")


def test_heads_are_named_by_place() -> None:
    """One of each kind; a place without a head is named."""
    module, example = make("ResNet-18")
    heads = {"maxpool": "reduce", "layer1.0": "pool"}

    net = edgeexit.add_exits(module, example, after=list(heads), head=heads)

    assert isinstance(split_head(net.heads[0])[0][0], nn.AvgPool2d)
    with pytest.raises(InputError, match=r"no head for the exit after 'layer1.0'"):
        edgeexit.add_exits(module, example, after=list(heads), head={"maxpool": "pool"})


def test_what_a_head_averages_first_is_kept_averaged() -> None:
    """`reduce` begins with something that learns nothing."""
    module, example = make("ResNet-18")
    net = edgeexit.add_exits(module, example, count=1, head="reduce")

    first, then = split_head(net.heads[0])

    assert [type(layer) for layer in first] == [nn.AvgPool2d]
    assert sum(p.numel() for layer in then for p in layer.parameters()) == sum(
        p.numel() for p in net.heads.parameters()
    )

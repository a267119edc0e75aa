"""Heads train on features that are computed once, give the same bits when resumed, and leave the network as it was."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgeexit
from edgeexit.data import Dataset, load_data
from edgeexit.errors import InputError
from edgeexit.nets.attach import NetworkWithExits
from edgeexit.training import TrainingResult, features, make_head_recipe, train
from edgeexit.training.augment import Augment
from edgeexit.training.feature_phase import FOLDER
from edgeexit.training.features import HeadsOnRows, cache_features
from edgeexit.util.progress import Progress, show_nothing
from tests.training.test_run import Stop


def make_network(*, head: str = "pool", freeze: bool = True) -> NetworkWithExits:
    """Two exits added to a small network with batch norm and dropout."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.Dropout(0.5), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)).eval()
    return edgeexit.add_exits(net, torch.zeros(1, 1, 28, 28), after=["2", "3"], head=head, freeze=freeze)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data("digits:calibration").take(slice(0, 300))


RECIPE = replace(make_head_recipe(epochs=3), options={})


def train_heads(
    network: NetworkWithExits,
    data: Dataset,
    out: Path,
    augment: Augment = RECIPE.augment,
    *,
    resume: bool = False,
    progress: Progress = show_nothing,
) -> TrainingResult:
    """The recipe for the heads of this network."""
    parts = dict.fromkeys(("train", "calibration", "test"), data)
    return train(replace(RECIPE, augment=augment), out, network=network, parts=parts, resume=resume, progress=progress)


@pytest.mark.parametrize("head", ["pool", "conv", "fc"])
def test_rows_hold_what_the_heads_read_and_the_networks_own_answer(tmp_path: Path, digits: Dataset, head: str) -> None:
    """The heads on rows answer as the network on samples does, its own logits bit for bit."""
    network = make_network(head=head)

    cache = cache_features(network, digits, tmp_path)

    with torch.no_grad():
        want = network.eval()(torch.from_numpy(digits.x))
        got = HeadsOnRows(network, cache.layout).eval()(torch.from_numpy(cache.rows))
    assert np.array_equal(cache.y, digits.y)
    for a, b in zip(want, got, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_only_the_mean_is_stored_where_the_head_takes_it_first(tmp_path: Path, digits: Dataset) -> None:
    """Eight channels and not eight maps."""
    pooled = cache_features(make_network(head="pool"), digits, tmp_path / "pool")
    whole = cache_features(make_network(head="conv"), digits, tmp_path / "conv")

    assert pooled.layout.shapes == ((8,), (8,))
    assert whole.layout.shapes == ((8, 13, 13), (8, 6, 6))


def test_large_rows_are_stored_in_half_the_bytes(
    tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers that float16 cannot hold become its largest."""
    monkeypatch.setattr(features, "LARGE", 1)
    network = make_network()
    huge = replace(digits, inputs=digits.x * 1e8)

    cache = cache_features(network, huge, tmp_path)

    assert cache.rows.dtype == np.float16
    assert np.isfinite(cache.rows).all()


def test_a_disk_without_room_is_one_clear_error(
    tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first row is computed, with what the features take."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", refuse)

    with pytest.raises(InputError, match=r"No space left on device; they take 30.5 KiB"):
        cache_features(make_network(), digits, tmp_path)


def test_a_cache_goes_on_where_it_was_interrupted(tmp_path: Path, digits: Dataset) -> None:
    """The same rows; what was computed is not computed again."""
    network = make_network()
    whole = cache_features(network, digits, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        cache_features(network, digits, tmp_path / "part", progress=Stop(2))
    seen: list[int] = []
    part = cache_features(network, digits, tmp_path / "part", progress=lambda what, done, total: seen.append(done))

    assert np.array_equal(whole.rows, part.rows)
    assert seen[0] > 0


def test_the_features_of_another_network_are_computed_anew(tmp_path: Path, digits: Dataset) -> None:
    """The cache knows whose it is."""
    cache_features(make_network(), digits, tmp_path)
    other = make_network()
    with torch.no_grad():
        next(other.backbone.parameters()).add_(1)
    want = cache_features(other, digits, tmp_path / "fresh")

    assert np.array_equal(want.rows, cache_features(other, digits, tmp_path).rows)


def test_training_changes_the_heads_and_nothing_else(tmp_path: Path, digits: Dataset) -> None:
    """The network stays; the early exits learn, and are evaluated after every epoch as the whole network is at the end."""
    network = make_network(head="conv")
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}

    metrics = train_heads(network, digits, tmp_path).metrics

    weights = torch.load(tmp_path / "heads.pt", weights_only=True)
    assert all(torch.equal(weights[f"backbone.{name}"], value) for name, value in before.items())
    history = metrics["history"]["heads"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["calibration_accuracy"] == metrics["results"]["heads"]["calibration_accuracy"]
    assert weights.keys() == network.state_dict().keys()
    assert not (tmp_path / FOLDER).exists()
    assert "removed" in metrics["features"]["heads"]


def test_the_network_runs_once_however_many_epochs(
    tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once over the training data and once over the calibration data, before the first epoch; then for the figures at the end."""
    runs: list[int] = []
    run = features._run

    def count(network: NetworkWithExits, inputs: np.ndarray) -> list[torch.Tensor]:
        runs.append(len(inputs))
        return run(network, inputs)

    monkeypatch.setattr(features, "_run", count)

    train_heads(make_network(), digits, tmp_path)

    assert 2 * len(digits) == sum(n for n in runs if n > 1)


@pytest.mark.parametrize(("freeze", "augment"), [(True, Augment()), (True, Augment(shift=1)), (False, Augment())])
def test_resumed_training_gives_the_same_bits(tmp_path: Path, digits: Dataset, freeze: bool, augment: Augment) -> None:
    """From cached features, from changed images, and with the network itself learning."""
    train_heads(make_network(freeze=freeze), digits, tmp_path / "whole", augment)

    with pytest.raises(KeyboardInterrupt):
        train_heads(make_network(freeze=freeze), digits, tmp_path / "part", augment, progress=Stop(9))
    train_heads(make_network(freeze=freeze), digits, tmp_path / "part", augment, resume=True)

    whole, part = (torch.load(tmp_path / name / "heads.pt", weights_only=True) for name in ("whole", "part"))
    assert all(torch.equal(whole[name], part[name]) for name in whole)


def test_an_interruption_while_features_are_computed_is_gone_on_with(tmp_path: Path, digits: Dataset) -> None:
    """Before the first epoch, as after any."""
    with pytest.raises(KeyboardInterrupt):
        train_heads(make_network(), digits, tmp_path, progress=Stop(1))

    resumed = train_heads(make_network(), digits, tmp_path, resume=True)

    assert 3 == len(resumed.metrics["history"]["heads"])


def test_why_features_are_not_kept_is_told(tmp_path: Path, digits: Dataset) -> None:
    """Changed images and a network that learns have other features every time."""
    changed = train_heads(make_network(), digits, tmp_path / "a", Augment(shift=1)).metrics["features"]["heads"]
    tuned = train_heads(make_network(freeze=False), digits, tmp_path / "b").metrics["features"]["heads"]

    assert "changed at random" in changed
    assert "the network itself is trained" in tuned


def test_other_heads_do_not_go_on_with_a_run(tmp_path: Path, digits: Dataset) -> None:
    """Nothing is mixed."""
    train_heads(make_network(), digits, tmp_path)

    with pytest.raises(InputError, match="another network"):
        train_heads(make_network(head="conv"), digits, tmp_path, resume=True)


def test_labels_beyond_the_classes_are_refused(tmp_path: Path, digits: Dataset) -> None:
    """Before any epoch."""
    wrong = replace(digits, labels=np.full(len(digits), 10))

    with pytest.raises(InputError, match="out of range"):
        train_heads(make_network(), wrong, tmp_path)

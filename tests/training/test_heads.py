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
from edgeexit.training import features
from edgeexit.training.augment import Augment
from edgeexit.training.features import HeadsOnRows, cache_features
from edgeexit.training.heads import HeadSettings, make_head_phase, train_heads
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


SETTINGS = HeadSettings(make_head_phase(epochs=3))


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
    """The network's weights and buffers stay; the early exits learn."""
    network = make_network(head="conv")
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}

    trained = train_heads(network, digits, tmp_path, SETTINGS)

    assert all(torch.equal(value, before[name]) for name, value in network.backbone.state_dict().items())
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert torch.load(trained.weights, weights_only=True).keys() == network.state_dict().keys()
    assert not (tmp_path / features.FEATURES).exists()
    assert "removed" in trained.features


@pytest.mark.parametrize(("freeze", "augment"), [(True, Augment()), (True, Augment(shift=1)), (False, Augment())])
def test_resumed_training_gives_the_same_bits(tmp_path: Path, digits: Dataset, freeze: bool, augment: Augment) -> None:
    """From cached features, from changed images, and with the network itself learning."""
    settings = replace(SETTINGS, augment=augment)
    train_heads(make_network(freeze=freeze), digits, tmp_path / "whole", settings)

    with pytest.raises(KeyboardInterrupt):
        train_heads(make_network(freeze=freeze), digits, tmp_path / "part", settings, progress=Stop(7))
    train_heads(make_network(freeze=freeze), digits, tmp_path / "part", settings, resume=True)

    whole, part = (torch.load(tmp_path / name / "heads.pt", weights_only=True) for name in ("whole", "part"))
    assert all(torch.equal(whole[name], part[name]) for name in whole)


def test_why_features_are_not_kept_is_told(tmp_path: Path, digits: Dataset) -> None:
    """Changed images and a network that learns have other features every time."""
    one = replace(SETTINGS, phase=make_head_phase(epochs=1))
    changed = train_heads(make_network(), digits, tmp_path / "a", replace(one, augment=Augment(shift=1)))
    tuned = train_heads(make_network(freeze=False), digits, tmp_path / "b", one)

    assert "changed at random" in changed.features
    assert "the network itself is trained" in tuned.features


def test_another_run_in_the_folder_is_refused(tmp_path: Path, digits: Dataset) -> None:
    """Nothing is overwritten, and nothing is mixed."""
    train_heads(make_network(), digits, tmp_path, SETTINGS)

    with pytest.raises(InputError, match="already holds a run"):
        train_heads(make_network(), digits, tmp_path, SETTINGS)
    with pytest.raises(InputError, match="other places, heads or settings"):
        train_heads(make_network(head="conv"), digits, tmp_path, SETTINGS, resume=True)
    with pytest.raises(InputError, match="nothing to resume"):
        train_heads(make_network(), digits, tmp_path / "none", SETTINGS, resume=True)


def test_labels_beyond_the_classes_are_refused(tmp_path: Path, digits: Dataset) -> None:
    """Before any epoch."""
    wrong = replace(digits, labels=np.full(len(digits), 10))

    with pytest.raises(InputError, match="out of range"):
        train_heads(make_network(), wrong, tmp_path, SETTINGS)

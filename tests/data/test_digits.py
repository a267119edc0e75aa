"""The demo's slices are what the recipe's seed makes of scikit-learn's digits, and no training image is in them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgeexit.data import find_demo_asset, find_overlap, load_data
from edgeexit.data.digits import COUNTS, make_digits_part, upscale
from edgeexit.errors import InputError


@pytest.mark.parametrize("part", ["calibration", "test"])
def test_the_shipped_slices_are_remade_bit_for_bit(part: str) -> None:
    """Anyone can check where they come from."""
    assert make_digits_part(part).sha256 == load_data(f"digits:{part}").sha256


def test_no_part_has_a_sample_of_another() -> None:
    """Neither by place nor by equal pixels."""
    parts = {part: load_data(f"digits:{part}") for part in COUNTS}

    assert COUNTS == {part: len(data) for part, data in parts.items()}
    for name, data in parts.items():
        others = [h for other in parts if other != name for h in parts[other].sample_hashes()]
        assert 0 == len(find_overlap(data, others))


def test_inputs_are_what_lenet_takes() -> None:
    """28x28, one channel, 0 to 1, every class there."""
    data = load_data("digits:test")

    assert (500, 1, 28, 28) == data.x.shape
    assert np.float32 == data.x.dtype
    assert 0.0 <= data.x.min() < data.x.max() <= 1.0
    assert set(range(10)) == set(data.y.tolist())


def test_upscaling_is_bilinear_with_half_pixel_centres() -> None:
    """Against the same thing in floating point, to within the rounding to 64ths."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 17, (5, 8, 8))
    at = np.clip((np.arange(28) + 0.5) / 3.5 - 0.5, 0, 7)
    rows = np.stack([np.interp(at, np.arange(8), line) for line in np.eye(8)], axis=1)

    expected = np.einsum("ia,nab,jb->nij", rows, images, rows) / 16

    assert np.abs(expected - upscale(images)[:, 0]).max() <= 1 / 128 + 1e-6


def test_the_shipped_model_has_two_exits_and_no_trace_of_where_it_was_made() -> None:
    """Its metadata names the exits and nothing else."""
    model = onnx.load(find_demo_asset("lenet-digits.onnx"))

    assert ["exit1", "exit2"] == [o.name for o in model.graph.output]
    assert ["edgeexit.exits", "edgeexit.training"] == [p.key for p in model.metadata_props]
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_an_unknown_asset_is_named_with_its_near_miss() -> None:
    """A typo is answered."""
    with pytest.raises(InputError, match=r"Did you mean 'digits-test\.npz'"):
        find_demo_asset("digit-test.npz")

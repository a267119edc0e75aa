"""Augmentation moves, turns and mirrors images, and nothing else."""

from __future__ import annotations

import torch

from edgeexit.training.augment import Augment, augment_images


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_none_changes_nothing() -> None:
    """The default."""
    x = torch.randn(4, 3, 8, 8)

    assert augment_images(x, Augment(), drawn()).equal(x)


def test_a_crop_is_the_image_shifted_with_zeros_from_outside() -> None:
    """Every result is one of the (2 pad + 1)² windows of the padded image, and windows differ."""
    x = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8).repeat(200, 1, 1, 1)
    padded = torch.nn.functional.pad(x[0, 0], (2,) * 4)
    windows = [padded[i : i + 8, j : j + 8] for i in range(5) for j in range(5)]

    out = augment_images(x, Augment(crop_pad=2), drawn())

    found = {next(k for k, w in enumerate(windows) if w.equal(image[0])) for image in out}
    assert set(range(25)) == found


def test_half_the_images_are_mirrored() -> None:
    """Left to right, whole images."""
    x = torch.randn(400, 1, 4, 4)

    out = augment_images(x, Augment(flip=True), drawn())

    mirrored = [o.equal(i.flip(-1)) for o, i in zip(out, x, strict=True)]
    assert all(m or o.equal(i) for m, o, i in zip(mirrored, out, x, strict=True))
    assert 150 < sum(mirrored) < 250


def test_a_rotation_keeps_the_centre_and_the_mass() -> None:
    """A centred blob stays where it is."""
    at = torch.linspace(-1, 1, 28)
    blob = torch.exp(-8 * (at[:, None] ** 2 + 2 * at[None] ** 2))[None, None].repeat(16, 1, 1, 1)

    out = augment_images(blob, Augment(rotate_deg=30.0), drawn())

    mass = out.sum((1, 2, 3))
    torch.testing.assert_close(blob.sum((1, 2, 3)), mass, rtol=0.01, atol=0.0)
    torch.testing.assert_close(torch.zeros(16), (out.sum((1, 2)) @ at) / mass, atol=0.01, rtol=0.0)
    assert (out - blob).abs().max() > 0.05


def test_the_generator_decides() -> None:
    """The same numbers, the same images; so a resumed run sees what an uninterrupted one sees."""
    x, how = torch.randn(8, 1, 8, 8), Augment(crop_pad=1, flip=True, rotate_deg=10, scale=0.1, shift=1)

    assert augment_images(x, how, drawn(1)).equal(augment_images(x, how, drawn(1)))
    assert not augment_images(x, how, drawn(1)).equal(augment_images(x, how, drawn(2)))

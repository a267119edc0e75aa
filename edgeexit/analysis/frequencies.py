"""How many frequencies an image needs, which has been taken for how complex it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Floats
from edgeexit.errors import InputError

_CHUNK = 4096  # images at a time


def compute_frequency_share(images: NDArray[Any], *, energy: float = 0.98, power: int = 1) -> Floats:
    """The share of an image's frequencies, from low to high, in which `energy` of it lies.

    The coefficients of the two-dimensional discrete cosine transform (DCT-II, orthonormal) are read row by row; counted are the first ones
    whose magnitudes reach `energy` of the sum of all. Voorhout, "Overthinking in MSDNet" (2022), appendix A. Its equation A.1 is misprinted
    (both cosines in the same two indices), and it says "sum of coefficients" without a word about their signs: taken here are magnitudes
    (`power=1`) or, what is usually called energy, squares (`power=2`).

    Args:
        images: [n, height, width], or [n, channels, height, width], whose channels are averaged first.
        energy: the share to reach, above 0 and at most 1.
        power: of the magnitudes, 1 or 2.

    Returns:
        float64 [n], in 0..1: the higher, the more high frequencies are needed. 0 for an image of zeros.

    Raises:
        InputError: another shape, or `energy` or `power` out of range.

    Example:
        >>> flat = np.ones((1, 8, 8))
        >>> stripes = np.tile([1.0, -1.0], (1, 8, 4))
        >>> compute_frequency_share(np.concatenate([flat, stripes])).tolist()  # one coefficient of 64; the whole first row
        [0.015625, 0.125]
    """
    array = np.asarray(images)
    if array.ndim not in (3, 4) or array.dtype.kind not in "fiub" or 0 in array.shape[1:]:
        msg = f"images must be numbers [n, height, width] or [n, channels, height, width], not {array.dtype} {list(array.shape)}."
        raise InputError(msg)
    if not 0 < energy <= 1 or power not in (1, 2):
        msg = f"energy must be above 0 and at most 1, and power 1 or 2; they are {energy!r} and {power!r}."
        raise InputError(msg)
    parts = [_compute_share(array[i : i + _CHUNK], energy, power) for i in range(0, len(array), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _compute_share(images: NDArray[Any], energy: float, power: int) -> Floats:
    grey = images.astype(np.float64) if images.ndim == 3 else images.mean(axis=1, dtype=np.float64)
    rows, columns = make_cosine_basis(grey.shape[1]), make_cosine_basis(grey.shape[2])
    magnitudes = np.abs(rows @ grey @ columns.T).reshape(len(grey), -1) ** power
    reached = magnitudes.cumsum(axis=1)
    total = reached[:, -1]
    needed = (reached < energy * total[:, None]).sum(axis=1) + 1
    return np.where(total > 0, needed / magnitudes.shape[1], 0.0)


def make_cosine_basis(size: int) -> Floats:
    """The orthonormal DCT-II as a matrix [size, size]: row v is the cosine of frequency v. Ahmed, Natarajan and Rao (1974)."""
    frequency, place = np.arange(size)[:, None], np.arange(size)[None]
    basis = np.sqrt(2 / size) * np.cos(np.pi * frequency * (2 * place + 1) / (2 * size))
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float64)

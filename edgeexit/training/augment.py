"""Random changes of training images, whole batches at once, drawn from a given generator."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexit.util.documents import within


@dataclass(frozen=True)
class Augment:
    """How far training images are changed. All zero changes nothing.

    Attributes:
        crop_pad: pixels of zero padding around the image before a random crop back to its size ("pcifar10" of BranchyNet).
        flip: whether half the images are mirrored left to right.
        rotate_deg: largest rotation either way.
        scale: largest relative change of size either way.
        shift: largest shift either way, pixels, with the rotation and scaling in one interpolation.
    """

    crop_pad: int = field(default=0, metadata=within(0))
    flip: bool = False
    rotate_deg: float = field(default=0.0, metadata=within(0, 180))
    scale: float = field(default=0.0, metadata=within(0, 0.9))
    shift: float = field(default=0.0, metadata=within(0))

    @property
    def affine(self) -> bool:
        """Whether images are interpolated."""
        return bool(self.rotate_deg or self.scale or self.shift)


def augment_images(x: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    """A changed copy of images [b, c, h, w]; each image draws its own numbers."""
    if how.affine:
        x = _transform_affinely(x, how, generator)
    if how.crop_pad:
        x = _crop_randomly(x, how.crop_pad, generator)
    if how.flip:
        mirror = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(mirror.to(x.device)[:, None, None, None], x.flip(-1), x)
    return x


def _crop_randomly(x: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    b, c, h, w = x.shape
    padded = F.pad(x, (pad,) * 4)
    top, left = torch.randint(2 * pad + 1, (2, b, 1), generator=generator).to(x.device)
    rows = (top + torch.arange(h, device=x.device))[:, None, :, None].expand(b, c, h, padded.shape[-1])
    columns = (left + torch.arange(w, device=x.device))[:, None, None, :].expand(b, c, h, w)
    return padded.gather(2, rows).gather(3, columns)


def _transform_affinely(x: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    draws = torch.rand(4, len(x), generator=generator) * 2 - 1
    angle = draws[0] * math.radians(how.rotate_deg)
    size = 1 / (1 + draws[1] * how.scale)
    dx, dy = draws[2] * 2 * how.shift / x.shape[3], draws[3] * 2 * how.shift / x.shape[2]
    cos, sin = angle.cos() * size, angle.sin() * size
    matrix = torch.stack([torch.stack([cos, -sin, dx], -1), torch.stack([sin, cos, dy], -1)], -2).to(x)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)

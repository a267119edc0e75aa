"""A one-dimensional convolutional network on windows of signals, an exit after every stage.

The inputs of human-activity sets: a few sensor axes, 128 samples per window. Small enough that the host's part of a decision shows.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeexit.nets.registry import register


class SignalNet(nn.Module):
    """Stages of a convolution of length 5 with batch normalisation and pooling by 2; heads on the mean over time."""

    def __init__(
        self, *, axes: int = 6, widths: tuple[int, ...] = (16, 32, 64), classes: int = 6, exits: bool = True
    ) -> None:
        super().__init__()
        inside = (axes, *widths[:-1])
        self.stages = nn.ModuleList(_build_stage(a, b) for a, b in zip(inside, widths, strict=True))
        self.exits = nn.ModuleList(nn.Linear(w, classes) for w in widths[:-1] if exits)
        self.last = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [b, axes, 128]."""
        out = []
        for k, stage in enumerate(self.stages):
            x = stage(x)  # [b, width, 128 / 2^(k + 1)]
            if k < len(self.exits):
                out.append(self.exits[k](x.mean(2)))
        return [*out, self.last(x.mean(2))]


def _build_stage(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inside, outside, 5, padding=2, bias=False), nn.BatchNorm1d(outside), nn.ReLU(), nn.MaxPool1d(2)
    )


@register(input_shape=(6, 128), source="none: a plain 1-D network for windows of sensor signals")
def signal(*, axes: int = 6, widths: tuple[int, ...] = (16, 32, 64), classes: int = 6, exits: bool = True) -> nn.Module:
    """1-D convolutions on windows of signals: an exit after every stage."""
    return SignalNet(axes=axes, widths=widths, classes=classes, exits=exits)

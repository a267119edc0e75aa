"""A classifier with the exits that were added to it, as one module that returns the logits of every exit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.nets.attach.calls import find_features, watch_calls
from edgeexit.nets.attach.logits import Read, read_logits
from edgeexit.nets.attach.places import ExitPlace


class NetworkWithExits(nn.Module):
    """The original as `backbone`, and a head after each place; forward takes what the original takes.

    Attributes:
        backbone: the original module itself; its parameters keep their names under `backbone.`.
        heads: one for each place, in its order; parameters `heads.0.`, `heads.1.`, ...
        places: after which parts the exits stand.
        frozen: whether the backbone stays in evaluation mode when the network is set to training.
    """

    def __init__(
        self,
        backbone: nn.Module,
        places: Sequence[ExitPlace],
        heads: Iterable[nn.Module],
        *,
        read: Read | None = None,
        frozen: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(heads)
        self.places = tuple(places)
        self.read = read
        self.frozen = frozen

    @property
    def input_module(self) -> nn.Module:
        """The module whose forward names the inputs; `edgeexit.export` reads it."""
        return self.backbone

    def train(self, mode: bool = True) -> NetworkWithExits:
        """As of every module, but for a frozen backbone, which stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, *inputs: Any, **named: Any) -> list[Tensor]:
        """Logits [batch, classes] of every exit; the last are the original's."""
        features, last = self.compute_features(*inputs, **named)
        return [*(head(x) for head, x in zip(self.heads, features, strict=True)), last]

    def compute_features(self, *inputs: Any, **named: Any) -> tuple[list[Tensor], Tensor]:
        """What each place returns, the batch brought first, and the original's logits [batch, classes]."""
        passed: dict[str, Tensor] = {}

        def keep(name: str, returned: Any) -> None:
            features = find_features(returned)
            if features is None or name in passed:
                raise ModelError(_explain_call(name, again=name in passed))
            passed[name] = features

        parts = {place.name: self.backbone.get_submodule(place.name) for place in self.places}
        with watch_calls(parts, keep):
            returned = self.backbone(*inputs, **named)
        for name in (place.name for place in self.places if place.name not in passed):
            raise ModelError(_explain_call(name, again=False))
        return [passed[p.name].movedim(p.batch_axis, 0) for p in self.places], read_logits(returned, self.read)


def _explain_call(name: str, *, again: bool) -> str:
    what = "called twice" if again else "not called, or returned no tensor,"
    return (
        f"part {name!r}, after which an exit stands, was {what} in this run of forward, other than when the exits were added: its forward "
        "takes another way for other values. Put the exit elsewhere, or take the `if` on values out of forward"
    )

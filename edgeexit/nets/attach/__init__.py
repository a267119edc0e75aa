"""Early exits for a classifier that has none.

edgeexit.list_exit_places(module, example)            where it can be left, and what it has cost until there
net = edgeexit.add_exits(module, example, count=2)    the same network, whose forward returns [exit1, exit2, its own logits]

module ─► survey ─► places ─► choose ─► heads ─► NetworkWithExits
(runs it)  (recording, calls)  (by cost, or by name)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from edgeexit.errors import InputError, ModelError
from edgeexit.nets.attach.heads import HEADS, MakeHead, make_head, split_head
from edgeexit.nets.attach.logits import Read
from edgeexit.nets.attach.network import NetworkWithExits
from edgeexit.nets.attach.places import ExitPlace, choose_places, find_places
from edgeexit.nets.attach.survey import list_exit_places, survey_places
from edgeexit.nets.example import Example, wrap_by_position
from edgeexit.nets.state import evaluation_mode, restore_buffers
from edgeexit.nets.users_code import translate_user_errors

__all__ = ["HEADS", "ExitPlace", "MakeHead", "NetworkWithExits", "add_exits", "list_exit_places", "split_head"]


def add_exits(
    module: nn.Module,
    example: Example,
    *,
    after: Sequence[str] | None = None,
    count: int = 2,
    head: str | MakeHead | Mapping[str, str | MakeHead] = "auto",
    classes: int | None = None,
    read: Read | None = None,
    freeze: bool = True,
) -> NetworkWithExits:
    """A classifier with early exits added to it; what it answers in evaluation mode stays the same, bit for bit.

    The heads are fresh: train them before the exits are of any use. The module is not copied.

    Args:
        module: any classifier in torch; forward returns logits [batch, classes], alone or in a dict or an output with `logits`.
        example: an input [batch, ...], a tuple of inputs, or a dict of inputs by the names of forward's parameters. Its values do not
            matter beyond being possible ones.
        after: names of the parts (`named_modules()`) after which exits stand; None chooses `count` places.
        count: how many exits are added where `after` is None: near the shares 1 / (count + 1), 2 / (count + 1), ... of the
            multiply-accumulates, at places through which everything passes, the outermost near each share, none past 95 %.
        head: "auto" takes the one that fits what the part returns: "pool" for feature maps, the token or step that the network itself
            reads in the end ("first", "last", else "mean") for tokens and sequences, "fc" for vectors. Also "bnpool", "conv", "reduce",
            a function (shape of the features without the batch, classes) -> module, or any of these by the name of its place.
        classes: of the exits; as many as the module has, which is the only number that can be given.
        read: takes the logits out of what forward returns, such as `lambda returned: returned[0]`.
        freeze: the module's own parameters get no gradients, and it stays in evaluation mode when the network is trained, so that only
            the heads learn. False: everything learns.

    Returns:
        A module whose forward takes what the original takes and returns a list of logits, first exit first, the original's last:
        `edgeexit.export` takes it as it is. The original's parameters keep their names under `backbone.`; those of the heads are under
        `heads.0.`, `heads.1.`, ...

    Example:
        >>> import edgeexit, torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 10))
        >>> with_exits = edgeexit.add_exits(net, torch.zeros(1, 1, 8, 8), after=["1"])
        >>> [list(logits.shape) for logits in with_exits(torch.zeros(4, 1, 8, 8))]
        [[4, 10], [4, 10]]

    Raises:
        ModelError: forward fails, returns no logits or several exits, or takes another way on other values; a name is no place; a head
            does not fit.
        InputError: `count`, `after` or `head` is none of the forms above.
        MissingExtra: torch is not installed.
    """
    if after == "auto":
        msg = (
            "places are searched by measuring, with data: by `edgeexit adopt`, in Python by edgeexit.adoption.adopt_exits. "
            "Here count=2 spreads them by cost, and after=['layer1', 'layer2'] names them"
        )
        raise InputError(msg)
    survey = survey_places(module, example, read)
    if classes not in (None, survey.classes):
        msg = f"classes={classes}, and the module has {survey.classes}: the exits answer with the classes of the module"
        raise ModelError(msg)
    places = choose_places(survey, count) if after is None else find_places(survey, after)
    heads = [make_head(_get_head(head, place), place, survey.classes) for place in places]
    if freeze:
        module.requires_grad_(requires_grad=False)
    training = module.training
    network = NetworkWithExits(module, places, heads, read=read, frozen=freeze)
    _match_parameters(network)
    _check(network, example, survey.classes)
    return network.train(training)


def _get_head(head: str | MakeHead | Mapping[str, str | MakeHead], place: ExitPlace) -> str | MakeHead:
    if not isinstance(head, Mapping):
        return head
    if place.name not in head:
        msg = f"head= names no head for the exit after {place.name!r}; it has {', '.join(map(repr, head)) or 'none'}"
        raise InputError(msg)
    return head[place.name]


def _match_parameters(network: NetworkWithExits) -> None:
    """The heads where the backbone's parameters are, in their type."""
    first = next((p for p in network.backbone.parameters() if p.is_floating_point()), None)
    if first is not None:
        network.heads.to(first.device, first.dtype)


def _check(network: NetworkWithExits, example: Example, classes: int) -> None:
    """Every head gives logits for every input."""
    by_position, inputs = wrap_by_position(network, example)
    rows = {name: x[:1].repeat(2, *[1] * (x.ndim - 1)) for name, x in inputs.items()}
    failed = "a head failed on the example"
    with (
        evaluation_mode(network),
        restore_buffers(network),
        torch.random.fork_rng(),
        torch.no_grad(),
        translate_user_errors(failed),
    ):
        exits = by_position(*rows.values())
    wrong = [p.name for p, z in zip(network.places, exits, strict=False) if _shape(z) != (2, classes)]
    if wrong:
        msg = f"the head after {', '.join(map(repr, wrong))} does not give logits [batch, {classes}]"
        raise ModelError(msg)


def _shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None

"""Where a network can be left: what its parts return, what it has cost until there, and whether everything passes there.

survey (survey.py: runs the module) ─► places ─► choose, or find by name
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgeexit.errors import InputError, ModelError, did_you_mean
from edgeexit.util.arguments import as_names
from edgeexit.util.units import format_count

Kind: TypeAlias = Literal["feature map", "tokens", "sequence", "vector"]
Position: TypeAlias = Literal["mean", "first", "last"]


LATEST = 0.95
"""The largest share of the cost at which a place is chosen; any can be named."""


@dataclass(frozen=True)
class ExitPlace:
    """A part of a network after which an exit can stand.

    Attributes:
        name: of the part, as in `named_modules()`.
        shape: of what it returns, without the batch, such as (64, 16, 16).
        kind: "feature map" (channels and one or more axes of space), "tokens" (of a transformer), "sequence" (of an RNN), "vector".
        share: multiply-accumulates that are needed up to here, as a share of the whole network's.
        is_cut: whether everything that the network computes passes here.
        batch_axis: of what the part returns; 1 where time stands first.
        channel_axis: the axis of the channels once the batch stands first.
        position: which of the tokens or steps the last exit reads; "mean" where it reads several or it could not be told.

    Example:
        >>> import edgeexit, torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
        >>> place = edgeexit.list_exit_places(net, torch.zeros(1, 8))[0]
        >>> place.name, place.shape, place.kind, round(place.share, 2)
        ('0', (6,), 'vector', 0.73)
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    share: float
    is_cut: bool = True
    batch_axis: int = 0
    channel_axis: int = 1
    position: Position = "mean"


@dataclass(frozen=True)
class Survey:
    """What the runs of a module showed.

    Attributes:
        places: by name, in the order in which they return; several names where one tensor is returned by several parts.
        listed: the names of those that are cuts, one for each tensor.
        refused: why a part is no place, by name.
        classes: of the logits.
        repeated: the names of those that forward calls several times, the outermost first.
    """

    places: Mapping[str, ExitPlace]
    listed: tuple[str, ...]
    refused: Mapping[str, str]
    classes: int
    repeated: tuple[str, ...] = ()


def find_places(survey: Survey, names: Sequence[str]) -> list[ExitPlace]:
    """The places of these names, in the order in which the network comes to them.

    Raises:
        ModelError: a name is no place; with the reason, or the name that is near.
    """
    given = as_names("after", names) or ()
    for name in given:
        if name not in survey.places:
            raise ModelError(_explain_name(survey, name))
    if not given or len(set(given)) < len(given):
        msg = f"after= needs one or more names, each once; got {', '.join(given) or 'none'}"
        raise InputError(msg)
    return [place for name, place in survey.places.items() if name in given]


def _explain_name(survey: Survey, name: str) -> str:
    if name in survey.refused:
        return f"no exit can stand after {name!r}: {survey.refused[name]}. edgeexit.list_exit_places(module, example) lists the places"
    near = did_you_mean(name, [*survey.places, *survey.refused])
    places = ", ".join(survey.listed[:20]) + (", ..." if len(survey.listed) > 20 else "")
    return f"the module has no part named {name!r}.{near} Exits can stand after: {places}"


def choose_places(survey: Survey, count: int) -> list[ExitPlace]:
    """`count` places spread by cost: for k exits near the shares 1 / (k + 1), ..., k / (k + 1) of the multiply-accumulates.

    Of the cuts within a quarter of a step the outermost (fewest dots in its name), then the nearest; where none is as near, the nearest.
    Of places of one share the last counts, as after batch normalisation and activation. None is taken twice, and none after which only
    5 % of the cost would be left to save.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        msg = f"count must be a whole number of at least 1, not {count!r}"
        raise InputError(msg)
    left = {place.share: place for place in list_worthwhile_places(survey)}
    if len(left) < count:
        names = ", ".join(place.name for place in left.values()) or "none"
        msg = (
            f"{format_count(count, 'exit')} cannot be placed: everything passes through {format_count(len(left), 'place')} of different "
            f"cost, up to {LATEST:.0%} of it ({names}). Name places by after=[...], or ask for fewer{_explain_repeated(survey)}"
        )
        raise ModelError(msg)
    step = 1 / (count + 1)
    chosen = [left.pop(_find_nearest(left, step * k, step / 4)) for k in range(1, count + 1)]
    return sorted(chosen, key=lambda place: place.share)


def list_worthwhile_places(survey: Survey) -> list[ExitPlace]:
    """The cuts that cost something and leave at least 5 % of the cost to save, the last of each share."""
    cuts = (survey.places[name] for name in survey.listed)
    return list({place.share: place for place in cuts if 0 < place.share <= LATEST}.values())


def _explain_repeated(survey: Survey) -> str:
    """That no exit stands after a part that forward calls again and again, as in a transformer that shares one layer."""
    names = survey.repeated[:1]
    return "".join(f". After {name!r} none can stand: {survey.refused[name]}" for name in names)


def _find_nearest(left: Mapping[float, ExitPlace], target: float, room: float) -> float:
    near = {share: place for share, place in left.items() if abs(share - target) <= room}
    return min(near or left, key=lambda share: (left[share].name.count(".") if near else 0, abs(share - target)))

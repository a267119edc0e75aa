"""Run a module and tell after which of its parts an exit can stand.

The module runs three times: on the example as it would anyway, on another batch of other values, which tells the axis of the batch and
whether forward takes another way, and once with every operator recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.nets.attach.calls import find_features, watch_calls
from edgeexit.nets.attach.logits import Read, read_logits
from edgeexit.nets.attach.places import ExitPlace, Kind, Position, Survey
from edgeexit.nets.example import Example, wrap_by_position
from edgeexit.nets.recording import Node, Recording, use_plain_kernels
from edgeexit.nets.state import evaluation_mode, restore_buffers
from edgeexit.nets.users_code import translate_user_errors


@dataclass
class _Run:
    """The calls of one run, in the order in which they returned, and what each returned last."""

    names: list[str] = field(default_factory=list)
    features: dict[str, Tensor | None] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class _Subject:
    """A module that is looked at: as it takes its inputs by position, its parts by name, and how its logits are read."""

    module: nn.Module
    parts: Mapping[str, nn.Module]
    read: Read | None


def list_exit_places(module: nn.Module, example: Example, *, read: Read | None = None) -> list[ExitPlace]:
    """The places after which `add_exits` can put an exit, from input to output.

    Only those through which everything passes, and one name, the shortest, for each tensor.

    Args:
        module: a classifier; its forward returns logits [batch, classes].
        example: an input [batch, ...], a tuple of inputs, or a dict of inputs by the names of forward's parameters.
        read: takes the logits out of what forward returns, such as `lambda returned: returned[0]`.

    Example:
        >>> import edgeexit, torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 10))
        >>> for place in edgeexit.list_exit_places(net, torch.zeros(1, 1, 8, 8)):
        ...     print(place.name, place.shape, place.kind, round(place.share, 2))
        0 (8, 6, 6) feature map 0.2
        1 (8, 6, 6) feature map 0.2
        2 (8, 4, 4) feature map 0.9
        3 (128,) vector 0.9

    Raises:
        ModelError: forward fails, returns no logits or several exits, or takes another way on other values.
    """
    survey = survey_places(module, example, read)
    return [survey.places[name] for name in survey.listed]


def survey_places(module: nn.Module, example: Example, read: Read | None) -> Survey:
    """Run the module on the example and tell what each of its parts is. Its buffers, mode and random numbers stay as they were."""
    by_position, inputs = wrap_by_position(module, example)
    subject = _Subject(by_position, {name: part for name, part in module.named_modules() if name}, read)
    few = {name: x[:1].repeat(2, *[1] * (x.ndim - 1)) for name, x in inputs.items()}
    many = {name: _vary(x[:1].repeat(3, *[1] * (x.ndim - 1))) for name, x in inputs.items()}
    with evaluation_mode(module), restore_buffers(module), torch.random.fork_rng(), torch.no_grad():
        usual, other = _run(subject, few), _run(subject, many)
        _check_same_way(usual, other)
        with use_plain_kernels():
            recording = Recording(few.values())
            run = _run(subject, few, recording)
        survey = _make_survey(subject, usual, other, run, recording)
        return _tell_position(subject, few, survey)


def _vary(x: Tensor) -> Tensor:
    """Other values, that are possible ones too."""
    if x.is_floating_point():
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        return noise.to(x.device, x.dtype)
    return x.flip(-1) if x.ndim > 1 else x


def _run(subject: _Subject, inputs: Mapping[str, Tensor], recording: Recording | None = None) -> _Run:
    run = _Run()

    def note(name: str, returned: Any) -> None:
        features = find_features(returned)
        if recording is not None and features is not None and isinstance(subject.parts[name], nn.RNNBase):
            recording.add_recurrence(features)
        run.names.append(name)
        run.features[name] = features
        run.versions[name] = 0 if features is None else features._version  # noqa: SLF001 - torch documents it by this name

    rows = len(next(iter(inputs.values())))
    shapes = ", ".join(f"{name} {list(x.shape)} {x.dtype}" for name, x in inputs.items())
    failed = f"forward failed on a batch of {rows} like the example ({shapes})"
    with translate_user_errors(failed), watch_calls(subject.parts, note), recording or nullcontext():
        returned = subject.module(*inputs.values())
    run.logits = read_logits(returned, subject.read)
    return run


def _check_same_way(usual: _Run, other: _Run) -> None:
    if usual.names == other.names:
        return
    pairs = zip([*usual.names, "the end"], [*other.names, "the end"], strict=False)
    one, two = next((a, b) for a, b in pairs if a != b)
    msg = (
        f"forward takes another way on other values: where {one!r} returned on the example, {two!r} did on random inputs. An exit needs "
        "a network that calls the same parts every time: take the `if` on values out of forward"
    )
    raise ModelError(msg)


def _make_survey(subject: _Subject, usual: _Run, other: _Run, run: _Run, recording: Recording) -> Survey:
    last = recording.find_node(run.logits)
    if last is None or not recording.count_macs(last):
        msg = "forward computes its logits by no convolution or matrix product: its cost cannot be told, and no exit would save any"
        raise ModelError(msg)
    calls = Counter(usual.names)
    refused = _refuse_calls(subject, calls)
    refused |= {
        n: why for n in run.features if n not in refused and (why := _refuse_features(n, run, other, recording))
    }
    refused |= {
        n: _OWN_ANSWER for n in run.features if n not in refused and _returns_node(run.features[n], last, recording)
    }
    edges, whole, places = recording.list_edges(last), recording.count_macs(last), {}
    for name in (n for n in run.features if n not in refused):
        place, node = _describe_place(name, run, other, recording)
        is_cut = recording.is_cut(node, edges)
        places[name] = replace(place, share=recording.count_macs(node) / whole, is_cut=is_cut)
    return Survey(places, _list_once(places, run), refused, run.logits.shape[1], _list_repeated(calls))


def _list_repeated(calls: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted((name for name, count in calls.items() if count > 1), key=lambda name: name.count(".")))


_OWN_ANSWER = "it returns the network's own answer, after which nothing is left to save"


def _returns_node(features: Tensor | None, node: int, recording: Recording) -> bool:
    return features is not None and recording.find_node(features) == node


def _refuse_calls(subject: _Subject, calls: Counter[str]) -> dict[str, str]:
    """Why parts are no places, of those that are not called once."""
    never = "forward does not call it: it is unused, holds parts that are called themselves, or its layer computes without calling it"
    often = "forward calls it {} times, and an exit needs a place that is passed once"
    return {name: often.format(calls[name]) if calls[name] else never for name in subject.parts if calls[name] != 1}


def _refuse_features(name: str, run: _Run, other: _Run, recording: Recording) -> str:
    """Why what a part returns is nothing for an exit; empty where it is."""
    features, again = run.features[name], other.features[name]
    if features is None or again is None:
        return "it returns no tensor"
    if not features.is_floating_point() or not 2 <= features.ndim <= 5 or recording.find_node(features) is None:
        return f"it returns {features.dtype} {list(features.shape)}, and an exit needs computed floats [batch, ...] of 2 to 5 dimensions"
    if features._version != run.versions[name]:  # noqa: SLF001 - torch documents it by this name
        return (
            "what it returns is changed in place by what follows; name the part after it, which returns the same tensor"
        )
    if _find_batch_axis(features, again) is None:
        return f"what it returns, {list(features.shape)} for a batch of {len(run.logits)}, has no batch as its first dimension"
    return ""


def _find_batch_axis(features: Tensor, again: Tensor) -> int | None:
    """The only axis that grows with the batch; the first, or the second of three where time stands first."""
    if features.ndim != again.ndim:
        return None
    growing = [i for i, (a, b) in enumerate(zip(features.shape, again.shape, strict=True)) if a != b]
    allowed = (0, 1) if features.ndim == 3 else (0,)
    is_batch = len(growing) == 1 and growing[0] in allowed and features.shape[growing[0]] == 2
    return growing[0] if is_batch else None


def _describe_place(name: str, run: _Run, other: _Run, recording: Recording) -> tuple[ExitPlace, int]:
    """The place, without its cost, and the operator that made what it returns."""
    features, again = run.features[name], other.features[name]
    assert features is not None
    assert again is not None
    batch_axis, node = _find_batch_axis(features, again), recording.find_node(features)
    assert batch_axis is not None
    assert node is not None
    shape = tuple(features.movedim(batch_axis, 0).shape)
    kind, channel_axis = _tell_kind(shape, recording.find_layout(node))
    return ExitPlace(name, shape[1:], kind, 0.0, batch_axis=batch_axis, channel_axis=channel_axis), node


def _tell_kind(shape: tuple[int, ...], teller: Node | None) -> tuple[Kind, int]:
    """The kind of features [batch, ...] and where their channels are: where as many are as the operator that tells has made."""
    if len(shape) == 2:
        return "vector", 1
    end = len(shape) - 1
    if teller is not None and teller.layout == "sequence":
        return "sequence", end
    usual = 1 if len(shape) > 3 or (teller is not None and teller.layout == "map") else end
    axes = (1, end) if usual == 1 else (end, 1)
    axis = next((i for i in axes if teller is not None and shape[i] == teller.channels), usual)
    return ("tokens" if len(shape) == 3 and axis == end else "feature map"), axis


def _list_once(places: Mapping[str, ExitPlace], run: _Run) -> tuple[str, ...]:
    """The names of the cuts, the shortest for each tensor."""
    best: dict[int, str] = {}
    for name in (n for n, place in places.items() if place.is_cut):
        key = id(run.features[name])
        best[key] = min(best.get(key, name), name, key=lambda n: n.count("."))
    return tuple(best.values())


def _tell_position(subject: _Subject, inputs: Mapping[str, Tensor], survey: Survey) -> Survey:
    """The same, knowing for tokens which of them the network itself reads in the end."""
    tokens = [name for name, place in survey.places.items() if place.kind == "tokens" and place.is_cut]
    position = _find_position(subject, inputs, survey.places[tokens[-1]]) if tokens else "mean"
    recurrent = [part for part in subject.parts.values() if isinstance(part, nn.RNNBase)]
    both_ways = any(part.bidirectional for part in recurrent)
    positions: dict[Kind, Position] = {"tokens": position, "sequence": "mean" if both_ways else "last"}
    places = {name: replace(p, position=positions.get(p.kind, "mean")) for name, p in survey.places.items()}
    return replace(survey, places=places)


def _find_position(subject: _Subject, inputs: Mapping[str, Tensor], place: ExitPlace) -> Position:
    """The one position of the features on which the logits depend, by their gradient; "mean" where there are several."""
    seen: list[Tensor] = []

    def follow(_name: str, returned: Any) -> None:
        features = find_features(returned)
        if features is not None:
            seen.append(features if features.requires_grad else features.requires_grad_())

    part = {place.name: subject.parts[place.name]}
    with suppress(RuntimeError), torch.enable_grad(), use_plain_kernels(), watch_calls(part, follow):
        logits = read_logits(subject.module(*inputs.values()), subject.read)
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), seen)
        used = gradient.movedim(place.batch_axis, 0).abs().sum((0, 2)).nonzero().flatten().tolist()
        return "first" if used == [0] else "last" if used == [place.shape[0] - 1] else "mean"
    return "mean"

"""Return values of a module's forward, read as a list of exits; and exits that are only marked inside forward.

    Tensor                                one exit: logits [batch, classes]
    [z1, z2, ...]                         logits of every exit, first exit first
    [(z1, h1), (z2, h2), ...]             with the exit's own score [batch] or [batch, 1], higher meaning more confident; None where it
                                          has none
    [{"logits": z1, "score": h1}, ...]    the same by name
    ([z1, z2, ...], [h1, h2, ...])        the same as a pair of lists; the last score may be missing
    {"early": z1, "final": (z2, h2)}      the same by name, in the order of the dict
    {"logits": [...], "scores": [...]}    a pair of lists by name; a tensor each where there is one exit

and what `forms` brings to these: a stacked tensor, a list in a tuple, a dataclass, values without tensors beside the lists.

Where forward calls `mark_exit(name, logits)`, the marked tensors are the exits in the order of the calls, as they were when marked. What
it returns may then be nothing, or any of these forms: what is in it and was not marked, or was changed in place since, is the last exit;
two such tensors have no place and are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch import Tensor

from edgeexit.errors import ModelError
from edgeexit.nets.forms import convert_to_form, describe_structure, is_logits, remember_stacks
from edgeexit.util.units import format_count

Pair: TypeAlias = "tuple[Tensor, Tensor | None]"


@dataclass(frozen=True)
class ExitTensors:
    """One exit of one forward pass.

    Attributes:
        name: name of the exit.
        logits: [batch, classes].
        score: the exit's own score, [batch] or [batch, 1], higher meaning more confident; None where it has none.
    """

    name: str
    logits: Tensor
    score: Tensor | None = None


@dataclass(frozen=True)
class Mark:
    """One call of `mark_exit`.

    Attributes:
        given: the tensor that was marked, which forward goes on with.
        exit: the exit as it was then, in tensors of its own.
        version: version of `given` then; each change in place counts it up. None where torch does not count.
    """

    given: Tensor
    exit: ExitTensors
    version: int | None

    def is_still(self, tensor: Tensor) -> bool:
        """Whether this is the marked tensor, not changed in place since."""
        return tensor is self.given and _read_version(tensor) == self.version


_marked: ContextVar[list[Mark] | None] = ContextVar("marked exits", default=None)


def mark_exit(name: str, tensor: Tensor, score: Tensor | None = None) -> Tensor:
    """Say inside `forward` that `tensor` [batch, classes] is the logits of an exit, and go on.

    Returns `tensor` itself, so that a call can be wrapped around an expression; what forward does to it in place afterwards does not
    change the exit. Does nothing unless edgeexit is looking.

    Example:
        >>> import edgeexit, torch
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.early, self.last = torch.nn.Linear(8, 3), torch.nn.Linear(8, 3)
        ...
        ...     def forward(self, x):
        ...         edgeexit.mark_exit("early", self.early(x))
        ...         return edgeexit.mark_exit("last", self.last(x.relu()))
        >>> Net()(torch.zeros(1, 8)).shape
        torch.Size([1, 3])
    """
    marks = _marked.get()
    if marks is not None:
        marks.append(Mark(tensor, ExitTensors(name, _copy_tensor(tensor), _copy_tensor(score)), _read_version(tensor)))
    return tensor


def _copy_tensor(value: Any) -> Any:
    """A copy, of a tensor; what is none is refused later, with all other faults."""
    return value.clone() if isinstance(value, Tensor) else value


def _read_version(value: Any) -> int | None:
    if not isinstance(value, Tensor) or value.is_inference():
        return None
    return value._version  # noqa: SLF001 - torch documents it by this name


@contextmanager
def record_marks() -> Iterator[list[Mark]]:
    """Collect what `mark_exit` is called with in the body."""
    marks: list[Mark] = []
    token = _marked.set(marks)
    try:
        yield marks
    finally:
        _marked.reset(token)


def run_exits(module: Any, *inputs: Tensor, names: Sequence[str] | None = None) -> list[ExitTensors]:
    """Call the module and read every exit from what it returns and marks. See `read_exits`."""
    with record_marks() as marks, remember_stacks() as parts_of:
        returned = module(*inputs)
    return read_exits(convert_to_form(returned, parts_of), marks, names=names)


def read_exits(returned: Any, marks: Sequence[Mark] = (), *, names: Sequence[str] | None = None) -> list[ExitTensors]:
    """Every exit of one forward pass, first exit first, checked.

    Args:
        returned: what forward returned, in one of the forms above.
        marks: what it marked.
        names: names of the exits; otherwise the keys of the dict, the names of the marks, or exit1, exit2, ...

    Raises:
        ModelError: not one of the forms, or exits of different widths, or a score of the wrong shape.
    """
    exits = _append_marks(returned, marks) if marks else _name_exits(returned)
    if names is not None:
        exits = _rename_exits(exits, names)
    _check(exits)
    return exits


def extract_single_exit(returned: Any) -> Any:
    """The exit of a network that has only one, as logits or (logits, score), from any of the forms; anything else as it is."""
    with suppress(ModelError):
        exits = _name_exits(returned)
        if len(exits) == 1:
            return exits[0].logits, exits[0].score
    return returned


def _append_marks(returned: Any, marks: Sequence[Mark]) -> list[ExitTensors]:
    """The marked exits, and as the last one what is returned and was not marked."""
    found = [] if returned is None else _name_exits(returned)
    _check_changed(marks, found)
    exits = [_match_marked_exit(mark, found) for mark in marks]
    rest = [e for e in found if not any(mark.is_still(e.logits) for mark in marks)]
    if len(rest) > 1:
        msg = (
            f"forward marks {', '.join(e.name for e in exits)} and returns {len(rest)} tensors that it did not mark "
            f"({', '.join(f'{e.name} {list(e.logits.shape)}' for e in rest)}): mark them too, or return only the last exit"
        )
        raise ModelError(msg)
    own_name = isinstance(returned, Mapping) and not _is_lists_by_name(returned)
    return exits + [e if own_name else replace(e, name=f"exit{len(exits) + 1}") for e in rest]


def _check_changed(marks: Sequence[Mark], found: Sequence[ExitTensors]) -> None:
    """A marked tensor that was changed in place can only come back as the last exit."""
    early = [e.logits for e in found[:-1]]
    changed = [m.exit.name for m in marks if any(m.given is z and not m.is_still(z) for z in early)]
    if changed:
        msg = (
            f"forward changes the tensor of {', '.join(map(repr, changed))} in place after its mark and returns it before the last exit, "
            "so that it is two exits of one name: let it change a new tensor (torch.relu(z), not z.relu_()), or not return this one"
        )
        raise ModelError(msg)


def _match_marked_exit(mark: Mark, found: Sequence[ExitTensors]) -> ExitTensors:
    """The marked tensor may come back with the score that its mark lacks."""
    name, logits, score = mark.exit.name, mark.exit.logits, mark.exit.score
    if score is None:
        score = next((e.score for e in found if mark.is_still(e.logits)), None)
    return ExitTensors(name, *_make_pair(name, (logits, score)))


def _name_exits(returned: Any) -> list[ExitTensors]:
    if isinstance(returned, Mapping) and _is_lists_by_name(returned):
        returned = _pair_lists(returned["logits"], returned.get("scores"))
    if isinstance(returned, Mapping):
        return [ExitTensors(str(name), *_make_pair(str(name), value)) for name, value in returned.items()]
    if isinstance(returned, Tensor):
        returned = [returned]
    if not isinstance(returned, tuple | list):
        msg = f"forward returned {type(returned).__name__}; it must return the logits of every exit. {_FORMS}"
        raise ModelError(msg)
    values = _zip_pairs(returned) if _is_list_pair(returned) else returned
    return [ExitTensors(f"exit{i}", *_make_pair(f"exit{i}", value)) for i, value in enumerate(values, 1)]


def _is_lists_by_name(value: Mapping[Any, Any]) -> bool:
    return "logits" in value and set(value) <= {"logits", "scores"}


def _pair_lists(logits: Any, scores: Any) -> Any:
    """A pair of lists, or a list of one pair where there are no lists."""
    if isinstance(logits, Tensor):
        return [(logits, scores)]
    return (logits, [] if scores is None else scores)


_FORMS = (
    "Taken are: a list of logits, a list of (logits, score), a dict of either by name, a pair of lists (all logits, all scores), "
    "or a tensor where forward marks its exits with edgeexit.mark_exit(name, logits). Anything else is brought to one of these by a"
    " function: read=lambda returned: [...] (command line: --read FILE.py:FUNCTION)."
)


def _is_list_pair(value: Sequence[Any]) -> bool:
    """([z1, z2], [h1, h2]) and not [(z1, h1), (z2, h2)]: in the former the first list holds only [batch, classes]."""
    if len(value) != 2 or not all(isinstance(part, tuple | list) for part in value):
        return False
    logits, scores = value
    return all(is_logits(t) for t in logits) and not any(is_logits(t) for t in scores)


def _zip_pairs(value: Sequence[Any]) -> list[Any]:
    logits, scores = value
    if scores and len(scores) not in (len(logits), len(logits) - 1):
        msg = f"forward returned {len(logits)} logits and {len(scores)} scores; every exit, or every exit but the last, needs one"
        raise ModelError(msg)
    padded = [*scores, *[None] * (len(logits) - len(scores))]
    return list(zip(logits, padded, strict=True))


def _make_pair(name: str, value: Any) -> Pair:
    if isinstance(value, Tensor):
        return value, None
    if isinstance(value, Mapping) and "logits" in value and set(value) <= {"logits", "score"}:
        value = (value["logits"], value.get("score"))
    if isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[0], Tensor):
        score = value[1]
        if score is None or isinstance(score, Tensor):
            return value[0], score
    msg = f"exit {name!r} is {describe_structure(value)}; it must be logits or (logits, score). {_FORMS}"
    raise ModelError(msg)


def _rename_exits(exits: Sequence[ExitTensors], names: Sequence[str]) -> list[ExitTensors]:
    if len(names) != len(exits):
        given = f"{format_count(len(names), 'name')} {'was' if len(names) == 1 else 'were'} given ({', '.join(names)})"
        msg = f"{given} for {format_count(len(exits), 'exit')} ({', '.join(e.name for e in exits)})"
        raise ModelError(msg)
    return [ExitTensors(name, e.logits, e.score) for name, e in zip(names, exits, strict=True)]


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-/]*")


def _check(exits: Sequence[ExitTensors]) -> None:
    """All faults at once: one message that a person can act on."""
    faults = [] if exits else [f"forward returned no exit. {_FORMS}"]
    names = [e.name for e in exits]
    faults += _alike(exits)
    faults += [f"two exits are named {name!r}" for name in sorted({n for n in names if names.count(n) > 1}, key=str)]
    for e in exits:
        faults += _find_faults(e)
    widths = {e.name: e.logits.shape[-1] for e in exits if e.logits.ndim == 2}
    if len(set(widths.values())) > 1:
        faults.append(
            f"the exits have different numbers of classes: {', '.join(f'{n}: {w}' for n, w in widths.items())}"
        )
    if faults:
        raise ModelError("; ".join(faults))


def _alike(exits: Sequence[ExitTensors]) -> list[str]:
    """Exits that are one and the same tensor, or share their score."""
    pairs = [(a, b) for i, b in enumerate(exits) for a in exits[:i]]
    twice = [
        f"{a.name!r} and {b.name!r} are the same tensor: return each exit once"
        for a, b in pairs
        if a.logits is b.logits
    ]
    return twice + [
        f"{a.name!r} and {b.name!r} have the same tensor as score: give each exit its own"
        for a, b in pairs
        if a.score is not None and a.score is b.score
    ]


def _find_faults(e: ExitTensors) -> list[str]:
    faults = []
    if not isinstance(e.name, str) or not _NAME.fullmatch(e.name):
        faults.append(f"exit name {e.name!r} must start with a letter and hold letters, digits, and _ . - / only")
    if e.logits.ndim != 2 or e.logits.shape[1] < 2 or not e.logits.is_floating_point():
        faults.append(
            f"logits of {e.name!r} are {e.logits.dtype} {list(e.logits.shape)}; they must be float [batch, classes >= 2]"
            f"{_explain_shape(e.logits)}"
        )
        return faults
    if e.score is not None and (tuple(e.score.shape[1:]) not in ((), (1,)) or e.score.ndim == 0):
        faults.append(f"score of {e.name!r} is {list(e.score.shape)}; it must be [batch] or [batch, 1]")
    if e.score is not None and not e.score.is_floating_point():
        faults.append(f"score of {e.name!r} is {e.score.dtype}; it must be float, such as score.float()")
    return faults


def _explain_shape(logits: Tensor) -> str:
    """Advice for logits that do not have two dimensions."""
    if logits.ndim == 3:
        return ": a tensor of all exits is returned as a list (z.unbind(0)), logits per place or token are averaged (z.mean(1))"
    if logits.ndim == 1:
        return ": squeeze() drops a batch of one as well, x.flatten(1) does not"
    return ": write z.flatten(1)" if logits.ndim == 4 and tuple(logits.shape[2:]) == (1, 1) else ""

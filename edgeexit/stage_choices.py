"""Backends and precisions chosen for each stage: as users write them, and as settings, manifests and calibration keys have them.

users             float32,2=int8        stage 2 in int8, every other one in float32
                  int8,heads=float32    the layers of early heads, which no later exit needs, in float32
                  {2: "int8"}           from Python; stages that are not named take the default
edgeexit          float32+int8+float32  one name a stage where they are not all alike; `+heads-float32` behind it
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from edgeexit.choices import check_choice
from edgeexit.errors import InputError

PerStage: TypeAlias = "str | Mapping[int, str] | Mapping[int | str, str]"
"""A name for every stage, such as `float32`, `float32,2=int8` or `{2: "int8"}`."""

HEADS = "heads"
_SEPARATOR, _HEADS_PREFIX = "+", "heads-"


def list_stage_names(text: str) -> tuple[str, ...]:
    """The name of each stage, in order; one where they are all alike.

    Example:
        >>> list_stage_names("float32+int8"), list_stage_names("int8+heads-float32")
        (('float32', 'int8'), ('int8',))
    """
    return tuple(part for part in text.split(_SEPARATOR) if not part.startswith(_HEADS_PREFIX))


def find_heads_name(text: str) -> str | None:
    """The name for the heads of early exits, None where they take that of their stage."""
    last = text.rsplit(_SEPARATOR, maxsplit=1)[-1]
    return last.removeprefix(_HEADS_PREFIX) if last.startswith(_HEADS_PREFIX) else None


def is_mixed(text: str) -> bool:
    """Whether stages, or parts of them, have several names."""
    return _SEPARATOR in text


def list_distinct_names(text: str) -> tuple[str, ...]:
    """Every name that occurs, each once, in the order of the stages.

    Example:
        >>> list_distinct_names("onnxruntime+openvino+openvino")
        ('onnxruntime', 'openvino')
    """
    heads = find_heads_name(text)
    return tuple(dict.fromkeys((*list_stage_names(text), *([heads] if heads else []))))


def join_stage_names(names: Collection[str], heads: str | None = None) -> str:
    """One text of the names of all stages, in order.

    Args:
        names: one a stage.
        heads: name for the heads of early exits; None where they take that of their stage.

    Example:
        >>> join_stage_names(["int8", "int8"]), join_stage_names(["float32", "int8"])
        ('int8', 'float32+int8')
    """
    distinct = set(names)
    body = next(iter(distinct)) if len(distinct) == 1 else _SEPARATOR.join(names)
    return body if heads is None or distinct == {heads} else f"{body}{_SEPARATOR}{_HEADS_PREFIX}{heads}"


def merge_stage_names(text: str, kept: Sequence[int]) -> str | None:
    """The text for a network that keeps only some early exits, whose stages then run into those of the next kept exit.

    Args:
        text: names of the stages of the whole network.
        kept: numbers of the early exits that stay, from 1.

    Returns:
        The text, or None where stages that become one have several names.

    Example:
        >>> merge_stage_names("float32+int8+int8", [1]), merge_stage_names("float32+int8+int8", [2])
        ('float32+int8', None)
    """
    names = list_stage_names(text)
    if len(names) == 1:
        return text
    ends = [*kept, len(names)]
    groups = [set(names[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    if any(len(group) > 1 for group in groups):
        return None
    return join_stage_names([next(iter(group)) for group in groups], find_heads_name(text))


def for_stage(text: str, stage: int) -> str:
    """The name of one stage, counted from 1.

    Example:
        >>> for_stage("float32+int8", 2), for_stage("int8", 2)
        ('int8', 'int8')
    """
    names = list_stage_names(text)
    return names[0] if len(names) == 1 else names[stage - 1]


@dataclass(frozen=True)
class StageChoice:
    """What was asked for, before the number of stages is known.

    Attributes:
        kind: what is chosen, for messages: `backend` or `precision`.
        usual: name of the stages that are not named; None takes the default.
        named: names of single stages, by number from 1.
        heads: name for the heads of early exits, or None.
        exactly: number of stages that the network must have, or None.
    """

    kind: str
    usual: str | None = None
    named: Mapping[int, str] = field(default_factory=dict)
    heads: str | None = None
    exactly: int | None = None

    @classmethod
    def read(cls, kind: str, given: PerStage | None, known: Collection[str], *, heads: bool = False) -> StageChoice:
        """A choice as a user gives it.

        Args:
            kind: what is chosen.
            given: as `PerStage`, or the text of settings; None is the default for all.
            known: the names that there are.
            heads: whether the heads of early exits can have a name of their own.

        Raises:
            InputError: no such name, no such form, or a stage twice.
        """
        if isinstance(given, str) and is_mixed(given):
            names = list_stage_names(given)
            usual, count = (names[0], None) if len(names) == 1 else (None, len(names))
            choice = cls(kind, usual, dict(enumerate(names, 1)) if count else {}, find_heads_name(given), count)
        else:
            parts = list(_list_parts(kind, given))
            if len({key for key, _ in parts}) < len(parts):
                msg = f"the {kind} {given!r} names a stage twice, or two names for all stages: leave one out."
                raise InputError(msg)
            pairs = dict(parts)
            named = {key: name for key, name in pairs.items() if isinstance(key, int)}
            choice = cls(kind, pairs.get(""), named, pairs.get(HEADS))
        if choice.heads is not None and not heads:
            msg = f"a {kind} is chosen for whole stages: leave {HEADS}={choice.heads} out."
            raise InputError(msg)
        for name in choice.names:
            check_choice(kind, name, known)
        return choice

    @property
    def names(self) -> tuple[str, ...]:
        """Every name in it."""
        found = (self.usual, *self.named.values(), self.heads)
        return tuple(dict.fromkeys(name for name in found if name is not None))

    @property
    def is_default(self) -> bool:
        """Whether nothing was asked for."""
        return not self.names

    def resolve(self, stages: int, default: str) -> str:
        """The text for a network with this number of stages.

        Raises:
            InputError: it names a stage that the network does not have.
        """
        beyond = [k for k in self.named if not 1 <= k <= stages]
        if beyond or self.exactly not in (None, stages):
            wrong = f"stage {beyond[0]}" if beyond else f"{self.exactly} stages"
            msg = f"a {self.kind} is given for {wrong}, and this network has the stages 1 to {stages}."
            raise InputError(msg)
        usual = self.usual or default
        return join_stage_names([self.named.get(k, usual) for k in range(1, stages + 1)], self.heads)


def _list_parts(kind: str, given: PerStage | None) -> Iterator[tuple[int | str, str]]:
    """Stage numbers, `heads` or "" for the others, with their names."""
    if given is None:
        return
    if isinstance(given, Mapping):
        yield from (_check_part(kind, key, name) for key, name in given.items())
        return
    if not isinstance(given, str) or not given.strip():
        raise InputError(_explain_form(kind, given))
    for part in given.split(","):
        key, equals, name = (word.strip() for word in part.rpartition("="))
        if not name:
            raise InputError(_explain_form(kind, given))
        yield _check_part(kind, int(key) if key.isdecimal() else key, name) if equals else ("", name)


def _check_part(kind: str, key: object, name: object) -> tuple[int | str, str]:
    number = isinstance(key, int) and not isinstance(key, bool)
    if not (number or key == HEADS) or not isinstance(name, str) or not name:
        raise InputError(_explain_form(kind, f"{key}={name}"))
    assert isinstance(key, (int, str))
    return key, name


def _explain_form(kind: str, given: object) -> str:
    example = "float32,2=int8" if kind == "precision" else "onnxruntime,2=openvino"
    return f"cannot read the {kind} {given!r}: write one name for all stages, and NUMBER=NAME for single ones, such as {example}."

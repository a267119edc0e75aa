"""The criterion that a model was made for, with the thresholds and the fallback that belong to its method, in the model's metadata.

EENet, for one, defines that an input leaves where its learned score is at least 0.5: no calibration chooses that number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx

from edgeexit.criteria import criterion
from edgeexit.errors import InputError, ModelError
from edgeexit.fallbacks import FALLBACKS, LAST, fallback
from edgeexit.graph.exits import Exit
from edgeexit.util.arguments import as_float
from edgeexit.util.units import format_count

CRITERION_KEY = "edgeexit.criterion"
"""Model metadata: a JSON object of `name`, of `thresholds` in the criterion's own unit by the name of the exit's logits output, and of
`fallback` where the method has another one than the last exit."""


@dataclass(frozen=True)
class CriterionRecord:
    """What a model says of its criterion.

    Attributes:
        name: of the criterion.
        thresholds: in its own unit, by the name of the exit's logits output; empty where the method defines none.
        fallback: which exit answers an input that no early exit was confident about.
    """

    name: str
    thresholds: Mapping[str, float] = field(default_factory=dict)
    fallback: str = LAST

    def as_metadata(self) -> dict[str, str]:
        """As a property of a model file."""
        other = {} if self.fallback == LAST else {"fallback": self.fallback}
        return {CRITERION_KEY: json.dumps({"name": self.name, "thresholds": dict(self.thresholds), **other})}

    def find_thresholds(self, exits: Sequence[Exit]) -> tuple[float, ...]:
        """Thresholds of these exits but the last, in order; none where it has none.

        Raises:
            ModelError: it has those of other exits only.
        """
        early = [exit.logits for exit in exits[:-1]]
        missing = [name for name in early if name not in self.thresholds]
        if self.thresholds and missing:
            msg = (
                f"the model's metadata have a {self.name} threshold for {', '.join(map(repr, self.thresholds))}, and none for the early"
                f" {'exit' if len(missing) == 1 else 'exits'} {', '.join(map(repr, missing))}"
            )
            raise ModelError(msg)
        return tuple(self.thresholds[name] for name in early) if self.thresholds else ()


def make_criterion_record(
    name: str | None, thresholds: object, exits: Sequence[str], scored: int, fallback_name: str | None = None
) -> CriterionRecord | None:
    """The record of an export.

    Args:
        name: of the criterion; None takes `learned` where there are thresholds and every early exit has a score.
        thresholds: one number for every exit but the last, or one number for all of them; None for none.
        exits: names of the logits outputs, in order.
        scored: how many of the early exits have a score of their own.
        fallback_name: of the fallback; None for the last exit.

    Returns:
        it; None where nothing of the method is given.

    Raises:
        InputError: no such criterion or fallback; thresholds or a fallback without a criterion; not as many finite numbers as there are
            early exits.
    """
    last = fallback(fallback_name or LAST).name
    if thresholds is None and name is None and last != LAST:
        msg = f"fallback {last!r} compares scores: name the criterion too, such as criterion='max_softmax' (--criterion max_softmax)."
        raise InputError(msg)
    if thresholds is None:
        return None if name is None else CriterionRecord(criterion(name).name, fallback=last)
    if name is None and (not scored or scored < len(exits) - 1):
        msg = "thresholds are in the unit of a criterion: name it too, such as criterion='max_softmax' (--criterion max_softmax)."
        raise InputError(msg)
    rule = criterion(name or "learned")
    early = exits[:-1]
    own = _as_numbers(thresholds)
    own = own * len(early) if len(own) == 1 else own
    if len(own) != len(early) or not all(map(math.isfinite, own)):
        needed = format_count(len(early), "number")
        msg = (
            f"thresholds must be {needed} ({rule.unit}), one per exit but the last ({', '.join(early)}), or one for all of them;"
            f" got {thresholds!r}."
        )
        raise InputError(msg)
    return CriterionRecord(rule.name, dict(zip(early, own, strict=True)), last)


def _as_numbers(values: object) -> list[float]:
    """NaN for what is no number; none where it is text."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        return [as_float(values)]
    return [as_float(value) for value in values]


def read_criterion_record(proto: onnx.ModelProto) -> CriterionRecord | None:
    """What a model says of its criterion; None where it says nothing.

    Raises:
        ModelError: its metadata are damaged.
    """
    written = next((p.value for p in proto.metadata_props if p.key == CRITERION_KEY), None)
    if written is None:
        return None
    try:
        return _parse_record(json.loads(written))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        msg = f"the model's metadata {CRITERION_KEY!r} are not a name and thresholds by exit ({error!r}): name the criterion instead."
        raise ModelError(msg) from error


def _parse_record(document: Any) -> CriterionRecord:
    thresholds = {str(name): float(value) for name, value in document["thresholds"].items()}
    if not isinstance(document["name"], str) or not all(map(math.isfinite, thresholds.values())):
        raise ValueError(document)
    last = document.get("fallback", LAST)
    if last not in FALLBACKS:
        raise ValueError(document)
    return CriterionRecord(document["name"], thresholds, last)

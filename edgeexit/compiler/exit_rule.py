"""The rule that a bundle decides with: criterion, fallback and default thresholds, of the caller or of the model's metadata."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from edgeexit.compiler.criterion_check import check_criterion
from edgeexit.compiler.output_kinds import OutputWarning
from edgeexit.criteria import Criterion, criterion
from edgeexit.errors import ModelError
from edgeexit.fallbacks import LAST, fallback
from edgeexit.graph import Exit, Network
from edgeexit.graph.criterion_record import CriterionRecord, read_criterion_record

DEFAULT = "entropy"
"""Criterion where neither the caller nor the model names one."""


@dataclass(frozen=True)
class ExitRule:
    """Criterion and fallback; default thresholds in its own unit, one per early exit or none; temperatures of all exits or none."""

    criterion: Criterion
    fallback: str = LAST
    thresholds: tuple[float, ...] = ()
    temperatures: tuple[float, ...] = ()


@dataclass(frozen=True)
class RequestedRule:
    """What the caller of a compile asks for; what is None is left to the model."""

    criterion: Criterion | None
    fallback: str | None

    @classmethod
    def from_names(cls, criterion_name: str | None, fallback_name: str | None) -> RequestedRule:
        """By name.

        Raises:
            InputError: no such criterion or fallback.
        """
        return cls(
            None if criterion_name is None else criterion(criterion_name),
            None if fallback_name is None else fallback(fallback_name).name,
        )

    def resolve(self, net: Network, exits: Sequence[Exit]) -> ExitRule:
        """The criterion asked for, else the model's own, else entropy; with the model's thresholds and fallback where they are of that one.

        Raises:
            ModelError: the model's metadata on it are damaged and no criterion was asked for.
            InputError: the model names a criterion that does not exist here, or one of another package is at fault.

        Warns:
            OutputWarning: the model has thresholds for other exits than these.
        """
        record = self._read_record(net)
        rule = self.criterion or criterion(DEFAULT if record is None else record.name)
        if rule.origin:
            check_criterion(rule, net.opset)
        if record is None or record.name != rule.name:
            return ExitRule(rule, self.fallback or LAST)
        last = self.fallback or record.fallback
        try:
            return ExitRule(rule, last, record.find_thresholds(exits))
        except ModelError as error:
            warnings.warn(f"{error}: the bundle has no thresholds until it is calibrated.", OutputWarning, stacklevel=4)
            return ExitRule(rule, last)

    def _read_record(self, net: Network) -> CriterionRecord | None:
        try:
            return read_criterion_record(net.proto)
        except ModelError:
            if self.criterion is None:
                raise
            return None  # naming the criterion is the workaround

"""The document of a calibration as a bundle holds it, with a typed reading of what is needed to run.

It stands below its readers: the runtime, the measurement and the report. `edgeexit.calibration.parse_calibration` reads the whole of it and
refuses what does not fit; here a field that is missing or damaged, in a file that may come from anywhere, is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexit.errors import BundleError
from edgeexit.util.arguments import as_float
from edgeexit.util.documents import check_schema, parse_number

VERSION = 1
SCHEMA = f"edgeexit.calibration/{VERSION}"
VERDICTS = ("met", "not met", "undecided")
UNKNOWN = "unknown"
"""Verdict of a document that states none."""


@dataclass(frozen=True)
class ExitTimes:
    """Measured latencies of leaving at one exit, in seconds; None where the document does not say.

    Attributes:
        mean_s, p50_s, p99_s: mean, median and 99th percentile.
    """

    mean_s: float | None
    p50_s: float | None
    p99_s: float | None


class CalibrationDocument(dict[str, Any]):
    """A calibration as JSON values: a dict, with properties for what a bundle is run with."""

    @property
    def is_current(self) -> bool:
        """Whether it has the schema that this edgeexit writes."""
        return self.get("schema") == SCHEMA

    @property
    def target(self) -> str | None:
        """Target as it was asked for."""
        return self._get_text("target")

    @property
    def created(self) -> str | None:
        """Time of the calibration, UTC, ISO 8601."""
        return self._get_text("created")

    @property
    def verdict(self) -> str:
        """`met`, `not met`, `undecided` or `unknown`; earlier versions only wrote `met` as true or false."""
        bounds = (self._get_object("verdict") or {}).get("bounds")
        if bounds in VERDICTS:
            return str(bounds)
        met = self.get("met")
        return ("met" if met else "not met") if isinstance(met, bool) else UNKNOWN

    @property
    def inner_thresholds(self) -> tuple[float, ...] | None:
        """Thresholds as the engines see them; None where they are not all numbers."""
        values = self.get("inner_thresholds")
        numbers = tuple(map(parse_number, values)) if isinstance(values, list) else (math.nan,)
        return None if any(map(math.isnan, numbers)) else numbers

    @property
    def exits(self) -> tuple[ExitTimes, ...]:
        """Latencies of each exit; empty where there are none."""
        rows = self.get("exits")
        return tuple(map(_read_times, rows)) if isinstance(rows, (list, tuple)) else ()

    @property
    def device(self) -> dict[str, str] | None:
        """Facts of the device that it was measured on, by name."""
        facts = self._get_object("device")
        return None if facts is None else {str(n): v for n, v in facts.items() if isinstance(v, str)}

    @property
    def settings(self) -> Mapping[str, Any] | None:
        """Settings that it was measured with, by the names of `Settings`."""
        return self._get_object("settings")

    @property
    def state_before(self) -> Mapping[str, Any] | None:
        """State of the device before the measurement, by the names of `DeviceState`."""
        before = (self._get_object("state") or {}).get("before")
        return before if isinstance(before, Mapping) else None

    def require_thresholds(self, exits: int, where: str) -> tuple[float, ...]:
        """Return the inner thresholds, one per early exit.

        Args:
            exits: number of exits of the network.
            where: where the document lies, for the message.

        Raises:
            BundleError: it was written by a newer edgeexit, or they are not one number per early exit.
        """
        check_schema(self, "calibration", VERSION, where, BundleError)
        inner = self.inner_thresholds
        if inner is None or len(inner) != exits - 1:
            msg = f"{where} has inner_thresholds {self.get('inner_thresholds')!r}; it needs {exits - 1} numbers: calibrate again."
            raise BundleError(msg)
        return inner

    def _get_text(self, name: str) -> str | None:
        value = self.get(name)
        return value if isinstance(value, str) else None

    def _get_object(self, name: str) -> Mapping[str, Any] | None:
        value = self.get(name)
        return value if isinstance(value, Mapping) else None


def _read_times(row: object) -> ExitTimes:
    found = row if isinstance(row, Mapping) else {}
    mean_s, p50_s, p99_s = (as_float(found.get(name)) for name in ("mean_s", "p50_s", "p99_s"))
    return ExitTimes(*(None if math.isnan(t) else t for t in (mean_s, p50_s, p99_s)))

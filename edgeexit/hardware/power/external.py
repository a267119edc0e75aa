"""An external power meter, through the CSV that it logs: any meter, any scope, on a clock of its own.

The file has a header. Time: `time_s` (any origin), `timestamp` or `time` (seconds since 1970). Power: `power_w`, `power_mw`, or
voltage (`voltage_v`, `voltage_mv`) and current (`current_a`, `current_ma`). Other columns are left alone. The log must begin
before the measurement and end after it; its clock is aligned by the pattern of load and idle time.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path

from edgeexit.errors import InputError, did_you_mean
from edgeexit.hardware.power.base import Capability, Channel, Reading
from edgeexit.hardware.power.recorder import Recorder

_TIMES = ("time_s", "timestamp", "time")
_POWERS = {"power_w": 1.0, "power_mw": 1e-3}
_VOLTAGES = {"voltage_v": 1.0, "voltage_mv": 1e-3}
_CURRENTS = {"current_a": 1.0, "current_ma": 1e-3}
_KNOWN = (*_TIMES, *_POWERS, *_VOLTAGES, *_CURRENTS)
_SINCE_1970_S = 1e9


class CsvRecorder(Recorder):
    """The log of an external meter, read when the measurement ends.

    Args:
        path: of the file that the meter's software writes meanwhile.
        scope: what the meter sees, such as `board at its DC input`.
        rate_hz: of its readings, if known: loops last at least 200 of them.
    """

    aligned = False

    def __init__(self, path: Path, scope: str = "external meter", rate_hz: float = 50.0) -> None:
        channel = Channel("external", "total")
        self.capability = Capability("external", scope, "sampled", (channel,), ("external",), rate_hz=rate_hz)
        self.path = path
        self._since_1970 = False

    @property
    def expected_offset_s(self) -> float | None:
        """Of a log that has the time of day: how far the monotonic clock is from it now."""
        return time.monotonic() - time.time() if self._since_1970 else None

    def start(self) -> None:
        """Check that the meter is logging.

        Raises:
            InputError: the file is not there, or its header is not understood.
        """
        self._read()

    def stop(self) -> list[Reading]:
        """Every reading of the file, on the meter's own clock."""
        readings = self._read()
        self._since_1970 = bool(readings) and readings[0].time_s > _SINCE_1970_S
        return readings

    def _read(self) -> list[Reading]:
        try:
            text = _whole_lines(self.path.read_bytes()).decode("utf-8-sig")
            rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
            columns = _columns(rows.fieldnames or (), self.path)
            return sorted(_reading(row, columns, self.path, rows.line_num) for row in rows)
        except OSError as error:
            msg = f"cannot read the external meter's log {self.path}: {error.strerror or error}."
            raise InputError(msg) from error
        except (UnicodeError, csv.Error) as error:
            msg = f"{self.path} is no CSV in UTF-8 ({error}); have the meter's software write UTF-8, not UTF-16 or a spreadsheet."
            raise InputError(msg) from error


def _whole_lines(data: bytes) -> bytes:
    """Without a last row that is still being written, of which `1` may be the beginning of `12.3`; a header alone is kept."""
    return data[: data.rfind(b"\n") + 1] or data


def _columns(header: object, path: Path) -> tuple[str, Mapping[str, float]]:
    """The column of the time, and those whose product is the power with their units."""
    names = [str(name).strip().lower() for name in header] if isinstance(header, (list, tuple)) else []
    times = [name for name in _TIMES if name in names]
    powers = {name: unit for name, unit in _POWERS.items() if name in names}
    pair = {name: unit for units in (_VOLTAGES, _CURRENTS) for name, unit in units.items() if name in names}
    if not times or not (powers or len(pair) == 2):
        hints = "".join(did_you_mean(name, _KNOWN) for name in names if name not in _KNOWN)
        msg = f"{path}: the header {names} has no time and power.{hints} Columns understood: {', '.join(_KNOWN)}."
        raise InputError(msg)
    return times[0], dict([next(iter(powers.items()))]) if powers else pair


def _reading(row: Mapping[str, str], columns: tuple[str, Mapping[str, float]], path: Path, line: int) -> Reading:
    lowered = {str(name).strip().lower(): value for name, value in row.items()}
    time_column, factors = columns
    try:
        power_w = 1.0
        for name, unit in factors.items():
            power_w *= float(lowered[name]) * unit
        return Reading(float(lowered[time_column]), 0.0, (power_w,))
    except (TypeError, ValueError) as error:
        msg = f"{path}, line {line}: {dict(row)} holds no numbers in {', '.join((time_column, *factors))}."
        raise InputError(msg) from error

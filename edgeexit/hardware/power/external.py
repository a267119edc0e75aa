"""An external power meter, through the log that it writes: any meter, any scope, on a clock of its own.

A table has a header. Time: `time_s` (any origin), `timestamp` or `time` (since 1970, or dates). Power: `power_w`, `power_mw`, or voltage
(`voltage_v`, `voltage_mv`) and current (`current_a`, `current_ma`). Other columns are left alone. Which other forms are read, `logs` says.
The log must begin before the measurement and end after it; its clock is aligned by the pattern of load and idle time.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

from edgeexit.errors import InputError
from edgeexit.hardware.power.base import Capability, Channel, PowerReading
from edgeexit.hardware.power.logs import read_log
from edgeexit.hardware.power.recorder import Recorder

_SINCE_1970_S = 1e9


class CsvRecorder(Recorder):
    """The log of an external meter, read when the measurement ends.

    Args:
        path: path of the file that the meter's software writes meanwhile.
        scope: what the meter sees, such as `board at its DC input`.
        rate_hz: rate of its readings, if known: loops last at least 200 of them.
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

    def stop(self) -> list[PowerReading]:
        """Every reading of the file, on the meter's own clock."""
        readings = self._read()
        self._since_1970 = bool(readings) and readings[0].time_s > _SINCE_1970_S
        return readings

    def _read(self) -> list[PowerReading]:
        try:
            return read_log(_drop_partial_line(self.path.read_bytes()).decode("utf-8-sig"), self.path)
        except OSError as error:
            msg = f"cannot read the external meter's log {self.path}: {error.strerror or error}."
            raise InputError(msg) from error
        except (UnicodeError, csv.Error) as error:
            msg = (
                f"{self.path} is not a CSV file in UTF-8 ({error}); configure the meter's software to write UTF-8,"
                " not UTF-16 or a spreadsheet."
            )
            raise InputError(msg) from error


def _drop_partial_line(data: bytes) -> bytes:
    """Without a last row that is still being written, of which `1` may be the beginning of `12.3`; a header alone is kept."""
    return data[: data.rfind(b"\n") + 1] or data

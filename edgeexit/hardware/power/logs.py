"""Logs of power meters, in the forms in which they come, as readings in seconds and watts.

table        a header and rows, separated by commas, semicolons, tabs or spaces, with decimal points or commas; lines that begin with
             `#` are comments, of which one may be the header
tegrastats   lines of `tegrastats --logfile`: the rails that make up the board's total, of a known Jetson
PTDaemon     lines `Time,11-28-2026 22:00:00.123,Watts,5.2,...` of SPEC's power daemon

Times are seconds of any origin, seconds, milli-, micro- or nanoseconds since 1970, or dates (ISO 8601, or month-day-year); a date without a
zone is the local time of this machine. A power that is no finite number is missing (NaN).
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import groupby
from pathlib import Path

from edgeexit.errors import InputError, did_you_mean
from edgeexit.hardware.power.base import NAN, PowerReading
from edgeexit.hardware.profiles import load_profiles

_TIMES = {"time_s": 1.0, "timestamp": None, "time": None, "time_ms": 1e-3, "timestamp_ms": 1e-3, "time_us": 1e-6}
"""Seconds in one unit of the column; None goes by the size of the number."""
_POWERS = {"power_w": 1.0, "power_mw": 1e-3}
_VOLTAGES = {"voltage_v": 1.0, "voltage_mv": 1e-3}
_CURRENTS = {"current_a": 1.0, "current_ma": 1e-3}
_KNOWN = (*_TIMES, *_POWERS, *_VOLTAGES, *_CURRENTS)
_OTHER_NAMES = {
    "watts": "power_w", "w": "power_w", "volts": "voltage_v", "amps": "current_a", "datetime": "timestamp", "date_time": "timestamp",
    "timestamp_s": "timestamp", "timestamp_us": "time_us",
}  # fmt: skip
_SEPARATORS = (",", ";", "\t", " ")
_SINCE_1970 = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))
"""From this size on a number of seconds since 1970 would lie thousands of years ahead: it counts smaller units."""
_DATE = re.compile(
    r"(?:(?P<y>\d{4})[-/](?P<m>\d\d)[-/](?P<d>\d\d)|(?P<m2>\d\d)[-/](?P<d2>\d\d)[-/](?P<y2>\d{4}))"
    r"[T ](?P<h>\d\d):(?P<min>\d\d)(?::(?P<s>\d\d)(?:[.,](?P<f>\d{1,9}))?)? ?(?P<zone>Z|[+-]\d\d:?\d\d)?"
)
_RAIL = re.compile(r"(\w+) (\d+)(?:mW)?/\d+(?:mW)?(?=\s|$)")
_PTDAEMON = "Time,"


def read_log(text: str, path: Path) -> list[PowerReading]:
    """The readings of a log in order of time, or none where it has only a header yet.

    Raises:
        InputError: none of the forms above, or a line that does not fit; names the line and what is understood.
    """
    numbered = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    lines = [(i, line) for i, line in numbered if not line.startswith("#")]
    if not lines and not numbered:
        msg = f"{path} is empty. Start the meter's log before the measurement."
        raise InputError(msg)
    if not lines or _find_header(lines[0][1]) is None:
        comments = [(i, line.lstrip("# ")) for i, line in numbered if line.startswith("#")]
        lines = [c for c in comments if _find_header(c[1])][-1:] + lines or comments[:1]
    first = lines[0][1]
    if first.startswith(_PTDAEMON) and "Watts," in first:
        return sorted(_parse_ptdaemon(lines, path))
    if "RAM " in first and _RAIL.search(first):
        return _parse_tegrastats(lines, path)
    return _parse_csv(lines, path)


def parse_time(text: str) -> float:
    """Seconds since 1970 of a date, or the number that the text is.

    Raises:
        ValueError: neither.
    """
    found = _DATE.fullmatch(text.strip())
    if found is None:
        return _parse_number(text)
    part = found.groupdict()
    year, month, day = (int(part[name] or part[f"{name}2"]) for name in ("y", "m", "d"))
    hour, minute, second = (int(part[name] or 0) for name in ("h", "min", "s"))
    moment = datetime(year, month, day, hour, minute, second, tzinfo=_parse_zone(part["zone"]))
    return moment.timestamp() + float(f"0.{part['f'] or 0}")


def _parse_zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text == "Z":
        return timezone.utc
    minutes = 60 * int(text[1:3]) + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _parse_number(text: str) -> float:
    """A number with a decimal point or a decimal comma."""
    stripped = text.strip()
    return float(stripped.replace(",", ".") if "." not in stripped and stripped.count(",") == 1 else stripped)


@dataclass(frozen=True)
class _Columns:
    """Columns of a table that hold times and power.

    Attributes:
        time: place of the times. unit: seconds in one of theirs; None goes by their size.
        factors: places of the columns whose product is the power, with their units.
        names: names of the columns, for messages.
    """

    time: int
    unit: float | None
    factors: Mapping[int, float]
    names: tuple[str, ...]

    def reading(self, cells: Sequence[str]) -> PowerReading:
        power_w = math.prod(_parse_number(cells[place]) * unit for place, unit in self.factors.items())
        time_s = parse_time(cells[self.time])
        if not math.isfinite(time_s):
            raise ValueError
        return PowerReading(time_s, 0.0, (power_w if math.isfinite(power_w) else NAN,))


def _parse_csv(lines: Sequence[tuple[int, str]], path: Path) -> list[PowerReading]:
    found = _find_header(lines[0][1])
    if found is None:
        raise _make_header_error(lines[0][1], path)
    separator, columns = found
    readings = []
    for number, line in lines[1:]:
        cells = next(csv.reader(io.StringIO(line), delimiter=separator, skipinitialspace=True), [])
        try:
            readings.append(columns.reading(cells))
        except (ValueError, IndexError, OverflowError) as error:
            msg = (
                f"{path}, line {number}: {line.strip()[:200]!r} holds no numbers in {', '.join(columns.names)}."
                " Write powers as numbers; times as numbers or dates (2026-11-28T22:00:00.1Z)."
            )
            raise InputError(msg) from error
    return sorted(_convert_to_seconds(readings, columns.unit))


def _find_header(line: str) -> tuple[str, _Columns] | None:
    """The separator under which the header has a time and a power, and their columns; None if the line is not a header."""
    for separator in _SEPARATORS:
        columns = _find_columns(_parse_names(line, separator))
        if columns is not None:
            return separator, columns
    return None


def _parse_names(line: str, separator: str) -> list[str]:
    return [
        _normalize_name(name)
        for name in next(csv.reader(io.StringIO(line), delimiter=separator, skipinitialspace=True), [])
    ]


def _make_header_error(line: str, path: Path) -> InputError:
    names = max((_parse_names(line, separator) for separator in _SEPARATORS[:3]), key=len)
    hints = "".join(did_you_mean(name, _KNOWN) for name in names if name not in _KNOWN)
    return InputError(
        f"{path}: the header {names} has no time and power.{hints} Columns understood: {', '.join(_KNOWN)}; separated by commas,"
        " semicolons, tabs or spaces. Logs of tegrastats and PTDaemon are read as they are."
    )


def _normalize_name(name: str) -> str:
    """`Power (mW)` as `power_mw`."""
    plain = re.sub(r"[\s_]*[(\[]([^)\]]*)[)\]]", r"_\1", name.strip().lower())
    plain = re.sub(r"\s+", "_", plain)
    return _OTHER_NAMES.get(plain, plain)


def _find_columns(names: Sequence[str]) -> _Columns | None:
    times = [name for name in _TIMES if name in names]
    powers = {name: unit for name, unit in _POWERS.items() if name in names}
    pair = {name: unit for units in (_VOLTAGES, _CURRENTS) for name, unit in units.items() if name in names}
    if not times or not (powers or len(pair) == 2):
        return None
    factors = dict([next(iter(powers.items()))]) if powers else pair
    places = {names.index(name): unit for name, unit in factors.items()}
    return _Columns(names.index(times[0]), _TIMES[times[0]], places, (times[0], *factors))


def _convert_to_seconds(readings: Sequence[PowerReading], unit: float | None) -> list[PowerReading]:
    """Times in seconds: of a stated unit, or, where they are too large for seconds since 1970, of the one that their size tells."""
    if not readings:
        return []
    largest = max(r.time_s for r in readings)
    factor = unit if unit is not None else next((f for size, f in _SINCE_1970 if largest >= size), 1.0)
    return [r if factor == 1.0 else _shift_reading(r, r.time_s * factor) for r in readings]


def _shift_reading(reading: PowerReading, time_s: float) -> PowerReading:
    """The same reading at another time."""
    return reading._replace(time_s=time_s)


def _parse_ptdaemon(lines: Sequence[tuple[int, str]], path: Path) -> Iterator[PowerReading]:
    for number, line in lines:
        cells = [cell.strip() for cell in line.split(",")]
        values = dict(zip(cells[::2], cells[1::2], strict=False))
        try:
            watts = float(values["Watts"])
            yield PowerReading(
                parse_time(values["Time"]), 0.0, (watts if math.isfinite(watts) and watts >= 0 else NAN,)
            )
        except (KeyError, ValueError, OverflowError) as error:
            msg = f"{path}, line {number}: {line.strip()[:200]!r} is not a line of PTDaemon with Time and Watts."
            raise InputError(msg) from error


def _parse_tegrastats(lines: Sequence[tuple[int, str]], path: Path) -> list[PowerReading]:
    """Its times are whole seconds: the lines of one second are spread over it."""
    total = _find_total_rails(dict(_RAIL.findall(lines[0][1])), path)
    found = []
    for number, line in lines:
        rails = dict(_RAIL.findall(line))
        date = _DATE.match(line)
        if date is None or not total <= rails.keys():
            msg = (
                f"{path}, line {number}: {line.strip()[:200]!r} has no date at its beginning, or not the rails {', '.join(sorted(total))}."
                " tegrastats writes dates from JetPack 5 on; before, log a table with time_s and power_w."
            )
            raise InputError(msg)
        power_w = sum(int(rails[name]) for name in total) * 1e-3
        found.append(PowerReading(parse_time(date.group()), 0.0, (power_w,)))
    spread = []
    for second, group in groupby(found, key=lambda r: r.time_s):
        same = list(group)
        spread += [_shift_reading(r, second + i / len(same)) for i, r in enumerate(same)]
    return sorted(spread)


def _find_total_rails(rails: Mapping[str, str], path: Path) -> frozenset[str]:
    """The rails whose sum is the board's power, of the known device that has them all; the fewest where several do."""
    totals = [frozenset(p.power.total) for p in load_profiles().values() if p.power.total]
    found = [total for total in totals if total <= rails.keys()]
    if not found:
        msg = f"{path}: no known Jetson's total is among the rails {', '.join(rails)}; log a table with time_s and power_w."
        raise InputError(msg)
    return min(found, key=lambda total: (len(total), sorted(total)))

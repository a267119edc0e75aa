"""Numbers as text with units. The one place where a quantity becomes text; everything else keeps SI floats."""

from __future__ import annotations

import math

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_JOULES = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"))
_WATTS = ((1.0, "W"), (1e-3, "mW"), (1e-6, "µW"))
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_COUNT = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def _scale(value: float | None, scales: tuple[tuple[float, str], ...], digits: int = 3) -> str:
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    factor, unit = next((s for s in scales if abs(value) >= s[0]), scales[-1])
    scaled = value / factor
    whole = len(str(int(abs(scaled))))
    countable = scales in (_BYTES, _COUNT) and factor == 1.0  # there is no half of one
    return f"{scaled:.{0 if countable else max(0, digits - whole)}f} {unit}".rstrip()


def seconds(value: float | None) -> str:
    """`0.0000164` -> `16.4 µs`; None -> `n/a`."""
    return _scale(value, _SECONDS)


def seconds_scale(value: float) -> tuple[float, str]:
    """Factor and unit in which a time of this size reads best, for an axis: `0.0000164` -> `(1e-6, "µs")`."""
    return next((scale for scale in _SECONDS if abs(value) >= scale[0]), _SECONDS[-1])


def joules(value: float | None) -> str:
    """`0.0021` -> `2.10 mJ`; None -> `n/a`."""
    return _scale(value, _JOULES)


def joules_scale(value: float) -> tuple[float, str]:
    """Factor and unit in which an energy of this size reads best, for an axis."""
    return next((scale for scale in _JOULES if abs(value) >= scale[0]), _JOULES[-1])


def watts(value: float | None) -> str:
    """`6.31` -> `6.31 W`; None -> `n/a`."""
    return _scale(value, _WATTS)


def bytes_(value: float | None) -> str:
    """`4096` -> `4.00 KiB`, `48` -> `48 B`; None -> `n/a`."""
    return _scale(value, _BYTES)


def format_number(value: float | None) -> str:
    """`221000` -> `221 k`; None -> `n/a`."""
    return _scale(value, _COUNT)


def percent(share: float | None, digits: int = 2) -> str:
    """`0.9912` -> `99.12 %`; None -> `n/a`."""
    return "n/a" if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def change(share: float | None, digits: int = 1) -> str:
    """A relative change: `0.012` -> `+1.2 %`; None -> `n/a`."""
    return "n/a" if share is None or math.isnan(share) else f"{100 * share:+.{digits}f} %"


def compact_percent(share: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A share inside a sentence: `0.047` -> `4.7%`; None -> `n/a`."""
    return "n/a" if share is None or math.isnan(share) else f"{share:{'+' if signed else ''}.{digits}%}"


def fixed(value: float, digits: int, *, signed: bool = False) -> str:
    """A number with a fixed count of decimals: `(1.834, 2)` -> `1.83`."""
    return f"{value:{'+' if signed else ''}.{digits}f}"


def significant(value: float, digits: int = 4) -> str:
    """A number with at most so many significant digits, such as a threshold: `0.0345123` -> `0.03451`."""
    return f"{value:.{digits}g}"


def scientific(value: float, digits: int = 1) -> str:
    """A small number as a power of ten, such as a difference of logits: `0.00000123` -> `1.2e-06`."""
    return f"{value:.{digits}e}"


def format_ratio(value: float | None) -> str:
    """A ratio by three significant digits, in words or beside a header: `1.834` -> `1.83`, `0.0471` -> `0.0471`, `5337.75` -> `5,340`."""
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value) or value == 0:
        return "∞" if value else "0"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def ratio(value: float | None) -> str:
    """`1.834` -> `1.83 ×`, likewise; None -> `n/a`."""
    text = format_ratio(value)
    return text if text == "n/a" else f"{text} ×"


def duration(value: float | None) -> str:
    """A duration, rounded: `4.2` -> `4 s`, `95.0` -> `1 min 35 s`, `5400.0` -> `1 h 30 min`; None -> `n/a`."""
    if value is None or not math.isfinite(value):
        return "n/a"
    whole = round(max(0.0, value))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def format_count(number: int, noun: str, nouns: str | None = None) -> str:
    """A count with its noun: `(1, "exit")` -> `1 exit`, `(3, "exit")` -> `3 exits`, `(2, "process", "processes")` -> `2 processes`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def percent_range(low: float, high: float, digits: int = 1) -> str:
    """`0.971, 0.9952` -> `97.1 … 99.5 %`."""
    return f"{100 * low:.{digits}f} … {100 * high:.{digits}f} %"


def points(change: float | None) -> str:
    """A difference of two shares: `-0.006` -> `-0.60 points`; None -> `n/a`."""
    return "n/a" if change is None or math.isnan(change) else f"{100 * change:+.2f} points"

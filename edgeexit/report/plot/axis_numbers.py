"""The numbers along an axis: all of one axis in one notation."""

from __future__ import annotations

from collections.abc import Sequence

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLAIN_FROM, _PLAIN_BELOW = 1e-3, 1e6


def format_axis_numbers(values: Sequence[float]) -> list[str]:
    """Ticks as text; where one is too small or too large for plain digits, all are powers of ten."""
    sizes = [abs(v) for v in values if v]
    plain = all(_PLAIN_FROM <= size < _PLAIN_BELOW for size in sizes)
    return [f"{v:.6g}" if plain or not v else _format_power(v) for v in values]


def _format_power(value: float) -> str:
    factor, power = f"{value:.2e}".split("e")
    factor = factor.rstrip("0").rstrip(".")
    raised = f"10{str(int(power)).translate(_RAISED)}"
    return raised if factor == "1" else f"{factor}·{raised}"

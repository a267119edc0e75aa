"""What an analysis needs of a table, checked."""

from __future__ import annotations

from edgeexit.calibration.replay import Bools, ReplayTable
from edgeexit.errors import InputError
from edgeexit.util.units import format_count


def require_correct(table: ReplayTable) -> Bools:
    """Whether each exit is right about each sample, [M, N].

    Raises:
        InputError: the table was made without labels.
    """
    if table.correct is None:
        msg = (
            "this needs labels: the table does not say which answers are right. Make it with the labels of its samples."
        )
        raise InputError(msg)
    return table.correct


def check_same_network(chosen_on: ReplayTable, used_on: ReplayTable) -> None:
    """Refuse two tables that cannot be of one network, or whose costs have different units.

    Raises:
        InputError: they are not.
    """
    if chosen_on.exits != used_on.exits:
        exits = f"{format_count(chosen_on.exits, 'exit')} and {used_on.exits}"
        msg = f"thresholds chosen on one table are used on the other, so that both must be of one network; they have {exits}."
        raise InputError(msg)
    if chosen_on.cost_unit != used_on.cost_unit:
        msg = "one table has seconds and the other has none: give both the same costs (with_costs), or use the one without_seconds()."
        raise InputError(msg)

"""One sentence of explanation: where the time of early exit went."""

from __future__ import annotations

from edgeexit.measure import BenchResult
from edgeexit.util import units


def explain_speed(result: BenchResult) -> str:
    """Why early exit is as fast as it is beside the backbone, from the times of the exits and the shares that leave there.

    An example: `10.0 % of the samples leave before the last exit and save 40.0 µs on average over all; the others take 620 µs at the
    last exit, 160 µs more than the backbone, which costs 144 µs on average.`
    """
    backbone_s = result.latency.backbone.typical_s
    shares = [exit.share for exit in result.accuracy.per_exit]
    times_s = [exit.forced.typical_s for exit in result.latency.per_exit]
    early = sum(shares[:-1])
    if early == 0:
        cost = _format_difference(times_s[-1], backbone_s)
        return (
            f"no sample leaves before the last exit, and leaving there takes {cost} the backbone: "
            f"{_format_pair(times_s[-1], backbone_s)}."
        )
    first_s = min(times_s[:-1])
    if first_s >= backbone_s:
        return f"even the fastest exit takes longer than the backbone: {_format_pair(first_s, backbone_s)}."
    saved_s = sum(share * (backbone_s - time_s) for share, time_s in zip(shares[:-1], times_s[:-1], strict=True))
    lost_s = shares[-1] * (times_s[-1] - backbone_s)
    return (
        f"{units.percent(early, 1)} of the samples leave before the last exit, which saves {units.seconds(saved_s)} per sample on average; "
        f"the rest take {units.seconds(times_s[-1])} at the last exit, {_format_difference(times_s[-1], backbone_s)} the backbone, "
        f"which {'costs' if lost_s > 0 else 'saves'} {units.seconds(abs(lost_s))} per sample on average."
    )


def _format_difference(time_s: float, backbone_s: float) -> str:
    more = time_s - backbone_s
    return f"{units.seconds(abs(more))} {'more' if more >= 0 else 'less'} than"


def _format_pair(time_s: float, backbone_s: float) -> str:
    return f"{units.seconds(time_s)} against {units.seconds(backbone_s)}"

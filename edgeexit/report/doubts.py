"""Exits and cuts of a bundle that cannot pay, by rules that a person can check.

head       what only exit k needs is paid by every sample that reaches it; a leaver saves what comes after. An exit whose own
           multiply-accumulates are at least those of all later stages saves nothing even if every sample left there.
boundary   the tensors of a cut are written and read once more. A core multiplies and adds about four times while it moves a byte,
           so a cut that moves B bytes costs as much as 8·B multiply-accumulates; where the later stages together hold fewer, nothing
           is saved by stopping before them.
order      an exit that alone costs far less than the one before it probably stands before it in the network.
measured   where the compile timed this device: leaving at exit k takes at least as long as the backbone, which has no exits.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from edgeexit.bundle import Manifest, ModeTiming
from edgeexit.report.names import shorten_name
from edgeexit.util.units import bytes_, format_number, percent, seconds

FAR_LESS = 0.7
"""Share of the multiply-accumulates of the exit before it below which the order of an exit is questioned."""

MACS_PER_BYTE = 8
"""Multiply-accumulates in the time that one byte of a cut costs: written and read, four each."""


def find_unprofitable_exits(manifest: Manifest) -> tuple[str, ...]:
    """One sentence for each exit or cut that cannot pay; none where all exits can pay."""
    found = [*_check_order(manifest), *(d for k in range(1, manifest.exits) for d in _find_by_macs(manifest, k))]
    for key, timing in manifest.timings.items():
        found += _find_by_times(manifest, key, timing)
    return tuple(found)


def compute_break_even_share(manifest: Manifest, exit: int) -> float | None:
    """Share of the samples that reach an exit which must leave there for it to pay, on paper; None where a cost is unknown."""
    head, rest = manifest.stages[exit - 1].head_macs, _count_remaining_macs(manifest, exit)
    return None if head is None or rest is None else min(1.0, head / rest) if rest else 1.0


def cut_bytes(manifest: Manifest, after: int) -> int:
    """Bytes of the tensors that stages up to `after` made and later ones read: those of the cut, long skips too; at batch 1."""
    made = {spec.name: spec.bytes_at_1 for e in manifest.stages[:after] for spec in e.boundaries_out}
    read = {spec.name for e in manifest.stages[after:] for spec in e.boundaries_in}
    return sum(size for name, size in made.items() if name in read)


def _count_remaining_macs(manifest: Manifest, exit: int) -> int | None:
    counts = [s.macs for s in manifest.stages[exit:]]
    return None if None in counts else sum(c for c in counts if c is not None)


def _check_order(manifest: Manifest) -> Iterator[str]:
    """Exits that stand behind one that needs much more than they do."""
    alone = [_count_direct_macs(manifest, k) for k in range(1, manifest.exits + 1)]
    for k, (before, after) in enumerate(pairwise(alone), 1):
        if before is None or after is None or after > FAR_LESS * before:
            continue
        order = ", ".join(s.output or s.name for s in manifest.stages)
        yield (
            f"exit {k + 1} ({_get_output_name(manifest, k + 1)}) alone takes {format_number(after)} MAC, exit {k} "
            f"({_get_output_name(manifest, k)}) before it"
            f" {format_number(before)}: is the order of the exits right? It is {order}; another is given with --exits, the earliest first."
        )


def _get_output_name(manifest: Manifest, exit: int) -> str:
    stage = manifest.stages[exit - 1]
    return shorten_name(stage.output or stage.name)


def _count_direct_macs(manifest: Manifest, exit: int) -> int | None:
    """Multiply-accumulates of a run directly to an exit: all stages up to it without the heads of the exits before; None where unknown."""
    counts = [s.macs for s in manifest.stages[:exit]]
    heads = [s.head_macs for s in manifest.stages[: exit - 1]]
    known = [c for c in (*counts, *heads) if c is not None]
    return sum(known[:exit]) - sum(known[exit:]) if len(known) == 2 * exit - 1 else None


def _find_by_macs(manifest: Manifest, exit: int) -> Iterator[str]:
    stage, rest = manifest.stages[exit - 1], _count_remaining_macs(manifest, exit)
    if rest is None or not any(s.macs for s in manifest.stages):  # no counted operators, so no estimate from MACs
        return
    name = shorten_name(stage.name)
    if stage.head_macs is not None and stage.head_macs >= rest:
        yield (
            f"exit {exit} ({name}) costs {format_number(stage.head_macs)} MAC that only it needs, "
            f"and leaving there saves {format_number(rest)}: "
            "it cannot pay, whatever the share that leaves. Use a lighter head, or drop this exit. Where a later exit stands before it "
            "in the network, as auxiliary exits do that forward returns after the last, give the order with --exits, the earliest first."
        )
    moved = cut_bytes(manifest, exit)
    if moved * MACS_PER_BYTE >= rest:
        yield (
            f"the cut after exit {exit} ({name}) moves {bytes_(moved)}, which takes as long as {format_number(moved * MACS_PER_BYTE)} MAC;"
            f" the stages after it hold {format_number(rest)}: it cannot pay. Cut where the tensors are smaller, or drop this exit."
        )


def _find_by_times(manifest: Manifest, key: str, timing: ModeTiming) -> Iterator[str]:
    if timing.backbone_s is None:
        return
    leaving_s = timing.fused_s if timing.faster == "fused" else timing.staged_s
    for stage, exit_s in zip(manifest.stages[:-1], leaving_s, strict=False):
        if exit_s >= timing.backbone_s:
            yield (
                f"leaving at exit {stage.exit} ({shorten_name(stage.name)}) takes {seconds(exit_s)} on {key}, the backbone without exits"
                f" {seconds(timing.backbone_s)} ({percent(exit_s / timing.backbone_s, 0)}): it cannot pay there."
            )

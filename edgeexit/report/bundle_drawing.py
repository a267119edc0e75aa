"""A bundle as a drawing: stages from top to bottom, their exits to the right, cuts between them with the tensors that cross.

    inputs
      │
    ┌─▼──────────┐
    │ stage 1    │──────► exit 1   ▓▓░░░░░░░  what leaving here costs, of everything
    └─┬──────────┘
    - │ - cut 1 - - - -  4.39 KiB  relu float32[batch, 5, 15, 15]
    ┌─▼──────────┐
    │ stage 2    │──────► exit 2   ▓▓▓▓▓▓▓▓▓

Tensors that pass over a stage run beside it, on the left. Names come from models and are escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from edgeexit.report.bundle_facts import BundleFacts, StageFacts, TensorFacts
from edgeexit.report.names import short
from edgeexit.report.palette import exit_tone
from edgeexit.units import bytes_, count, percent, seconds

_WIDTH = 1120
_BOX_LEFT, _BOX_WIDTH, _BOX_HEIGHT = 120, 350, 86
_MIDDLE = _BOX_LEFT + _BOX_WIDTH / 2
_EXIT_LEFT = 560
_BAR_LEFT, _BAR_WIDTH = 800, 290
_BOX_LETTERS = 46  # of 12 px beside each other in a box
_NAME_LETTERS = 20  # of 14 px, bold, before the bar
_LINE = 19
_MOST_TENSORS = 5


def draw_bundle(facts: BundleFacts) -> str:
    """The drawing as an `<svg>` element; its classes are those of `palette_css`."""
    tops = _tops(facts)
    height = tops[-1] + _BOX_HEIGHT + 24
    parts = [*_inputs(facts, tops[0]), *_skips(facts, tops)]
    for k, stage in enumerate(facts.stages):
        parts += _stage(facts, stage, tops[k])
        if k + 1 < len(facts.stages):
            parts += _cut(facts, stage, tops[k] + _BOX_HEIGHT, tops[k + 1])
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="stages, cuts and boundary tensors of the bundle">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse">'
        f'<path d="M0 0 8 4 0 8z" class="f-muted"/></marker></defs>{"".join(parts)}</svg>'
    )


def _tops(facts: BundleFacts) -> list[int]:
    """Upper edge of each stage's box."""
    top = 34 + _LINE * len(facts.inputs)
    tops = []
    for stage in facts.stages:
        tops.append(top)
        crossing = alive(facts, stage.exit)
        lines = min(len(crossing), _MOST_TENSORS) + (len(crossing) > _MOST_TENSORS)
        top += _BOX_HEIGHT + 46 + _LINE * max(1, lines)
    return tops


def alive(facts: BundleFacts, after: int) -> list[TensorFacts]:
    """Tensors that cross the cut after an exit, largest first."""
    made = {t.name: t for s in facts.stages[:after] for t in s.makes}
    read = {t.name for s in facts.stages[after:] for t in s.reads}
    return sorted((t for name, t in made.items() if name in read), key=lambda t: -t.bytes)


def _text(x: float, y: float, text: str, style: str = "f-ink", *, anchor: str = "start", title: str = "") -> str:
    tip = f"<title>{escape(short(title, 500))}</title>" if title else ""
    return f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{escape(text)}{tip}</text>'


def _inputs(facts: BundleFacts, first_top: int) -> Iterator[str]:
    for i, tensor in enumerate(facts.inputs):
        line = f"{short(tensor.name)} · {tensor} · {bytes_(tensor.bytes)}"
        yield _text(_MIDDLE, 20 + _LINE * i, line, anchor="middle", title=tensor.name)
    yield _arrow(_MIDDLE, first_top - 24, first_top - 3)


def _arrow(x: float, top: float, bottom: float) -> str:
    return f'<path d="M{x:g} {top:g}V{bottom:g}" class="line s-muted" marker-end="url(#tip)"/>'


def _stage(facts: BundleFacts, stage: StageFacts, top: int) -> Iterator[str]:
    colour = exit_tone(stage.exit, len(facts.stages))
    yield (
        f'<rect x="{_BOX_LEFT}" y="{top}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="10" class="f-{colour} s-{colour} stage"/>'
        f'<rect x="{_BOX_LEFT}" y="{top}" width="6" height="{_BOX_HEIGHT}" rx="3" class="f-{colour}"/>'
    )
    left = _BOX_LEFT + 22
    yield _text(left, top + 27, f"stage {stage.exit}", "f-ink head")
    yield _text(
        left, top + 48, f"{_macs(stage.macs)} · {count(stage.parameters)} parameters · {bytes_(stage.weight_bytes)}"
    )
    alone = percent(stage.head_macs / stage.macs, 0) if stage.head_macs is not None and stage.macs else ""
    own = f"{alone} of it for this exit alone" if alone and stage.break_even is not None else ""
    reads = ", ".join(stage.inputs) if stage.exit > 1 else ""
    beside = f"reads {short(reads, _BOX_LETTERS - len(own))}" if reads else ""
    yield _text(left, top + 69, " · ".join(part for part in (own, beside) if part), "f-muted", title=reads)
    yield from _exit(facts, stage, top)


def _exit(facts: BundleFacts, stage: StageFacts, top: int) -> Iterator[str]:
    colour, middle = exit_tone(stage.exit, len(facts.stages)), top + _BOX_HEIGHT / 2
    yield f'<path d="M{_BOX_LEFT + _BOX_WIDTH} {middle:g}H{_EXIT_LEFT - 20}" class="line s-{colour}" marker-end="url(#tip)"/>'
    yield f'<circle cx="{_EXIT_LEFT}" cy="{middle:g}" r="13" class="f-{colour}"/>'
    yield _text(_EXIT_LEFT, middle + 4.5, str(stage.exit), "f-paper head", anchor="middle")
    yield _text(_EXIT_LEFT + 24, middle - 12, short(stage.name, _NAME_LETTERS), "f-ink head", title=stage.name)
    last = stage.exit == len(facts.stages)
    yield _text(_EXIT_LEFT + 24, middle + 7, "answers what is left" if last else f"asks {facts.criterion}", "f-muted")
    if stage.break_even is not None:
        yield _text(_EXIT_LEFT + 24, middle + 26, f"pays from {percent(stage.break_even, 0)} leaving", "f-muted")
    yield from _bar(facts, stage, middle)


def _bar(facts: BundleFacts, stage: StageFacts, middle: float) -> Iterator[str]:
    total, so_far = facts.stages[-1].macs_so_far, stage.macs_so_far
    share = so_far / total if total and so_far is not None else None
    tone = exit_tone(stage.exit, len(facts.stages))
    yield f'<rect x="{_BAR_LEFT}" y="{middle - 6:g}" width="{_BAR_WIDTH}" height="12" rx="6" class="track"/>'
    if share is not None:
        width = max(12.0, _BAR_WIDTH * share)
        yield f'<rect x="{_BAR_LEFT}" y="{middle - 6:g}" width="{width:.1f}" height="12" rx="6" class="f-{tone}"/>'
    part = f" · {percent(share, 0)}" if share is not None else ""
    yield _text(_BAR_LEFT, middle - 15, f"{_macs(so_far)} to here{part}")
    taken = leaving_s(facts, stage.exit)
    if taken is not None:
        yield _text(_BAR_LEFT, middle + 26, f"{seconds(taken)} to leave here", "f-muted")


def leaving_s(facts: BundleFacts, exit: int) -> float | None:
    """Median time of leaving at an exit in the faster mode, where one device alone was timed."""
    if len(facts.timings) != 1:
        return None
    [timing] = facts.timings.values()
    medians = timing.fused_s if timing.faster == "fused" else timing.staged_s
    return medians[exit - 1] if exit <= len(medians) else None


def _macs(macs: int | None) -> str:
    return "MAC unknown" if macs is None else f"{count(macs)} MAC"


def _cut(facts: BundleFacts, stage: StageFacts, top: int, bottom: int) -> Iterator[str]:
    crossing = alive(facts, stage.exit)
    y = top + 25
    yield f'<path d="M24 {y}H{_WIDTH - 30}" class="line dash s-muted cut"/>'
    yield _text(_WIDTH - 30, y - 7, f"cut {stage.exit} · {bytes_(stage.cut_bytes)}", "f-muted", anchor="end")
    if _goes_straight(facts, stage.exit):
        yield _arrow(_MIDDLE, top + 3, bottom - 3)
    left = _MIDDLE + 16
    for i, tensor in enumerate(crossing[:_MOST_TENSORS]):
        line = f"{bytes_(tensor.bytes)} · {short(tensor.name, 48)} · {tensor}"
        yield _text(left, y + 22 + _LINE * i, line, "f-ink mono halo", title=tensor.name)
    rest = crossing[_MOST_TENSORS:]
    if rest:
        more = f"and {len(rest)} more, {bytes_(sum(t.bytes for t in rest))}"
        yield _text(left, y + 22 + _LINE * _MOST_TENSORS, more, "f-muted")
    if not crossing:
        yield _text(left, y + 22, "nothing crosses: the next stage starts from the inputs", "f-muted")


def _goes_straight(facts: BundleFacts, exit: int) -> bool:
    """Whether the next stage reads what this one made."""
    return bool({t.name for t in facts.stages[exit - 1].makes} & {t.name for t in facts.stages[exit].reads})


def _skips(facts: BundleFacts, tops: Sequence[int]) -> Iterator[str]:
    """Lines beside the stages that tensors pass over, one for each pair of stages."""
    pairs = [
        (k, j)
        for k, maker in enumerate(facts.stages)
        for j, reader in enumerate(facts.stages)
        if j > k + 1 and {t.name for t in maker.makes} & {t.name for t in reader.reads}
    ]
    apart = min(9.0, (_BOX_LEFT - 36) / max(1, len(pairs)))
    for lane, (k, j) in enumerate(pairs):
        x = _BOX_LEFT - 18 - apart * lane
        start, end = tops[k] + _BOX_HEIGHT - 16, tops[j] + 18
        tone = exit_tone(k + 1, len(facts.stages))
        down = f"M{_BOX_LEFT} {start}H{x + 8:g}Q{x:g} {start} {x:g} {start + 8}V{end - 8}"
        yield (
            f'<path d="{down}Q{x:g} {end} {x + 8:g} {end}H{_BOX_LEFT - 3}"'
            f' class="line s-{tone}" marker-end="url(#tip)"><title>stage {k + 1} to stage {j + 1}</title></path>'
        )

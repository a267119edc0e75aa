"""A bundle as a drawing: stages from top to bottom, their exits beside them, cuts between them with the tensors that cross.

    inputs
      │                                        ┊ backbone
    ┌─▼──────────┐                             ┊
    │ stage 1    │──────► exit 1   ▓▓░░░░░░░░░░┊  how long leaving here takes
    └─┬──────────┘                             ┊
    - │ - cut 1 - - - -  4.39 KiB  relu float32[batch, 5, 15, 15]
    ┌─▼──────────┐                             ┊
    │ stage 2    │──────► exit 2   ▓▓▓▓▓▓▓▓▓▓▓▓┊▓▓

Where no device was timed the bars are multiply-accumulates. On a phone an exit stands below its stage. Tensors that pass over a stage run
beside it, on the left. Names come from models and are escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from edgeexit.fallbacks import LAST
from edgeexit.report.bundle_facts import BundleFacts, StageFacts, TensorFacts
from edgeexit.report.names import shorten_name
from edgeexit.report.plot.label_placement import estimate_text_width
from edgeexit.report.plot.palette import choose_exit_tone
from edgeexit.util.units import bytes_, format_number, percent, seconds

_LINE = 19
_MOST_TENSORS = 5


@dataclass(frozen=True)
class DrawingLayout:
    """Layout in pixels; heights are from the top of a stage's box.

    Attributes:
        width: width of the drawing.
        box_left, box_width: left edge and width of the boxes, which are 86 high.
        flow_x: x of the arrows from one stage to the next.
        exit_x, exit_y: centre of an exit's disc.
        bar_left, bar_width, bar_y: position and width of the bar that shows its cost.
        height: height of a stage with its exit.
        tensors_x: where the names of boundary tensors begin.
        box_letters, name_letters, tensor_letters, input_letters: number of letters that fit a line of a box, beside a disc, and of a
            tensor's name at a cut and above.
        through: whether the backbone's line runs through the whole drawing, or through each bar alone.
    """

    width: int
    box_left: int
    box_width: int
    flow_x: int
    exit_x: int
    exit_y: int
    bar_left: int
    bar_width: int
    bar_y: int
    height: int
    tensors_x: int
    box_letters: int
    name_letters: int
    tensor_letters: int
    input_letters: int
    through: bool


_BOX = 86
DESK = DrawingLayout(1120, 120, 350, 295, 560, 43, 800, 270, 43, 86, 311, 46, 20, 48, 40, through=True)
PHONE = DrawingLayout(360, 44, 308, 340, 62, 118, 44, 270, 190, 222, 44, 34, 28, 24, 12, through=False)


def draw_bundle(facts: BundleFacts, plan: DrawingLayout = DESK) -> str:
    """The drawing as an `<svg>` element; its classes are those of `render_palette_css`."""
    tops = _compute_tops(facts, plan)
    height = tops[-1] + plan.height + 24
    parts = [
        *_draw_inputs(facts, plan, tops[0]),
        *_draw_skips(facts, plan, tops),
        *_draw_backbone_line(facts, plan, tops),
    ]
    for k, stage in enumerate(facts.stages):
        parts += _draw_stage(facts, plan, stage, tops[k])
        if k + 1 < len(facts.stages):
            parts += _draw_cut(facts, plan, stage, tops[k], tops[k + 1])
    return (
        f'<svg viewBox="0 0 {plan.width} {height}" role="img" aria-label="stages, cuts and boundary tensors of the bundle">'
        f'<defs><marker id="tip{plan.width}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto-start-reverse">'
        f'<path d="M0 0 8 4 0 8z" class="f-muted"/></marker></defs>{"".join(parts)}</svg>'
    )


def _compute_tops(facts: BundleFacts, plan: DrawingLayout) -> list[int]:
    """Upper edge of each stage's box."""
    top = 50 + _LINE * len(facts.inputs)
    tops = []
    for stage in facts.stages:
        tops.append(top)
        crossing = list_crossing_tensors(facts, stage.exit)
        lines = min(len(crossing), _MOST_TENSORS) + (len(crossing) > _MOST_TENSORS)
        top += plan.height + 46 + _LINE * max(1, lines) * (1 if plan.through else 2)
    return tops


def list_crossing_tensors(facts: BundleFacts, after: int) -> list[TensorFacts]:
    """Tensors that cross the cut after an exit, largest first."""
    made = {t.name: t for s in facts.stages[:after] for t in s.makes}
    read = {t.name for s in facts.stages[after:] for t in s.reads}
    return sorted((t for name, t in made.items() if name in read), key=lambda t: -t.bytes)


def _draw_text(x: float, y: float, text: str, style: str = "f-ink", *, anchor: str = "start", title: str = "") -> str:
    tip = f"<title>{escape(shorten_name(title, 500))}</title>" if title else ""
    return f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{escape(text)}{tip}</text>'


def _draw_inputs(facts: BundleFacts, plan: DrawingLayout, first_top: int) -> Iterator[str]:
    middle = plan.flow_x if plan.through else plan.width / 2
    for i, tensor in enumerate(facts.inputs):
        line = shorten_name(
            f"{shorten_name(tensor.name, plan.input_letters)} · {tensor} · {bytes_(tensor.bytes)}", plan.width // 8 + 4
        )
        yield _draw_text(middle, 20 + _LINE * i, line, anchor="middle", title=tensor.name)
    yield _draw_arrow(plan, plan.flow_x, first_top - 34, first_top - 3)


def _draw_arrow(plan: DrawingLayout, x: float, top: float, bottom: float) -> str:
    return f'<path d="M{x:g} {top:g}V{bottom:g}" class="line s-muted" marker-end="url(#tip{plan.width})"/>'


def _draw_stage(facts: BundleFacts, plan: DrawingLayout, stage: StageFacts, top: int) -> Iterator[str]:
    tone = choose_exit_tone(stage.exit, len(facts.stages))
    yield (
        f'<rect x="{plan.box_left}" y="{top}" width="{plan.box_width}" height="{_BOX}" rx="10" class="f-{tone} s-{tone} stage"/>'
        f'<rect x="{plan.box_left}" y="{top}" width="6" height="{_BOX}" rx="3" class="f-{tone}"/>'
    )
    left = plan.box_left + 22
    yield _draw_text(left, top + 27, f"stage {stage.exit}", "f-ink head")
    parameters = f" · {format_number(stage.parameters)} parameters" if plan.through else ""
    yield _draw_text(left, top + 48, f"{_format_macs(stage.macs)}{parameters} · {bytes_(stage.weight_bytes)}")
    yield _format_reads(plan, stage, left, top + 69)
    yield from _draw_exit(facts, plan, stage, top, tone)


def _format_reads(plan: DrawingLayout, stage: StageFacts, left: float, y: float) -> str:
    alone = percent(stage.head_macs / stage.macs, 0) if stage.head_macs is not None and stage.macs else ""
    own = f"{alone} of it for this exit alone" if alone and stage.break_even is not None else ""
    reads = ", ".join(stage.inputs) if stage.exit > 1 else ""
    room = plan.box_letters - len(own)
    beside = f"reads {shorten_name(reads, room)}" if reads and room > 8 else ""
    return _draw_text(left, y, " · ".join(part for part in (own, beside) if part), "f-muted", title=reads)


def _draw_exit(facts: BundleFacts, plan: DrawingLayout, stage: StageFacts, top: int, tone: str) -> Iterator[str]:
    x, y = plan.exit_x, top + plan.exit_y
    start = f"M{plan.box_left + plan.box_width} {y:g}H{x - 20}" if plan.through else f"M{x} {top + _BOX}V{y - 16:g}"
    yield f'<path d="{start}" class="line s-{tone}" marker-end="url(#tip{plan.width})"/>'
    yield f'<circle cx="{x}" cy="{y:g}" r="13" class="f-{tone}"/>'
    yield _draw_text(x, y + 4.5, str(stage.exit), "f-paper head", anchor="middle")
    yield _draw_text(x + 24, y - 12, shorten_name(stage.name, plan.name_letters), "f-ink head", title=stage.name)
    last = stage.exit == len(facts.stages)
    yield _draw_text(x + 24, y + 7, _describe_last_exit(facts) if last else f"criterion {facts.criterion}", "f-muted")
    if stage.break_even is not None:
        yield _draw_text(x + 24, y + 26, f"pays from {percent(stage.break_even, 0)} leaving", "f-muted")
    yield from _draw_bar(facts, plan, stage, top + plan.bar_y, tone)


def _describe_last_exit(facts: BundleFacts) -> str:
    return "answers what is left" if facts.fallback == LAST else "most confident exit answers"


def _draw_bar(facts: BundleFacts, plan: DrawingLayout, stage: StageFacts, middle: float, tone: str) -> Iterator[str]:
    share, above, below = _describe_cost(facts, stage)
    yield f'<rect x="{plan.bar_left}" y="{middle - 6:g}" width="{plan.bar_width}" height="12" rx="6" class="track"/>'
    if share is not None:
        width = max(12.0, plan.bar_width * share)
        yield f'<rect x="{plan.bar_left}" y="{middle - 6:g}" width="{width:.1f}" height="12" rx="6" class="f-{tone}"/>'
    yield _draw_text(plan.bar_left, middle - 15, above, "f-ink halo")
    if below:
        yield _draw_text(plan.bar_left, middle + 24, below, "f-muted halo")
    backbone_x = _compute_backbone_x(facts, plan)
    if backbone_x is not None and not plan.through:
        yield f'<path d="M{backbone_x:.1f} {middle - 9:g}V{middle + 9:g}" class="line thick s-ink"/>'


def _describe_cost(facts: BundleFacts, stage: StageFacts) -> tuple[float | None, str, str]:
    """The share of a bar that is filled, and what stands above and below it: times where a device was timed, else operations."""
    total, so_far = facts.stages[-1].macs_so_far, stage.macs_so_far
    operations = None if not total or so_far is None else so_far / total
    macs = f"{_format_macs(so_far)} to here" + ("" if operations is None else f" · {percent(operations, 0)}")
    taken_s, longest_s = get_leaving_time(facts, stage.exit), _find_longest_s(facts)
    if taken_s is None or longest_s is None:
        return operations, macs, ""
    backbone_s = choose_timing(facts)[2]
    beside = "" if backbone_s is None else f" · {percent(taken_s / backbone_s, 0)} of the backbone"
    return taken_s / longest_s, f"{seconds(taken_s)} to leave here{beside}", macs


def choose_timing(facts: BundleFacts) -> tuple[str, str, float | None]:
    """Of the first device that was timed: its key, the mode that is faster there, and the backbone's time, seconds; empty for none."""
    if not facts.timings:
        return "", "", None
    key = min(facts.timings)
    return key, facts.timings[key].faster, facts.timings[key].backbone_s


def get_leaving_time(facts: BundleFacts, exit: int) -> float | None:
    """Median time of leaving at an exit, in the faster mode of the device that is shown."""
    key, faster, _ = choose_timing(facts)
    if not key:
        return None
    medians = facts.timings[key].fused_s if faster == "fused" else facts.timings[key].staged_s
    return medians[exit - 1] if exit <= len(medians) else None


def _find_longest_s(facts: BundleFacts) -> float | None:
    times = [get_leaving_time(facts, s.exit) for s in facts.stages] + [choose_timing(facts)[2]]
    return max((t for t in times if t is not None), default=None)


def _compute_backbone_x(facts: BundleFacts, plan: DrawingLayout) -> float | None:
    backbone_s, longest_s = choose_timing(facts)[2], _find_longest_s(facts)
    return None if backbone_s is None or not longest_s else plan.bar_left + plan.bar_width * backbone_s / longest_s


def _draw_backbone_line(facts: BundleFacts, plan: DrawingLayout, tops: Sequence[int]) -> Iterator[str]:
    """The time of the network without exits, through all bars: what leaving anywhere is compared with."""
    x, backbone_s = _compute_backbone_x(facts, plan), choose_timing(facts)[2]
    if x is None or not plan.through:
        return
    words = f"backbone {seconds(backbone_s)}"
    half = estimate_text_width(words) / 2
    yield f'<path d="M{x:.1f} {tops[0] - 12}V{tops[-1] + plan.height}" class="line dash s-ink"/>'
    yield _draw_text(min(x, plan.width - half - 2), tops[0] - 20, words, "f-ink", anchor="middle")


def _format_macs(macs: int | None) -> str:
    return "MAC unknown" if macs is None else f"{format_number(macs)} MAC"


def _draw_cut(facts: BundleFacts, plan: DrawingLayout, stage: StageFacts, stage_top: int, bottom: int) -> Iterator[str]:
    top = stage_top + plan.height
    crossing, y = list_crossing_tensors(facts, stage.exit), top + 25
    right = plan.bar_left - 20 if plan.through else plan.width - 36
    yield f'<path d="M{24 if plan.through else 4} {y}H{plan.width - 4}" class="line dash s-muted cut"/>'
    yield _draw_text(right, y - 7, f"cut {stage.exit} · {bytes_(stage.cut_bytes)}", "f-muted halo", anchor="end")
    if _is_read_by_next(facts, stage.exit):
        yield _draw_arrow(plan, plan.flow_x, stage_top + _BOX + 3, bottom - 3)
    lines = _list_tensor_lines(plan, crossing)
    for i, (words, style, title) in enumerate(lines):
        yield _draw_text(plan.tensors_x, y + 22 + _LINE * i, words, style, title=title)


def _list_tensor_lines(plan: DrawingLayout, crossing: Sequence[TensorFacts]) -> Iterator[tuple[str, str, str]]:
    """Boundary tensors as lines: text, style, hint. On a phone a tensor takes two."""
    for tensor in crossing[:_MOST_TENSORS]:
        first, second = f"{bytes_(tensor.bytes)} · {shorten_name(tensor.name, plan.tensor_letters)}", str(tensor)
        if plan.through:
            yield f"{first} · {second}", "f-ink mono halo", tensor.name
        else:
            yield first, "f-ink mono halo", tensor.name
            yield shorten_name(second, 36), "f-muted mono halo", second
    rest = crossing[_MOST_TENSORS:]
    if rest:
        yield f"and {len(rest)} more, {bytes_(sum(t.bytes for t in rest))}", "f-muted", ""
    if not crossing:
        yield "nothing crosses" + (": the next stage starts from the inputs" if plan.through else ""), "f-muted", ""


def _is_read_by_next(facts: BundleFacts, exit: int) -> bool:
    """Whether the next stage reads what this one made."""
    return bool({t.name for t in facts.stages[exit - 1].makes} & {t.name for t in facts.stages[exit].reads})


def _draw_skips(facts: BundleFacts, plan: DrawingLayout, tops: Sequence[int]) -> Iterator[str]:
    """Lines beside the stages that tensors pass over, one for each pair of stages."""
    pairs = [
        (k, j)
        for k, maker in enumerate(facts.stages)
        for j, reader in enumerate(facts.stages)
        if j > k + 1 and {t.name for t in maker.makes} & {t.name for t in reader.reads}
    ]
    apart = min(9.0, (plan.box_left - 36) / max(1, len(pairs)))
    for column, (k, j) in enumerate(pairs):
        x = plan.box_left - 18 - apart * column
        start, end = tops[k] + _BOX - 16, tops[j] + 18
        tone = choose_exit_tone(k + 1, len(facts.stages))
        down = f"M{plan.box_left} {start}H{x + 8:g}Q{x:g} {start} {x:g} {start + 8}V{end - 8}"
        yield (
            f'<path d="{down}Q{x:g} {end} {x + 8:g} {end}H{plan.box_left - 3}"'
            f' class="line s-{tone}" marker-end="url(#tip{plan.width})"><title>stage {k + 1} to stage {j + 1}</title></path>'
        )

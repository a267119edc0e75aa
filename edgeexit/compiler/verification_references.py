"""What a bundle is verified against: the file as it was given, or the network that was split, each with the criterion's NumPy code.

None of these runs anything that the split has made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from edgeexit.backends import Settings
from edgeexit.backends.base import Array
from edgeexit.backends.example_inputs import Values
from edgeexit.backends.onnxruntime.sessions import open_session
from edgeexit.backends.stopping import run_options
from edgeexit.bundle import Bundle
from edgeexit.compiler.probe import bind_session, open_model
from edgeexit.criteria import criterion, max_softmax
from edgeexit.criteria.temperature import scale_logits
from edgeexit.fallbacks import MOST_CONFIDENT, most_confident
from edgeexit.graph import Exit, Network
from edgeexit.graph.arithmetic import find_coarsest_precision
from edgeexit.graph.cost import count_costs_to_reach
from edgeexit.graph.scores import as_logits, of_one_kind
from edgeexit.runtime.answers import (
    ExitAnswers,
)

_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class Original:
    """The model that a bundle was made from.

    Attributes:
        path: the file as it was given.
        net: the network that was split, criterion included.
        exits: its exits.
        converted: whether its precision was changed.
        rewritten: reads the file again, as it is before its precision is changed.
        examples: the user's own inputs [n, ...] by name, to run it on; None where there are none.
    """

    path: Path
    net: Network
    exits: tuple[Exit, ...]
    converted: bool
    rewritten: Callable[[], Network]
    examples: Values | None


Reference: TypeAlias = Callable[[Mapping[str, Array]], ExitAnswers]
"""Inputs of one sample by name in, what every exit answers out."""


def make_file_reference(draft: Bundle, original: Original) -> Reference:
    """The file, untouched; float32 arithmetic as it is written, without the runtime's optimisers."""
    as_written = find_coarsest_precision(original.net) == "float32"
    # Quiet: the result says where it is refused.
    session = open_session(original.path, Settings(), batch_1=False, optimised=as_written, quiet=True)
    run = bind_session(session, list_criterion_inputs(draft, original), run_options())
    return apply_criterion(run, draft, original)


def list_criterion_inputs(draft: Bundle, original: Original) -> list[str]:
    """Names of what the criterion works on: every exit's logits, and the network's own scores where they are the criterion."""
    learned = criterion(draft.manifest.criterion).learned
    return [*(e.logits for e in original.exits), *(e.score for e in original.exits if e.score and learned)]


def apply_criterion(
    run: Callable[[Mapping[str, Array]], dict[str, Array]], draft: Bundle, original: Original
) -> Reference:
    """The criterion's NumPy reference behind a network."""
    rule = criterion(draft.manifest.criterion)
    costs = count_costs_to_reach(original.net, [e.logits for e in original.exits]) if rule.combine else ()
    replaces = draft.manifest.fallback == MOST_CONFIDENT

    def answers(inputs: Mapping[str, Array]) -> ExitAnswers:
        values = run(inputs)
        logits = np.stack([np.asarray(values[e.logits], np.float32).reshape(-1) for e in original.exits])
        taken = as_logits(logits, original.exits)
        if replaces and not of_one_kind(original.exits):
            logits = taken
        scaled = scale_logits(taken, draft.manifest.temperatures)[None]
        own = _compute_own_scores(values, scaled[0], original.exits)[None] if rule.learned else None
        combined = rule.answers(scaled, costs, own)
        mixed = taken if combined.logits is scaled else combined.logits[0]  # patience answers with what it takes
        found = ExitAnswers(mixed if rule.combine else logits, combined.scores[0])
        return _with_most_confident(found, rule.sign) if replaces else found

    return answers


def _with_most_confident(alone: ExitAnswers, sign: int) -> ExitAnswers:
    """The answers with that of the most confident exit in the place of the last one's."""
    assert alone.scores is not None
    found = most_confident(alone.logits[None], np.float32(sign) * alone.scores[None])
    return ExitAnswers(found.logits[0], np.float32(sign) * found.scores[0], alone)


def _compute_own_scores(values: Mapping[str, Array], logits: Array, exits: Sequence[Exit]) -> Array:
    """As `graph.scores` appends them: never +inf, and the best probability for an exit that has none."""
    pairs = zip(exits, logits, strict=True)
    scores = [values[e.score].reshape(-1)[0] if e.score else max_softmax(z[None])[0] for e, z in pairs]
    return np.asarray(np.minimum(np.asarray(scores, np.float32), _LARGEST), np.float32)


def make_split_reference(draft: Bundle, original: Original) -> Reference:
    """The network that was split, in one piece, its criterion in the graph."""
    # What each exit answers alone is no output of that graph.
    if draft.manifest.fallback == MOST_CONFIDENT:
        return apply_criterion(open_model(original.net, list_criterion_inputs(draft, original)), draft, original)
    logits, scores = ([getattr(s, end) for s in draft.manifest.stages] for end in ("logits", "score"))
    run = open_model(original.net, [*logits, *scores])
    sign = np.float32(criterion(draft.manifest.criterion).sign)

    def answers(inputs: Mapping[str, Array]) -> ExitAnswers:
        values = run(inputs)
        stacked = np.stack([np.asarray(values[n], np.float32).reshape(-1) for n in logits])
        return ExitAnswers(stacked, sign * np.stack([values[n].reshape(-1)[0] for n in scores]))

    return answers

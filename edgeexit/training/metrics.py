"""Every exit of a torch module run on labelled data, and the metrics of what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeexit.calibration import ReplayTable, replay_table
from edgeexit.criteria import Criterion
from edgeexit.criteria import criterion as find_criterion
from edgeexit.data import TrainingData, read_in_order
from edgeexit.errors import InputError, ModelError
from edgeexit.leaving import find_collapse
from edgeexit.nets.costs import exit_costs
from edgeexit.nets.outputs import ExitTensors, run_exits
from edgeexit.nets.state import evaluation_mode
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.training.losses import Loss

_MOST_BYTES = 2**25  # of the inputs of a batch


@dataclass(frozen=True, eq=False)
class RecordedExits:
    """What every exit of a network said about labelled samples.

    Attributes:
        logits: float32 [n, N, classes].
        scores: float32 [n, N-1], the early exits' own scores; None where not every early exit gives one.
        labels: int64 [n].
        loss: mean of the loss over the samples; None where none was asked for.
    """

    logits: NDArray[np.float32]
    scores: NDArray[np.float32] | None
    labels: NDArray[np.int64]
    loss: float | None = None

    @property
    def accuracies(self) -> list[float]:
        """Share of right answers of each exit, [N]."""
        return [float(share) for share in (self.logits.argmax(-1) == self.labels[:, None]).mean(axis=0)]

    def make_table(self, criterion: str | Criterion, macs: Sequence[float]) -> ReplayTable:
        """The replay table under a criterion, with the multiply-accumulates of leaving at each exit, [N].

        Raises:
            InputError: the criterion takes scores that the network does not give, or `macs` are of another number of exits.
        """
        rule = find_criterion(criterion) if isinstance(criterion, str) else criterion
        if rule.learned and self.scores is None:
            msg = f"criterion {rule.name!r} takes the network's own scores, and not every early exit of this network gives one."
            raise InputError(msg)
        scores = self.scores if rule.learned else None
        return replay_table(self.logits, self.labels, rule, scores=scores, macs=macs)


def record_exits(
    module: nn.Module, data: TrainingData, *, loss: Loss | None = None, batch: int = 1000
) -> RecordedExits:
    """Run every exit on every sample, in the order of the data and in evaluation mode, in which the module stays.

    Args:
        module: forward returns or marks every exit, see `edgeexit.nets.outputs`.
        data: labelled samples.
        loss: a loss of training to compute on the way, per batch; its mean is kept.
        batch: samples at a time; fewer where so many would take more than 32 MiB.
    """
    fitting = max(1, _MOST_BYTES // (4 * math.prod(data.shape)))
    device = next(module.parameters()).device
    module.eval()
    logits, scores, labels, total = [], [], [], 0.0
    with torch.no_grad():
        for x, y in read_in_order(data, min(batch, fitting)):
            exits = [_convert_to_float32(e) for e in run_exits(module, torch.from_numpy(x).to(device))]
            logits.append(_stack_logits(exits))
            scores.append(_stack_scores(exits[:-1]))
            labels.append(y)
            total += 0.0 if loss is None else float(loss(exits, torch.from_numpy(y).to(device))) * len(y)
    own = [part for part in scores if part is not None]
    return RecordedExits(
        np.concatenate(logits),
        np.concatenate(own) if own else None,
        np.concatenate(labels),
        None if loss is None else total / len(data),
    )


def evaluate_exits(
    module: nn.Module,
    data: TrainingData,
    *,
    macs: Sequence[float] | None = None,
    criterion: str | Criterion = "entropy",
    thresholds: Sequence[float] = (),
    loss: Loss | None = None,
) -> dict[str, Any]:
    """Figures of a network on held-out data: what the trainer writes into its history every few epochs. JSON-ready.

    Args:
        module: the network as it is; left in evaluation mode.
        data: labelled samples that it is not trained on: the calibration part.
        macs: multiply-accumulates of leaving at each exit, [N] (`edgeexit.nets.costs.exit_costs(module, example).reach_macs`); None
            where they are not known.
        criterion: the recipe's.
        thresholds: the recipe's in the criterion's own unit: one per early exit, or one for all. Empty: the same at every early exit, as
            loose as it can be without any loss on these samples (`find_shared_threshold`).
        loss: the phase's loss.

    Returns:
        `calibration_accuracy` per exit, [N]; `calibration_loss` where a loss is given; with two exits or more `early_exit`: the
        `criterion`, its `thresholds` in its own unit, and what they do: `accuracy`, `exit_rates` [N], mean `macs` (None where not known),
        and `one_exit`: the exit, from 1, where at least 99 % of the samples leave (the exits have collapsed), or None.

    Raises:
        InputError: another number of thresholds than early exits, or a criterion for scores that the network does not give.

    Example:
        >>> import torch
        >>> from edgeexit.data import load_data
        >>> from edgeexit.nets import build
        >>> _ = torch.manual_seed(0)
        >>> found = evaluate_exits(build("lenet"), load_data("digits:test"), macs=[2e5, 1e6], thresholds=[3.0])
        >>> found["early_exit"]["exit_rates"], found["early_exit"]["one_exit"], found["early_exit"]["macs"]
        ([1.0, 0.0], 1, 200000.0)
    """
    recorded = record_exits(module, data, loss=loss)
    figures: dict[str, Any] = {} if recorded.loss is None else {"calibration_loss": recorded.loss}
    figures["calibration_accuracy"] = recorded.accuracies
    if recorded.logits.shape[1] > 1:
        figures["early_exit"] = describe_early_exit(recorded, macs, criterion, thresholds)
    return figures


def make_evaluation(
    module: nn.Module,
    data: TrainingData,
    *,
    criterion: str = "entropy",
    thresholds: Sequence[float] = (),
    loss: Loss | None = None,
    features: TrainingData | None = None,
) -> Callable[[nn.Module], dict[str, Any]]:
    """What the trainer calls every few epochs: `evaluate_exits` with the costs of this network's exits, counted once.

    Args:
        module: the network that will be trained; fresh weights will do.
        data: see `evaluate_exits`, as for the others.
        criterion: the recipe's.
        thresholds: the recipe's.
        loss: the phase's loss.
        features: what the network returns for these data, where the trainer has its heads alone; they are run on it.

    Raises:
        InputError: criterion and thresholds do not fit the network's exits, which is found out here, before anything is trained.
    """
    device = next(module.parameters()).device
    first, label = next(iter(read_in_order(data, 1)))
    with evaluation_mode(module), torch.no_grad():
        exits = [_convert_to_float32(e) for e in run_exits(module, torch.from_numpy(first).to(device))]
    macs = None
    if len(exits) > 1:
        macs = count_macs(module, data)
        describe_early_exit(
            RecordedExits(_stack_logits(exits), _stack_scores(exits[:-1]), label), macs, criterion, thresholds
        )
    return partial(
        evaluate_exits, data=features or data, macs=macs, criterion=criterion, thresholds=thresholds, loss=loss
    )


def count_macs(module: nn.Module, data: TrainingData) -> list[int] | None:
    """Multiply-accumulates of leaving at each exit for a sample of the data, [N]; None where they cannot be counted."""
    example = torch.zeros(1, *data.shape, device=next(module.parameters()).device)
    try:
        return list(exit_costs(module, example).reach_macs)
    except ModelError:
        return None


def describe_early_exit(
    recorded: RecordedExits, macs: Sequence[float] | None, criterion: str | Criterion, thresholds: Sequence[float]
) -> dict[str, Any]:
    """What leaving early does under a criterion and thresholds: the `early_exit` of `evaluate_exits`, which says what they mean."""
    rule = find_criterion(criterion) if isinstance(criterion, str) else criterion
    table = recorded.make_table(rule, _fill_macs(recorded, macs))
    own = [*thresholds] * (table.exits - 1) if len(thresholds) == 1 else [*thresholds]
    inner = [rule.inner(t) for t in own] or [find_shared_threshold(table)] * (table.exits - 1)
    outcome = table.evaluate(inner)
    return {
        "criterion": rule.name,
        "thresholds": [rule.own(t) for t in inner],
        "accuracy": outcome.accuracy,
        "exit_rates": list(outcome.exit_rates),
        "macs": None if macs is None else outcome.macs,
        "one_exit": find_collapse(outcome.exit_rates),
    }


def _fill_macs(recorded: RecordedExits, macs: Sequence[float] | None) -> Sequence[float]:
    """The costs that a table needs; where they are not known, numbers that nobody is shown."""
    return range(1, recorded.logits.shape[1] + 1) if macs is None else macs


def describe_collapse(figures: dict[str, Any]) -> str:
    """The line that tells of collapsed exits in what `evaluate_exits` returned; empty where they have not collapsed.

    Example:
        >>> describe_collapse({"early_exit": {"one_exit": 2, "exit_rates": [0.0, 0.9996, 0.0004]}})
        'exits have collapsed: 99.96 % of the calibration samples leave at exit 2'
    """
    early = figures.get("early_exit", {})
    if (exit_ := early.get("one_exit")) is None:
        return ""
    rate = units.percent(early["exit_rates"][exit_ - 1])
    return f"exits have collapsed: {rate} of the calibration samples leave at exit {exit_}"


def describe_new_collapse(history: Sequence[dict[str, Any]]) -> str:
    """The line of `describe_collapse` for the last epoch of a history, unless the evaluation before found the same."""
    *before, now = [record["early_exit"]["one_exit"] if "early_exit" in record else None for record in history]
    evaluated = [exit_ for exit_, record in zip(before, history, strict=False) if "early_exit" in record]
    return describe_collapse(history[-1]) if [now] != evaluated[-1:] else ""


def find_shared_threshold(table: ReplayTable, *, drop: float = 0.0) -> float:
    """The loosest inner threshold that, at every early exit alike, loses at most `drop` (a share) of the last exit's accuracy.

    Among at most 500 of the table's scores; just above the largest, so that none leaves, where all of these lose more.
    """
    assert table.correct is not None
    never = np.nextafter(table.scores.max(), np.float32(np.inf))
    candidates = np.unique(np.append(table.scores, never))[::-1]  # from the one that none reaches downwards
    need = float(table.correct[:, -1].mean()) - drop - 1e-12
    tried = _thin_candidates(candidates)
    good = tried[_count_right(table, tried) / len(table) >= need]
    return float(good.min()) if len(good) else float(never)


def summarize_early_exit(
    chosen_on: RecordedExits,
    used_on: RecordedExits,
    criterion: str | Criterion,
    macs: Sequence[float] | None,
    *,
    drop: float = 0.0,
) -> dict[str, Any]:
    """One threshold for all exits, chosen on one part and used on another: a summary of a network.

    `edgeexit calibrate` finds better thresholds, for a device and a target.

    Args:
        chosen_on: the calibration part.
        used_on: the test part.
        criterion: by name, or itself.
        macs: multiply-accumulates of leaving at each exit, [N]; None where they are not known.
        drop: share of the last exit's accuracy on `chosen_on` that may be lost there.

    Returns:
        `drop`; the loosest `threshold` that loses no more, in the criterion's own unit, the same for each exit; and what it does on
        `used_on`, as the `early_exit` of `evaluate_exits` says it.
    """
    rule = find_criterion(criterion) if isinstance(criterion, str) else criterion
    inner = find_shared_threshold(chosen_on.make_table(rule, _fill_macs(chosen_on, macs)), drop=drop)
    own = max(rule.own(inner), 0.0)
    return {"drop": drop, "threshold": own, **describe_early_exit(used_on, macs, rule, [rule.own(inner)])}


def _count_right(table: ReplayTable, thresholds: NDArray[np.float32]) -> NDArray[np.int64]:
    """Right answers at each threshold, int64 [T], where all early exits share it.

    A sample leaves at the first exit k whose best score so far, s, reaches the threshold, and those of later exits then do, too. What
    each exit of those adds over the next one, correct[k] - correct[k + 1], sums up to what exit k adds over the last one.
    """
    assert table.correct is not None
    best = np.maximum.accumulate(table.scores, axis=1)
    added = table.correct[:, :-1].astype(np.int64) - table.correct[:, 1:]
    order = np.argsort(best, axis=None)
    sums = np.append(0, np.cumsum(added.ravel()[order]))
    below = np.searchsorted(best.ravel()[order], thresholds)
    right: NDArray[np.int64] = np.count_nonzero(table.correct[:, -1]) + sums[-1] - sums[below]
    return right


def _thin_candidates(candidates: NDArray[np.float32], most: int = 500) -> NDArray[np.float32]:
    places = np.unique(np.linspace(0, len(candidates) - 1, min(most, len(candidates))).astype(int))
    thinned: NDArray[np.float32] = candidates[places]
    return thinned


def _convert_to_float32(e: ExitTensors) -> ExitTensors:
    return ExitTensors(e.name, e.logits.float(), e.score if e.score is None else e.score.float())


def _stack_logits(exits: Sequence[ExitTensors]) -> NDArray[np.float32]:
    """Logits [b, N, classes] of every exit."""
    return torch.stack([e.logits for e in exits], dim=1).cpu().numpy()


def _stack_scores(early: Sequence[ExitTensors]) -> NDArray[np.float32] | None:
    """Own scores [b, N-1] of the early exits; None where one has none."""
    scores = [e.score.flatten() for e in early if e.score is not None]
    return torch.stack(scores, dim=1).cpu().numpy() if scores and len(scores) == len(early) else None

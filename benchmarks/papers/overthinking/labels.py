"""Which exits a policy is taught, and which of them it recognises: by label, by level of difficulty, by λ (figures 4.2 and 4.5 to 4.10)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.papers.overthinking.answers import Answers
from edgeexit.analysis import choose_exit_labels
from edgeexit.report.plot.figure import Axis, Bar, BarFigure, choose_exit_tone

PRICE = 5.0
"""λ of equation 4.1, as the thesis takes it for Max-Min MNIST and CIFAR-100."""
PRICES = (5.0, 10.0, 50.0)
"""λ of figure 4.2."""
LEVELS = ("easy", "medium", "hard")
"""Of Max-Min MNIST."""


def spread_over_all(right: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One number per sample, [n], for the share of `right` among the samples `chosen`, [n] each.

    Their mean is that share, and their standard error is the share's own (a ratio, linearised), so that shares of different samples can be
    compared as if they were paired.

    Example:
        >>> right, chosen = np.array([True, False, True, True]), np.array([True, True, True, False])
        >>> found = spread_over_all(right, chosen)
        >>> round(float(found.mean()), 3), found.round(2).tolist()
        (0.667, [1.11, -0.22, 1.11, 0.67])
    """
    share = float(right[chosen].mean())
    return share + (right.astype(np.float64) - share) * chosen / float(chosen.mean())


@dataclass(frozen=True, eq=False)
class ExitLabels:
    """One part of D_ee: the exit that each sample is labelled with.

    Attributes:
        places: place among `exits`, int64 [n]; -1 for samples that no exit has right, which D_ee leaves out.
        exits: the exits that are chosen between, from 1.
        levels: difficulty of each sample, int64 [n]; None where the data have none.
    """

    places: NDArray[np.int64]
    exits: tuple[int, ...]
    levels: NDArray[np.int64] | None = None

    @property
    def kept(self) -> NDArray[np.bool_]:
        """The samples of D_ee, [n]."""
        return self.places >= 0

    @property
    def commonest(self) -> int:
        """The place of the commonest label."""
        return int(np.bincount(self.places[self.kept]).argmax())

    @property
    def counts(self) -> NDArray[np.int64]:
        """Samples by label and level, [P, L]; L is 1 where the data have no levels."""
        levels = np.zeros(len(self.places), np.int64) if self.levels is None else self.levels
        found = np.zeros((len(self.exits), 1 if self.levels is None else len(LEVELS)), np.int64)
        np.add.at(found, (self.places[self.kept], levels[self.kept]), 1)
        return found

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of D_ee, by label, [P]."""
        counts = np.bincount(self.places[self.kept], minlength=len(self.exits)).astype(np.float64)
        return counts / max(1.0, float(counts.sum()))


def judge_by_label(
    right: NDArray[np.bool_], tested: ExitLabels, taught: ExitLabels
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Where a policy is right, by label and by level.

    Args:
        right: whether the policy predicts the label, of D_ee's test samples [m].
        tested: labels of all test samples, [n].
        taught: those of the training samples.

    Yields:
        Keys such as `label 3: policy` with one number per test sample of D_ee, see `spread_over_all`; of a label at a level
        (`label 3, easy: policy`) with its samples' flags. What has no samples is left out.
    """
    places = tested.places[tested.kept]
    flags = {f"label {exit_}": places == place for place, exit_ in enumerate(tested.exits)}
    flags["outer labels"] = np.isin(places, (0, len(tested.exits) - 1))
    flags["inner labels"] = ~flags["outer labels"]
    if tested.levels is not None:
        levels = tested.levels[tested.kept]
        last = places == len(tested.exits) - 1
        flags |= {name: levels == level for level, name in enumerate(LEVELS)}
        flags |= {"easy, last exit": (levels == 0) & last, "easy, other exits": (levels == 0) & ~last}
        known = find_commonest_by_level(taught)
        yield "commonest label of the level", known[levels] == places
        for place, exit_ in enumerate(tested.exits):
            for level, name in enumerate(LEVELS):
                if (cell := (places == place) & (levels == level)).any():
                    yield f"label {exit_}, {name}: policy", right[cell]
    for key, chosen in flags.items():
        if chosen.any():
            yield f"{key}: policy", spread_over_all(right, chosen)


def find_commonest_by_level(taught: ExitLabels) -> NDArray[np.int64]:
    """The place of the commonest label of each level, [L]: the best guess of a policy that sees the level and nothing else."""
    found: NDArray[np.int64] = taught.counts.argmax(axis=0)
    return found


def sweep_prices(answers: Answers) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Figure 4.2: labels among all exits for each λ, from 1, of those calibration samples that some exit has right."""
    known = answers.chosen
    for price in PRICES:
        places = choose_exit_labels(known.logits, known.labels, price=price, macs=answers.macs)
        yield f"λ = {price:g}", places[places >= 0] + 1


def describe_labels(taught: ExitLabels, tested: ExitLabels) -> dict[str, Any]:
    """For the record: samples by label and level of both parts of D_ee, and how many D_ee leaves out."""
    return {
        "exits": list(tested.exits),
        "levels": [] if tested.levels is None else list(LEVELS),
        "training": taught.counts.tolist(),
        "test": tested.counts.tolist(),
        "left out": {"training": int((~taught.kept).sum()), "test": int((~tested.kept).sum())},
    }


# ---------------------------------------------------------------- pictures


def draw_labels(name: str, described: Mapping[str, Any]) -> BarFigure:
    """Figures 4.5, 4.7 and 4.9: which exits the training samples are labelled with, by level.

    Args:
        name: of the picture and of the data, such as `maxmin`.
        described: of `describe_labels`.
    """
    counts = np.array(described["training"], np.float64)
    levels = described["levels"] or ["samples"]
    bars = tuple(
        Bar(f"exit {exit_}", tuple(_list_parts(row / counts.sum(), levels)))
        for exit_, row in zip(described["exits"], counts, strict=True)
    )
    caption = "Share of the training samples of D_ee that each exit is the label of."
    return BarFigure(f"overthinking-{name}-labels", "Labels of D_ee", caption, Axis("share (%)", 0.01), bars)


def _list_parts(shares: NDArray[np.float64], levels: Sequence[str]) -> Iterator[tuple[str, float, str]]:
    for place, (share, level) in enumerate(zip(shares, levels, strict=True)):
        yield choose_exit_tone(6 + 10 * place, 32), float(share), level


def draw_policy(name: str, described: Mapping[str, Any], shares: Mapping[str, float]) -> BarFigure:
    """Figures 4.6, 4.8 and 4.10: how often the policy predicts each label, by level.

    Args:
        name: as `draw_labels`.
        described: of `describe_labels`.
        shares: means by key, see `judge_by_label`.
    """
    levels = [f", {level}" for level in described["levels"]] or [""]
    keys = [(exit_, f"label {exit_}{level}") for exit_ in described["exits"] for level in levels]
    bars = tuple(
        Bar(key, ((choose_exit_tone(exit_), shares[f"{key}: policy"], ""),))
        for exit_, key in keys
        if f"{key}: policy" in shares
    )
    caption = "Share of the test samples of each label for which the policy predicts it."
    axis = Axis("right (%)", 0.01, low=0.0, high=100.0)
    return BarFigure(f"overthinking-{name}-policy", "What the policy recognises", caption, axis, bars)

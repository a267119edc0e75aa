"""The frame of the papers' experiments: intervals, orderings, the table beside the printed values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import common
from benchmarks.papers.frame.estimates import compare_samples, estimate_mean, estimate_samples
from benchmarks.papers.frame.parts import list_papers, load_paper
from benchmarks.papers.frame.printed import Printed, PrintedOrdering, PrintedValue, load_printed, make_tables
from edgeexit.errors import InputError
from edgeexit.report.plot.figure import BACKBONE, Axis, Bar, BarFigure
from edgeexit.report.plot.png import save_picture

ROOT = Path(__file__).resolve().parents[2]


def draw_differences(rng: np.random.Generator, seeds: int, spread: float) -> dict[int, np.ndarray]:
    """Differences of 400 samples around 0.1: an effect of the seed, one of the sample, and noise."""
    of_sample = rng.normal(0, 0.3, 400)
    return {s: 0.1 + rng.normal(0, spread) + of_sample + rng.normal(0, 0.2, 400) for s in range(seeds)}


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.02)])
def test_paired_intervals_cover_the_truth(seeds: int, spread: float) -> None:
    """At least as often as they promise; with one seed, where seeds do not matter."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        drawn = draw_differences(rng, seeds, spread)
        found = compare_samples(drawn, {s: np.zeros(400) for s in drawn})
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.1 <= found.high
    assert covered >= 276


def test_a_comparison_says_what_its_interval_covers() -> None:
    """Another seed needs several seeds; and a difference on one side of zero decides."""
    right, wrong = np.ones(100), np.arange(100) % 2
    assert "samples" == compare_samples({0: right}, {0: wrong}).over
    both = compare_samples({0: right, 1: right}, {0: wrong, 1: wrong})
    assert ("seeds and samples", "confirmed", 0.5) == (both.over, both.verdict, both.mean)
    assert "refuted" == compare_samples({0: wrong}, {0: right}).verdict
    assert "undecided" == compare_samples({0: right}, {0: right}).verdict


def test_figures_of_other_seeds_or_samples_are_not_compared() -> None:
    """There is nothing to pair them by."""
    with pytest.raises(InputError, match="a seed in common"):
        compare_samples({0: np.ones(3)}, {1: np.ones(3)})
    with pytest.raises(InputError, match="the same samples"):
        compare_samples({0: np.ones(3)}, {0: np.ones(4)})


def test_seeds_with_different_numbers_of_samples_are_compared_each_on_its_own() -> None:
    """Each seed's difference is paired on its own samples, and the interval is not narrower than that of the seed with most samples."""
    rng = np.random.default_rng(5)
    right = {0: rng.random(300) < 0.9, 1: rng.random(200) < 0.9}
    wrong = {0: rng.random(300) < 0.5, 1: rng.random(200) < 0.5}
    found, alone = compare_samples(right, wrong), compare_samples({0: right[0]}, {0: wrong[0]})
    assert {s: right[s].mean() - wrong[s].mean() for s in right} == pytest.approx(dict(found.per_seed))
    widths = [one.high - one.low for one in (found, alone) if one.low is not None and one.high is not None]
    assert len(widths) == 2
    assert widths[0] >= widths[1]


def test_a_mean_has_the_interval_that_its_seeds_or_samples_allow() -> None:
    """Student's over seeds, Wilson's over the samples of one, none of a single number."""
    assert "seeds" == estimate_mean({0: 0.5, 1: 0.6}).over
    assert estimate_mean({0: 3.5}).low is None
    assert "seeds" == estimate_samples({0: np.ones(9), 1: np.zeros(9)}).over
    shares, costs = estimate_samples({0: np.ones(100, bool)}), estimate_samples({0: np.full(100, 0.3)})
    assert ("samples", "samples") == (shares.over, costs.over)
    assert shares.low is not None
    assert shares.low < 1
    assert (costs.low, costs.high) == pytest.approx((0.3, 0.3))


def test_what_is_found_stands_beside_what_is_printed() -> None:
    """With the difference, the verdict, and what explains it; what was not found has no row."""
    printed = Printed(
        (PrintedValue("p", "accuracy", 0.97, where="table 1", why="shorter"), PrintedValue("p", "missing", 1.0)),
        (PrintedOrdering("p", "a is above b", "a", "b", where="figure 2"),),
    )
    estimate = {"mean": 0.96, "low": 0.95, "high": 0.97, "over": "seeds"}
    found = {"says": "a is above b", "verdict": "refuted", "mean": -0.02, "low": -0.03, "high": -0.01}
    one = {**found, "per_seed": {"0": -0.02}, "over": "samples"}
    few = {**found, "per_seed": {"0": -0.015, "1": -0.025}, "over": "seeds and samples"}
    ordering = {**found, "per_seed": {str(seed): -0.02 for seed in range(4)}, "over": "seeds"}
    record = {"part": "p", "quick": False, "values": {"accuracy": estimate}, "orderings": [ordering]}

    values, orderings = make_tables(printed, record)

    assert (
        ("accuracy (table 1)", "97.00 %", "96.00 % (95.00 % to 97.00 %)", "-1.00 points", "shorter"),
    ) == values.rows
    assert (("figure 2", "a is above b", "refuted", "-2.00 (-3.00 to -1.00) points", "not known"),) == orderings.rows
    assert "refuted (one seed)" == make_tables(printed, {**record, "orderings": [one]})[1].rows[0][2]
    difference = make_tables(printed, {**record, "orderings": [few]})[1].rows[0][3]
    assert "-2.00 (-3.00 to -1.00); by seed -1.50, -2.50 points" == difference


@pytest.mark.parametrize(
    ("printed", "own", "of_part", "shown"),
    [
        (0.97, "", "fewer epochs", ""),
        (0.99, "", "fewer epochs", "fewer epochs"),
        (0.99, "", "", "not known"),
        (0.99, "other data", "fewer epochs", "other data"),
    ],
)
def test_a_difference_has_a_reason(printed: float, own: str, of_part: str, shown: str) -> None:
    """That of its row or of its part, or that none is known; a printed value within the interval needs none."""
    asked = Printed((PrintedValue("p", "accuracy", printed, why=own),), why={"p": of_part} if of_part else {})
    estimate = {"mean": 0.96, "low": 0.95, "high": 0.97, "over": "seeds"}
    record = {"part": "p", "quick": False, "values": {"accuracy": estimate}, "orderings": []}

    (table,) = make_tables(asked.take_part("p"), record)

    assert shown == table.rows[0][-1]


@pytest.mark.parametrize("paper", list_papers())
def test_printed_values_belong_to_a_part(paper: str) -> None:
    """Every value, ordering and reason names a part that there is, and no ordering stands twice in a part."""
    pytest.importorskip("torch")
    parts, printed = {part.name for part in load_paper(paper).parts}, load_printed(paper)
    assert {row.part for row in printed.value} | {row.part for row in printed.ordering} | {*printed.why} <= parts
    says = [(row.part, row.says) for row in printed.ordering]
    assert len(says) == len({*says})


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "papers").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_of_a_paper_shows_what_is_recorded(page: Path) -> None:
    """To bring it up to date: python -m benchmarks.papers PAPER tables --page docs/papers/PAPER.md"""
    pytest.importorskip("torch")
    from benchmarks.papers.frame.pages import fill_page

    assert page.read_text(encoding="utf-8") == fill_page(page)


def test_a_picture_is_saved_in_both_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SVG for the pages and as PNG beside it."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(common, "save_picture", save_picture)
    drawn = BarFigure("bars", "Bars", "Two.", Axis("length"), tuple(Bar(b, ((BACKBONE, 1.0, "one"),)) for b in "ab"))

    assert ["bars"] == common.save_pictures(tmp_path / "new", [drawn])
    assert ["bars.png", "bars.svg"] == sorted(path.name for path in (tmp_path / "new").iterdir())


def test_an_unknown_paper_or_part_is_one_message() -> None:
    """With those there are."""
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"no paper 'cascade-loses'\. Did you mean 'cascade-losses'"):
        load_paper("cascade-loses")
    with pytest.raises(InputError, match="no part 'mnst'"):
        load_paper("cascade-losses").find_part("mnst")

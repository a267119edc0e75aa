"""The experiments on overthinking: what they conclude from labels, and their short versions."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from benchmarks.papers import overthinking
from benchmarks.papers.__main__ import run_part
from benchmarks.papers.frame.pages import fill_page
from benchmarks.papers.frame.parts import Request
from benchmarks.papers.frame.printed import load_printed
from benchmarks.papers.overthinking import labels, networks
from benchmarks.papers.overthinking.labels import ExitLabels, judge_by_label, spread_over_all
from benchmarks.papers.overthinking.networks import measure_agreement
from tests.support.papers import shorten_digits


def test_labels_drawn_apart_agree_by_chance_only() -> None:
    """Kappa's interval holds zero, however uneven the labels are; the same labels have kappa 1."""
    rng = np.random.default_rng(0)
    first, second = (rng.choice(3, 2000, p=[0.7, 0.2, 0.1]) for _ in range(2))
    found = measure_agreement(first, second)

    assert found["kappa_low"] < 0 < found["kappa_high"]
    assert 0.54 == pytest.approx(found["by chance"], abs=0.03)
    assert 1 == measure_agreement(first, first)["kappa"]


def test_examples_print_what_they_say() -> None:
    """Of the parts on networks and on labels."""
    assert 0 == doctest.testmod(networks).failed + doctest.testmod(labels).failed


def test_a_share_of_some_samples_spreads_as_it_does_among_them_alone() -> None:
    """So that shares of different samples can be compared as if they were paired."""
    rng = np.random.default_rng(0)
    right, chosen = rng.random(4000) < 0.8, rng.random(4000) < 0.1
    found, alone = spread_over_all(right, chosen), right[chosen]

    assert found.mean() == pytest.approx(alone.mean())
    assert found.std() / len(found) ** 0.5 == pytest.approx(alone.std() / len(alone) ** 0.5, rel=1e-6)


def test_a_policy_is_judged_by_label_and_level_on_the_samples_that_some_exit_has_right() -> None:
    """Labels and levels that no sample has are left out."""
    taught = ExitLabels(np.array([0, 0, 2, 2]), (1, 2, 3), np.array([0, 0, 1, 2]))
    tested = ExitLabels(np.array([0, -1, 0, 2, 2]), (1, 2, 3), np.array([0, 0, 1, 1, 2]))
    found = dict(judge_by_label(np.array([True, False, True, True]), tested, taught))

    cells = {"label 1, easy", "label 1, medium", "label 3, medium", "label 3, hard"}

    assert cells == {key.removesuffix(": policy") for key in found if key.startswith("label") and "," in key}
    assert not {"label 2: policy", "inner labels: policy"} & set(found)
    means = [found[key].mean() for key in ("label 1: policy", "label 3: policy", "commonest label of the level")]
    assert [0.5, 1, 0.75] == means


def test_every_printed_value_belongs_to_a_part() -> None:
    """So that none is forgotten when a part is renamed."""
    parts = {part.name for part in overthinking.PAPER.parts}
    printed = load_printed("overthinking")

    assert {v.part for v in printed.value} | {o.part for o in printed.ordering} <= parts


@pytest.mark.slow
def test_the_short_version_of_every_part_finds_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With networks that are trained once and shared by the parts; every printed value and ordering has its counterpart, but for those of
    a label that networks so small may give to no digit. Only whether two trainings agree needs two seeds.
    """
    shorten_digits(monkeypatch, 120)
    printed = load_printed("overthinking")
    for part in overthinking.PAPER.parts:
        request = Request(tmp_path, part.seeds if part.name == "agreement" else (0,), quick=True, resume=True)
        tables = run_part("overthinking", part, request)
        asked = printed.take_part(part.name)
        rare = [o for o in asked.ordering if o.smaller == "easy, last exit: policy"]
        shown = sum(len(t.rows) for t in tables if "orderings" in t.title or "printed" in t.title)

        assert (tmp_path / f"overthinking-{part.name}.json").exists()
        assert shown in {len(asked.value) + len(asked.ordering) - k for k in (0, len(rare))}


def test_a_page_may_show_a_parts_own_tables_and_those_beside_printed_values(tmp_path: Path) -> None:
    """By the words of its place; filling it again changes nothing."""
    page = tmp_path / "overthinking.md"
    page.write_text(
        "<!-- recorded: trained -->\n<!-- end -->\n<!-- recorded: cifar10 and printed -->\nstale words\n<!-- end -->\n"
    )
    filled = fill_page(page)
    page.write_text(filled)

    assert "A perfect exit rule and calibrated thresholds" in filled
    assert "stale words" not in filled
    assert filled == fill_page(page)

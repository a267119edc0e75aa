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
from benchmarks.papers.overthinking import networks
from benchmarks.papers.overthinking.networks import measure_agreement


def test_labels_drawn_apart_agree_by_chance_only() -> None:
    """Kappa's interval holds zero, however uneven the labels are; the same labels have kappa 1."""
    rng = np.random.default_rng(0)
    first, second = (rng.choice(3, 2000, p=[0.7, 0.2, 0.1]) for _ in range(2))
    found = measure_agreement(first, second)

    assert found["kappa_low"] < 0 < found["kappa_high"]
    assert 0.54 == pytest.approx(found["by chance"], abs=0.03)
    assert 1 == measure_agreement(first, first)["kappa"]


def test_examples_print_what_they_say() -> None:
    """Of the parts on networks."""
    assert 0 == doctest.testmod(networks).failed


def test_every_printed_value_belongs_to_a_part() -> None:
    """So that none is forgotten when a part is renamed."""
    parts = {part.name for part in overthinking.PAPER.parts}
    printed = load_printed("overthinking")

    assert {v.part for v in printed.value} | {o.part for o in printed.ordering} <= parts


@pytest.mark.slow
def test_the_short_version_of_every_part_finds_what_is_printed(tmp_path: Path) -> None:
    """With networks that are trained once and shared by the parts; every printed value and ordering has its counterpart."""
    printed = load_printed("overthinking")
    for part in overthinking.PAPER.parts:
        request = Request(tmp_path, part.seeds, quick=True, resume=True)
        tables = run_part("overthinking", part, request)
        asked = printed.take_part(part.name)

        assert (tmp_path / f"overthinking-{part.name}.json").exists()
        assert len(asked.value) + len(asked.ordering) == sum(
            len(t.rows) for t in tables if "orderings" in t.title or "printed" in t.title
        )


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

"""The experiments of BranchyNet: what they make of records, and their short versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from functools import partial

from benchmarks.papers.branchynet.table_1 import CLOCKS, examine_table_1, find_case_records, show_table_1
from benchmarks.papers.branchynet.table_1_printed import compute_gain, read_printed_row
from benchmarks.papers.frame import record
from benchmarks.papers.frame.pages import fill_page
from benchmarks.papers.frame.parts import Request, load_paper
from benchmarks.papers.frame.training import train_variants
from edgeexit.errors import InputError
from tests.support.papers import record_with_shared_runs, run_short_part, shorten_digits

ROOT = Path(__file__).resolve().parents[2]


run_part = partial(run_short_part, "branchynet")


@pytest.fixture(scope="module", autouse=True)
def fewer_digits(short_experiments: None) -> Iterator[None]:
    """B-AlexNet is far larger than what other papers train here."""
    with pytest.MonkeyPatch.context() as patch:
        shorten_digits(patch, 40)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parts share what they train."""
    return tmp_path_factory.mktemp("branchynet")


@pytest.mark.parametrize("network", ["lenet", "alexnet", "resnet"])
def test_a_printed_row_is_whole(network: str) -> None:
    """A threshold for every exit but the last; rates sum to 1 within rounding; time over time is the gain within rounding."""
    row = read_printed_row(network)

    assert len(row.exit_rates) == 1 + len(row.thresholds)
    assert 1 == pytest.approx(sum(row.exit_rates), abs=0.002)
    assert 1 == pytest.approx(sum(row.shares))
    assert row.gain_cpu == pytest.approx(row.plain_time_cpu_s / row.time_cpu_s, abs=0.06)
    assert row.gain_gpu == pytest.approx(row.plain_time_gpu_s / row.time_gpu_s, abs=0.06)


def test_a_network_that_is_not_printed_is_one_message() -> None:
    """With those that are."""
    with pytest.raises(InputError, match="no network 'msdnet'; it has lenet, alexnet and resnet"):
        read_printed_row("msdnet")


def test_the_gain_of_recorded_rates_is_the_recorded_gain() -> None:
    """So that the gain at other rates differs by the rates alone."""
    for found in find_case_records().values():
        costs = found["costs_s"]
        for row in found["chosen"].values():
            for clock in CLOCKS:
                gain = compute_gain(row["exit_rates"], costs[clock], costs["plain"])
                assert row["gain"][clock] == pytest.approx(gain)


def test_table_1_names_what_is_missing_and_shows_every_case() -> None:
    """No GPU, no 110 layers; printed rows on both devices, and each recorded case."""
    found = examine_table_1()

    table, at_printed, entropies = show_table_1({"details": found.details, "notes": found.notes})
    assert "the GPU half of Table I" in table.note
    assert 6 == sum(row[0].startswith("printed, GPU") for row in table.rows)
    assert len(found.details["cases"]) == sum(row[0].startswith("here: B-") for row in table.rows)
    assert len(at_printed.rows) == len(entropies.rows)


def test_the_page_shows_what_is_recorded() -> None:
    """To bring it up to date: python -m benchmarks.papers branchynet tables --page docs/papers/branchynet.md"""
    page = ROOT / "docs" / "papers" / "branchynet.md"
    assert fill_page(page) == page.read_text(encoding="utf-8")


def test_a_part_that_is_not_recorded_has_its_command_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the place of its tables; the rest of the page stays."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    page = tmp_path / "branchynet.md"
    page.write_text("before\n<!-- recorded: depth -->\nold\n<!-- end -->\nafter\n")

    filled = fill_page(page)

    assert "`python -m benchmarks.papers branchynet depth -o runs/branchynet`" in filled
    assert "old" not in filled
    assert filled.startswith("before\n<!-- recorded: depth -->\n")
    assert filled.endswith("<!-- end -->\nafter\n")


KEYS = {
    "table-1": (),
    "depth": ("first-4-convs: last exit", "1 to 4 convolutions: last exit"),
    "weights": ("light-first: exit 1", "first-2-convs: confident at exit 1", "plain: accuracy, as long"),
    "weights-mnist": ("light-first: exit 1", "plain: accuracy, as long"),
    "start": ("scratch-longer: exit 2", "all-exits: last exit"),
    "start-mnist": ("scratch-longer: exit 1", "all-exits: last exit"),
    "schedule-short": ("printed thresholds: leave at exit 3", "exit 1: confidence above accuracy"),
}
"""Some of what each part finds."""


@pytest.mark.slow
@pytest.mark.parametrize("part", KEYS)
def test_a_part_runs_in_its_short_version(folder: Path, part: str) -> None:
    """It trains what no part before it has trained, and finds what it is for."""
    record = run_part(part, folder)

    values = record["values"]
    assert {*KEYS[part]} <= values.keys()
    assert all(table.rows for table in load_paper("branchynet").find_part(part).show(record))
    assert all(values[key]["per_seed"].keys() == {"0"} for key in KEYS[part])


@pytest.mark.slow
def test_the_whole_schedule_finds_what_the_short_one_does(folder: Path) -> None:
    """As if its network were the one that the short schedule has trained; no part of the paper is without a short version."""
    request = Request(folder, (0,), quick=True, resume=True)
    run = train_variants(load_paper("branchynet").find_part("schedule-short").variants(request), request)

    found = record_with_shared_runs("branchynet", "schedule", folder, lambda _: run["paper-short"][0])

    assert {*KEYS["schedule-short"]} <= found["values"].keys()
    assert {part.name for part in load_paper("branchynet").parts} == {*KEYS, "schedule"}

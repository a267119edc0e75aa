"""Replay tables in shards hold each sample once, whatever interrupts their writing, and are searched as one table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeexit.calibration import calibrate, join_tables, optimise_parts
from edgeexit.calibration.device import replay, time_exits
from edgeexit.calibration.result import parse_calibration
from edgeexit.data import Dataset
from edgeexit.errors import InputError
from edgeexit.runtime import load_quietly, model_info
from edgeexit.scale import Classifier, Replayer, ShardedTable, write_shards
from edgeexit.scale.ray_replay import PlaceReplayer, find_reader
from tests.networks import images

DATA = Dataset("images", images(30), np.arange(30) % 4)
BLOCKS = [DATA.take(slice(i, i + 8)) for i in range(0, 30, 8)]


def test_shards_are_the_table_of_all_samples(compiled: Path, tmp_path: Path) -> None:
    """In their order; with the costs of a device they are searched."""
    with load_quietly(compiled, mode="staged") as runner:
        whole = replay(runner, DATA)
        table = write_shards(runner, BLOCKS, tmp_path)
    joined = join_tables(table)

    assert 30 == len(table)
    np.testing.assert_array_equal(whole.scores, joined.scores)
    assert whole.correct is not None
    assert joined.correct is not None
    np.testing.assert_array_equal(whole.correct, joined.correct)
    timed = ShardedTable.open(tmp_path, cost_s=[1e-3, 2e-3, 3e-3])
    assert optimise_parts(timed, "mean<=2ms").mean_s <= 2e-3


def stop_after_two() -> Iterator[Dataset]:
    yield from BLOCKS[:2]
    raise KeyboardInterrupt


def test_a_folder_that_was_begun_goes_on_where_it_stopped(compiled: Path, tmp_path: Path) -> None:
    """Until then it cannot be opened, and shards that are there are not made again."""
    with load_quietly(compiled, mode="staged") as runner:
        with pytest.raises(KeyboardInterrupt):
            write_shards(runner, stop_after_two(), tmp_path)
        with pytest.raises(InputError, match="goes on where it stopped"):
            ShardedTable.open(tmp_path)
        made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
        table = write_shards(runner, BLOCKS, tmp_path)

    assert 2 == len(made)
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert 30 == len(join_tables(table))


def test_what_is_there_is_checked_before_it_is_kept(compiled: Path, tmp_path: Path) -> None:
    """A damaged shard is made again; one of other samples, or of as many that are other ones, is refused."""
    folder, last = tmp_path / "shards", tmp_path / "shards" / "shard-000003.npz"
    with load_quietly(compiled, mode="staged") as runner:
        write_shards(runner, BLOCKS, folder)
        whole = last.read_bytes()
        last.write_bytes(whole[:100])
        table = write_shards(runner, BLOCKS, folder)
        assert 30 == len(join_tables(table))
        for other in ([DATA], [BLOCKS[1], *BLOCKS[1:]]):
            with pytest.raises(InputError, match=r"shard-000000\.npz is of other samples"):
                write_shards(runner, other, folder)
        with pytest.raises(InputError, match="cannot make the folder"):
            write_shards(runner, BLOCKS, last)


@pytest.mark.parametrize("samples", [{"../shard-000000.npz": 8}, {"shard-000000.npz": -8}, {}])
def test_a_list_that_edgeexit_would_not_write_is_refused(tmp_path: Path, samples: dict[str, int]) -> None:
    """Files elsewhere, shards without samples."""
    document = {"schema": "edgeexit.replay-shards/1", "bundle": "0", "samples": samples}
    (tmp_path / "shards.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match="is damaged"):
        ShardedTable.open(tmp_path)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"y": np.zeros(2, np.int64)}, "no column 'x'"),
        ({"x": images(2)}, "no column 'y'"),
        ({"x": np.zeros((2, 3), np.float32), "y": np.zeros(2, np.int64)}, "must have rows of the shape"),
        ({"x": np.array(["a", "b"]), "y": np.zeros(2, np.int64)}, "must have rows of the shape"),
        ({"x": images(2), "y": np.array(["cat", "dog"])}, "must be whole numbers"),
    ],
)
def test_a_batch_that_a_worker_cannot_use_is_refused(
    compiled: Path, batch: dict[str, NDArray[Any]], message: str
) -> None:
    """With the name of its column."""
    with pytest.raises(InputError, match=message):
        Replayer(compiled, mode="staged")(batch)


def test_shards_of_another_network_are_not_mixed_in(compiled: Path, tmp_path: Path) -> None:
    """The folder says whose they are."""
    (tmp_path / "network.txt").write_text("another", encoding="utf-8")
    with load_quietly(compiled, mode="staged") as runner, pytest.raises(InputError, match="another network"):
        write_shards(runner, BLOCKS, tmp_path)


@pytest.mark.filterwarnings("ignore::edgeexit.CalibrationWarning")
def test_a_classifier_adds_the_answers_of_the_runner(compiled: Path) -> None:
    """To a batch of columns, also where rows come as objects."""
    thresholds = [1.197, 1.18]
    x = images(30)
    rows = np.empty(30, object)
    for i in range(30):
        rows[i] = x[i]
    found = Classifier(compiled, thresholds=thresholds)({"x": rows})
    with load_quietly(compiled) as runner:
        runner.thresholds = thresholds
        expected = runner.batch(x)

    assert [p.label for p in expected] == found["label"].tolist()
    assert [p.exit for p in expected] == found["exit"].tolist()
    with pytest.raises(InputError, match="no column 'x'"):
        Classifier(compiled)({"image": rows})


def test_calibrate_chooses_over_shards_and_judges_on_the_data(compiled: Path, tmp_path: Path) -> None:
    """Thresholds are the best for all samples of the shards, kept with a sample of them for another target; the data were run."""
    with load_quietly(compiled, mode="staged") as runner:
        table = write_shards(runner, BLOCKS, tmp_path / "shards")
        with pytest.raises(InputError, match="a confidence, the method bagged"):
            calibrate(
                runner, DATA.inputs, DATA.labels, target="macs<=1M", shards=table, confidence=0.9, method="bagged"
            )
        data = DATA.take(slice(0, 20))
        found = calibrate(
            runner, data.inputs, target="agreement>=0.8, rate1>=0.1", shards=table, seconds=0.2, dry_run=True
        )
        kept = optimise_parts(table.with_measured(time_exits(runner, data, 0.1, 0)), found.chosen_for)

    assert kept.exit_rates == found.predicted.exit_rates, (
        "the order of costs is the same, so the best thresholds are, too"
    )
    assert (30, 30, 20) == (found.parts.shards, found.parts.choose, found.parts.validate)
    assert (30, 20) == (found.predicted.samples, found.measured.samples if found.measured else 0)
    assert found == parse_calibration(json.loads(json.dumps(found.to_document())), "it")


def test_calibrate_refuses_shards_of_another_network(compiled: Path, tmp_path: Path) -> None:
    """Before anything is run."""
    with load_quietly(compiled, mode="staged") as runner:
        table = write_shards(runner, BLOCKS, tmp_path)
        other = replace(table, shards=replace(table.shards, bundle="0" * 64))
        with pytest.raises(InputError, match="another network"):
            calibrate(runner, DATA.inputs, DATA.labels, target="drop<=1", shards=other)


def test_a_worker_reads_the_samples_that_it_is_given(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their places in the data, in any order and with gaps: the rows of the whole table."""
    np.savez(tmp_path / "data.npz", x=images(30), y=np.arange(30) % 4)
    monkeypatch.chdir(tmp_path)
    with load_quietly(compiled, mode="staged") as runner:
        whole = replay(runner, DATA)
        work = PlaceReplayer(compiled, "data.npz", str(tmp_path), model_info(runner.bundle), mode="staged")
    places = np.array([3, 2, 20, 21, 22, 9])
    found = work({"id": places})

    np.testing.assert_array_equal(whole.scores[np.sort(places)], found["scores"])
    assert whole.correct is not None
    np.testing.assert_array_equal(whole.correct[np.sort(places)], found["correct"])


@pytest.mark.parametrize(
    ("data", "reader"),
    [
        ("s3://bucket/part.parquet", "read_parquet"),
        ("columns", "read_parquet"),
        ("web/000.tar", "read_webdataset"),
        ("pictures", ""),
        ("digits:calibration", ""),
    ],
)
def test_ray_reads_what_edgeexit_does_not(
    tmp_path: Path, data: str, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parquet and WebDataset, by their names or by what lies in the folder."""
    monkeypatch.chdir(tmp_path)
    for folder, name in (("columns", "0.parquet"), ("pictures", "0.png")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    assert reader == find_reader(data)

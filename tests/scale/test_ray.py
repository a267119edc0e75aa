"""Workers of Ray, one of which is killed on the way: nothing is lost, and nothing comes twice. `make test-ray` installs Ray."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeexit.calibration import join_tables
from edgeexit.calibration.device import replay
from edgeexit.data import Dataset
from edgeexit.errors import InputError
from edgeexit.runtime import load_quietly
from edgeexit.scale import Classifier, Replayer, ShardedTable, write_shards_with_ray
from tests.networks import images
from tests.support.command_line import run_edgeexit

ray = pytest.importorskip("ray", reason="Ray is not installed: make test-ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SAMPLES = 240
ONCE = "EDGEEXIT_TEST_KILLED"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A local Ray with as many CPUs as a test has workers; the file that is there once a worker was killed."""
    once = tmp_path_factory.mktemp("ray") / "killed"
    root = str(Path(__file__).parents[2])
    variables = {ONCE: str(once), "PYTHONPATH": root}
    for attempt in range(5):  # Ray waits for 30 s until its own processes answer, which a busy machine may not hold
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": variables})
            break
        except Exception:  # an Exception and nothing narrower is what Ray raises then
            ray.shutdown()
            if attempt == 4:
                raise
    yield once
    ray.shutdown()


class DyingReplayer(Replayer):
    """The worker that meets sample 100 first is killed, as the system kills one for its memory."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        once = Path(os.environ[ONCE])
        if 100 in batch["number"] and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


def test_each_sample_is_in_the_shards_once_although_a_worker_was_killed(
    compiled: Path, tmp_path: Path, killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores of all samples, from two workers of which one dies, are those of one process."""
    x, labels = images(SAMPLES), np.arange(SAMPLES) % 4
    data = ray.data.from_items([{"x": x[i], "y": int(labels[i]), "number": i} for i in range(SAMPLES)])
    monkeypatch.setattr("edgeexit.scale.ray_replay.Replayer", DyingReplayer)
    table = write_shards_with_ray(
        data.repartition(6), compiled, tmp_path / "shards", rows=50, batch_size=20, workers=2, mode="staged"
    )
    with load_quietly(compiled, mode="staged") as runner:
        expected = replay(runner, Dataset("all", x, labels))
    joined = join_tables(table)
    assert expected.correct is not None
    assert joined.correct is not None
    rows = np.hstack([expected.scores, expected.correct])
    found = np.hstack([joined.scores, joined.correct])

    assert killed.exists(), "no worker was killed"
    assert SAMPLES == len(table)
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], found[np.lexsort(found.T)])
    with pytest.raises(InputError, match="has shards already"):
        write_shards_with_ray(data, compiled, tmp_path / "shards")


@pytest.mark.usefixtures("killed")
def test_ray_data_maps_batches_through_the_classifier(compiled: Path, tmp_path: Path) -> None:
    """From a Parquet file, in two processes: the answers of the Runner."""
    x, thresholds = images(40), [1.197, 1.18]
    ray.data.from_items([{"x": sample} for sample in x]).write_parquet(str(tmp_path / "data"))
    mapped = ray.data.read_parquet(str(tmp_path / "data")).map_batches(
        Classifier,
        fn_constructor_kwargs={"bundle": str(compiled), "thresholds": thresholds},
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=0.5,
        batch_size=16,
    )
    rows = mapped.take_all()
    with load_quietly(compiled) as runner:
        runner.thresholds = thresholds
        expected = {sample.tobytes(): p.exit for sample, p in zip(x, runner.batch(x), strict=True)}

    assert expected == {np.asarray(row["x"]).tobytes(): row["exit"] for row in rows}


def write_parquet(folder: Path, x: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """Two files, each row of pixels a flat list: Parquet has no arrays of several dimensions."""
    import pyarrow
    from pyarrow import parquet

    folder.mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(x)), 2)):
        columns = {"image": list(x[part].reshape(len(part), -1)), "class": labels[part]}
        parquet.write_table(pyarrow.table(columns), folder / f"{number}.parquet")


def write_webdataset(path: Path, x: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """A tar file with two members for each sample."""
    with tarfile.open(path, "w") as archive:
        for i, sample in enumerate(x):
            array = io.BytesIO()
            np.save(array, sample)
            for name, content in ((f"{i:06d}.image.npy", array.getvalue()), (f"{i:06d}.cls", b"%d" % labels[i])):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize("kind", ["places", "parquet", "webdataset"])
def test_the_command_writes_by_workers_what_it_writes_alone(
    compiled: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From data that edgeexit reads, from Parquet as others write it, and from WebDataset: the same samples, in any order."""
    x, labels = images(SAMPLES), np.arange(SAMPLES) % 4
    np.savez(tmp_path / "data.npz", x=x, y=labels)
    data = {
        "places": ("data.npz",),
        "parquet": (tmp_path / "columns", "--column", "image", "--labels", "class"),
        "webdataset": ("data.tar", "--column", "image.npy", "--labels", "cls"),
    }[kind]
    if kind == "parquet":
        write_parquet(tmp_path / "columns", x, labels)
    elif kind == "webdataset":
        write_webdataset(tmp_path / "data.tar", x, labels)
    monkeypatch.chdir(tmp_path)
    for folder, words in (("alone", ("data.npz",)), ("workers", (*data, "--engine", "ray"))):
        ended = run_edgeexit("replay", compiled, "--data", *words, "-o", folder, "--mode", "staged", "--rows", 100)
        assert 0 == ended.returncode, ended.stderr
    found = []
    for folder in ("alone", "workers"):
        table = join_tables(ShardedTable.open(folder))
        assert table.correct is not None
        rows = np.hstack([table.scores, table.correct])
        found.append(rows[np.lexsort(rows.T)])

    assert 3 == len(list((tmp_path / "workers").glob("shard-*.npz")))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize(
    ("file", "words", "reason"),
    [
        ("columns", ("--labels", "class", "--column", "picture"), "the batch has no column 'picture'"),
        ("other.parquet", (), "Ray cannot read the data"),
    ],
)
def test_what_a_worker_finds_wrong_is_told_in_one_message(
    compiled: Path, tmp_path: Path, file: str, words: tuple[str, ...], reason: str
) -> None:
    """As bad input with exit code 2, without the traceback that Ray makes of it."""
    write_parquet(tmp_path / "columns", images(20), np.arange(20) % 4)
    (tmp_path / "other.parquet").write_text("no columns here")
    ended = run_edgeexit(
        "replay", compiled, "--data", tmp_path / file, *words, "--engine", "ray", "-o", tmp_path / "shards"
    )
    said = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]

    assert 2 == ended.returncode, ended.stderr
    assert len(said) == 1
    assert reason in said[0]
    assert "Traceback" not in ended.stderr

"""What `edgeexit run` answers: one row per sample, as a table, as JSON (`edgeexit.run/1`) or as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexit.cli.kept import describe_active_calibration
from edgeexit.errors import InputError
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.data import Dataset, DataSource
    from edgeexit.runtime import Prediction, Runner
    from edgeexit.util.progress import Progress

_CHUNK = 64  # samples in memory at a time
_SUFFIXES = (".csv", ".json")
_COLUMNS = ("sample", "file", "label", "class", "exit", "score", "late", "true_label", "true_class")


@dataclass(frozen=True)
class PredictedSamples:
    """Predictions, and what is known of their samples.

    Attributes:
        predictions: predictions in order.
        labels: the true ones; empty where there are none.
        files: files of the samples; empty where they have none of their own.
        class_names: class names in the order of the network's outputs; empty where they are not known.
    """

    predictions: tuple[Prediction, ...]
    labels: tuple[int, ...]
    files: tuple[str, ...]
    class_names: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.predictions)

    def rows(self) -> list[dict[str, Any]]:
        """One per sample; what is not known is left out, but for a score that is NaN, which is null."""
        return [self._make_row(i, p) for i, p in enumerate(self.predictions)]

    def _make_row(self, i: int, p: Prediction) -> dict[str, Any]:
        row: dict[str, Any] = {"sample": i}
        row |= {"file": self.files[i]} if self.files else {}
        row["label"] = p.label
        row |= {"class": self.class_names[p.label]} if self.class_names else {}
        row |= {"exit": p.exit, "score": None if math.isnan(p.score) else p.score, "late": p.late}
        row |= {"true_label": self.labels[i]} if self.labels else {}
        row |= {"true_class": self.class_names[self.labels[i]]} if self.labels and self.class_names else {}
        return row

    def table(self, most: int) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """Columns and the first rows as a table; a class by its name where that is known."""
        kinds = ["file" if self.files else "sample", "class" if self.class_names else "label", "exit", "score"]
        kinds += ["true_class" if self.class_names else "true_label"] if self.labels else []
        rows = [self._make_row(i, p) for i, p in enumerate(self.predictions[:most])]
        return tuple(k.replace("_", " ") for k in kinds), tuple(
            tuple(_format_cell(row[k]) for k in kinds) for row in rows
        )

    def summary(self, exits: int) -> dict[str, Any]:
        """Number of samples, accuracy (null without labels), exit rates, number of late answers."""
        rates = [sum(p.exit == k for p in self.predictions) / self.count for k in range(1, exits + 1)]
        right = sum(p.label == y for p, y in zip(self.predictions, self.labels, strict=False))
        accuracy = right / self.count if self.labels else None
        late = sum(p.late for p in self.predictions)
        return {"samples": self.count, "accuracy": accuracy, "exit_rates": rates, "late": late}


def predict_samples(
    source: DataSource, places: range, classes: int, classify: Callable[[Any], Prediction], progress: Progress
) -> PredictedSamples:
    """Classify samples one by one, read in small pieces.

    Raises:
        InputError: a sample that cannot be read or classified, with its number or file; a label that the network does not have.
    """
    from edgeexit.data import check_labels

    predictions: list[Prediction] = []
    labels: list[int] = []
    files: list[str] = []
    for start in range(places.start, places.stop, _CHUNK):
        part = source.read(start, min(start + _CHUNK, places.stop))
        if part.labels is not None:
            labels += check_labels(part, classes).tolist()
        files += part.files
        for i in range(len(part)):
            predictions.append(_classify_sample(part, i, start + i, classify))
            if len(predictions) % _CHUNK == 1 or len(predictions) == len(places):
                progress("classifying", len(predictions), len(places))
    names = source.class_names if len(source.class_names) == classes else ()
    return PredictedSamples(tuple(predictions), tuple(labels), tuple(files), names)


def _classify_sample(part: Dataset, i: int, number: int, classify: Callable[[Any], Prediction]) -> Prediction:
    try:
        return classify(part.take(slice(i, i + 1)).inputs)
    except InputError as error:
        which = part.files[i] if part.files else f"sample {number}"
        msg = f"{part.name}: {which}: {error}"
        raise type(error)(msg) from error


def _format_cell(value: Any) -> str:
    if value is None:
        return "n/a"
    return units.significant(value) if isinstance(value, float) else str(value)


def make_predictions_document(runner: Runner, answered: PredictedSamples) -> dict[str, Any]:
    """The JSON object of `edgeexit run`."""
    from edgeexit.util.documents import to_document

    document = {
        "schema": "edgeexit.run/1",
        "bundle": str(runner.bundle.path),
        "thresholds": runner.thresholds,
        "calibration": describe_active_calibration(runner),
        **answered.summary(runner.exits),
        "class_names": list(answered.class_names),
        "predictions": answered.rows(),
    }
    return dict(to_document(document))


def check_predictions_file(path: Path) -> None:
    """Refuse a file that predictions cannot be written to, before anything runs.

    Raises:
        InputError: another suffix than .csv or .json, a folder, or no folder to write into.
    """
    if path.suffix.lower() not in _SUFFIXES:
        msg = f"predictions are written as {' or '.join(_SUFFIXES)}, not {path.name!r}."
        raise InputError(msg)
    if path.is_dir() or not path.parent.is_dir():
        msg = f"cannot write {path}: {'it is a folder' if path.is_dir() else f'there is no folder {path.parent}'}."
        raise InputError(msg)


def save_predictions(document: dict[str, Any], path: Path) -> None:
    """Write the predictions, whole or not at all: all of the JSON object, or its rows as CSV.

    Raises:
        InputError: it cannot be written.
    """
    from edgeexit.util.atomic import write_text
    from edgeexit.util.documents import dumps

    rows: Sequence[dict[str, Any]] = document["predictions"]
    write_text(path, dumps(document) if path.suffix.lower() == ".json" else _render_csv(rows))


def _render_csv(rows: Sequence[dict[str, Any]]) -> str:
    sink = io.StringIO()
    columns = [c for c in _COLUMNS if any(c in row for row in rows)]
    writer = csv.DictWriter(sink, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()

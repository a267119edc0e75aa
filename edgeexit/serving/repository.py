"""A model repository on disk: a folder per model with its `config.pbtxt` and, in the folder of version 1, its files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgeexit.errors import InputError
from edgeexit.graph.external_data import WeightFile
from edgeexit.serving import models
from edgeexit.serving.model_config import Fields, format_fields
from edgeexit.util.atomic import make_output_folder
from edgeexit.util.scratch import make_scratch_folder

CONFIG, _VERSION, _WEIGHTS = "config.pbtxt", "1", "weights.bin"


@dataclass(frozen=True)
class ServedModel:
    """One model of a repository.

    Attributes:
        config: fields of its `config.pbtxt`, its name among them.
        fill: writes its files into the folder of its version.
    """

    config: Fields
    fill: Callable[[Path], None]

    @property
    def name(self) -> str:
        """Its name, which is that of its folder."""
        return str(self.config["name"])

    def write(self, repository: Path) -> None:
        """Write its folder into a repository that has none of its name."""
        version = repository / self.name / _VERSION
        version.mkdir(parents=True)
        (repository / self.name / CONFIG).write_text(format_fields(self.config) + "\n", encoding="utf-8")
        self.fill(version)


def write_repository(served: Iterable[ServedModel], repository: Path) -> None:
    """Write models into a repository; those of the same names are replaced, others stay.

    Raises:
        InputError: the folder cannot be written, or something that is no model has the name of one.
    """
    found = list(served)
    strange = [m.name for m in found if (repository / m.name).exists() and not (repository / m.name / CONFIG).is_file()]
    if strange:
        msg = f"{repository} holds {', '.join(strange)}, without a {CONFIG}: that is no model and stays. Choose another folder."
        raise InputError(msg)
    make_output_folder(repository)
    try:
        with make_scratch_folder(repository.parent, ".serve-export-") as scratch:
            for model in found:
                model.write(scratch)
            for model in found:
                if (repository / model.name).exists():
                    (repository / model.name).rename(scratch / f"{model.name} before")
                (scratch / model.name).rename(repository / model.name)
    except OSError as error:
        msg = f"cannot write {repository}: {error.strerror or error}"
        raise InputError(msg) from error


def write_onnx(model: onnx.ModelProto, weights_in: Path, version: Path) -> None:
    """Write a model as `model.onnx`, its large weights as a file beside it. The model is consumed.

    Args:
        model: a model whose outside weights lie in `weights_in`.
        weights_in: that folder.
        version: folder to write into.
    """
    with (version / _WEIGHTS).open("w+b") as stream:
        weights = WeightFile(stream)
        lean = weights.take(model, weights_in)
        weights.set_location(_WEIGHTS)
    (version / "model.onnx").write_bytes(lean.SerializeToString())
    if not weights.bytes:
        (version / _WEIGHTS).unlink()


def copy_python_model(name: str, version: Path) -> None:
    """Copy a model of `edgeexit/serving/models/` as the `model.py` that Triton's Python backend runs."""
    shutil.copyfile(Path(models.__file__).parent / f"{name}.py", version / "model.py")

"""Data on the command line: the options of every command that takes some, and how a bundle's network has it prepared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from edgeexit.data import ModelInfo

DATA = ".npz or .npy, image folder (one sub-folder per class), picture, or named set such as"
"""Beginning of every help text of --data; an example of a named set follows."""

_PREPROCESS = (
    "How pictures are prepared: key=value,... such as resize=256,size=224,mean=0.5,std=0.25; unit, signed, raw"
    " or imagenet; or a file: .toml, .json, also of torchvision, timm or Hugging Face."
)

Preprocessing: TypeAlias = Annotated[
    str | None, typer.Option("--preprocess", metavar="HOW", help=f"{_PREPROCESS} [default: the bundle's]")
]
ClassNames: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="NAMES",
        help="Class names in the network's order: NAME,NAME,..., a text file with one a line, or JSON. [default: the bundle's]",
    ),
]
NewPreprocessing: TypeAlias = Annotated[
    str | None,
    typer.Option("--preprocess", metavar="HOW", help=f"{_PREPROCESS} Kept, and used by every later command."),
]
NewClassNames: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="NAMES",
        help="Class names in the network's order, to be kept: NAME,NAME,..., a text file with one a line, or JSON.",
    ),
]


def read_bundle_info(bundle: Path, preprocess: str | None, classes: str | None) -> ModelInfo:
    """Data that a bundle's network expects; its files are not checked yet.

    Raises:
        BundleError: there is no readable manifest.
        InputError: the preprocessing or the class names do not fit it.
    """
    from edgeexit.bundle import read_manifest
    from edgeexit.runtime import model_info
    from edgeexit.util.arguments import as_path

    manifest = read_manifest(as_path("bundle", bundle))
    return model_info(manifest, name=str(bundle), preprocess=preprocess, classes=classes)


def read_file_info(model: Path, preprocess: str | None, classes: str | None) -> ModelInfo:
    """Data that a model file's network expects.

    Raises:
        ModelError: the file cannot be read.
        InputError: the preprocessing or the class names cannot be read, or do not fit it.
    """
    from dataclasses import replace

    from edgeexit.data import read_class_names, read_preprocess
    from edgeexit.data.model import infer_preprocess
    from edgeexit.graph import read_model
    from edgeexit.graph.expected_data import read_model_info
    from edgeexit.util.arguments import as_path

    info = read_model_info(read_model(as_path("model", model)), str(model))
    if classes is not None:
        names = read_class_names(classes)
        info = replace(info, class_names=names, classes=len(names))
    if preprocess is not None:
        info = replace(info, preprocess=read_preprocess(preprocess))
    infer_preprocess(info)
    return info

"""Stages for single samples on ONNX Runtime, cut from the network as it was optimised in one piece on this machine.

A stage optimised alone loses what the whole network has across the cut (see `edgeexit.backends.onnxruntime.stage_extraction`).
It is done when a bundle is opened: what comes out is of one machine and one release, and never written into a bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from edgeexit.backends.base import Array, Settings
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.backends.onnxruntime.errors import translate_runtime_errors
from edgeexit.backends.onnxruntime.int8_accumulation import open_with_int32_accumulation
from edgeexit.backends.onnxruntime.sessions import (
    WEIGHTS_FOLDER,
    check_ends,
    make_session_options,
    open_session,
    open_with_options,
)
from edgeexit.backends.onnxruntime.stage_extraction import ExtractedStage, declare_boundary_tensors, extract_stages
from edgeexit.bundle import Bundle, Manifest
from edgeexit.errors import ModelError
from edgeexit.graph.external_data import point_to_file
from edgeexit.graph.model import TensorSpec, list_all_tensors, read_external_range
from edgeexit.graph.onnx_files import load_binary
from edgeexit.util.scratch import make_scratch_folder
from edgeexit.util.units import bytes_

if TYPE_CHECKING:
    import onnxruntime as ort

_LARGEST_OPTIMIZED = (
    1 << 29
)  # bytes of weights: what is beyond would be written and read again for too long at every load
_CACHE_LINE = 64  # bytes


def open_optimized_stages(bundle: Bundle, settings: Settings) -> tuple[Manifest, list[ort.InferenceSession]]:
    """Sessions of the stages of the optimised network, and the manifest with the boundary tensors that they have.

    Raises:
        ModelError: it has too many weights, or cannot be cut where the exits are.
        OSError: there is no room for the weights among the temporary files.
    """
    m = bundle.manifest
    weights = sum(entry.weight_bytes for entry in m.stages)
    if weights > _LARGEST_OPTIMIZED:
        msg = f"its weights are {bytes_(weights)}, and {bytes_(_LARGEST_OPTIMIZED)} is the limit for optimising at load time"
        raise ModelError(msg)
    with make_scratch_folder() as folder:
        pieces = extract_stages(_optimize_network(bundle, settings, folder), [(e.logits, e.score) for e in m.stages])
        _align_weights([piece.model for piece in pieces], folder)
        return _open_pieces(m, pieces, settings, folder)


def _optimize_network(bundle: Bundle, settings: Settings, folder: Path) -> onnx.ModelProto:
    """The whole network as ONNX Runtime optimises it on this machine, its weights in `folder`."""
    model = load_binary(bundle.file(bundle.manifest.model))
    del model.graph.output[:]
    for name in (n for e in bundle.manifest.stages for n in (e.logits, e.score)):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    content, written = model.SerializeToString(), folder / "optimised.onnx"

    def write(int32_accumulation: bool) -> None:
        options = make_session_options(
            settings, batch_1=True, packed=False, int32_accumulation=int32_accumulation
        )  # to be written, not run
        options.optimized_model_filepath = str(written)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimised.bin")
        options.add_session_config_entry(WEIGHTS_FOLDER, str(bundle.path))
        open_with_options(content, options)

    with translate_runtime_errors("ONNX Runtime cannot optimise the network in one piece"):
        open_with_int32_accumulation(write)
    return load_binary(written)


def _align_weights(models: Sequence[onnx.ModelProto], folder: Path) -> None:
    """Weights on cache lines, where ONNX Runtime maps and uses them as they lie; it writes them without gaps."""
    outside = [t for m in models for t in list_all_tensors(m.graph) if t.data_location == TensorProto.EXTERNAL]
    if not outside:
        return
    places: dict[int, int] = {}
    with (folder / "optimised.bin").open("rb") as source, (folder / "weights.bin").open("wb") as stream:
        for tensor in outside:
            offset, length = read_external_range(tensor)
            if offset not in places:
                stream.write(b"\0" * (-stream.tell() % _CACHE_LINE))
                places[offset] = stream.tell()
                source.seek(offset)
                stream.write(source.read(length or 0))
            point_to_file(tensor, "weights.bin", places[offset], length or 0)


def _open_pieces(
    manifest: Manifest, pieces: Sequence[ExtractedStage], settings: Settings, folder: Path
) -> tuple[Manifest, list[ort.InferenceSession]]:
    tensors = dict(make_random_inputs(manifest.inputs, 0))  # not zeros, which a loop may never leave
    sessions, entries = [], []
    for piece, entry in zip(pieces, manifest.stages, strict=True):
        declare_boundary_tensors(piece.model, {name: tensors[name] for name in piece.reads})
        content = bytes(piece.model.SerializeToString())
        session = open_session(content, settings, batch_1=True, folder=folder, shared_arena=True, optimised=True)
        made = list(dict.fromkeys((entry.logits, entry.score, *piece.makes)))
        check_ends(session, entry.file, [*entry.inputs, *piece.reads], made)
        with translate_runtime_errors("ONNX Runtime cannot run the optimised stages"):
            values = session.run(made, {i.name: tensors[i.name] for i in session.get_inputs()})
        tensors |= dict(zip(made, values, strict=True))
        reads, makes = (_make_specs(names, tensors) for names in (piece.reads, piece.makes))
        entries.append(replace(entry, boundaries_in=reads, boundaries_out=makes))
        sessions.append(session)
    return replace(manifest, stages=tuple(entries)), sessions


def _make_specs(names: Iterable[str], tensors: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(n, str(tensors[n].dtype), tensors[n].shape) for n in names)

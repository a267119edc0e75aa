"""From a bundle's ONNX files to MNN's own format: made once by the converter in MNN's wheel, and kept in the user's cache.

    <cache>/mnn/<key>.mnn

The key holds the SHA-256 of the file and of its weights, MNN's version, and whether the batch is free. A bundle holds no converted file:
what MNN reads was made on this machine, by this user.

The converter is called in a process of its own (see `edgeexit.backends.mnn.child`). The command `mnnconvert` is not used: it installs a
package by pip and sends a usage report.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from edgeexit.backends.private_cache import keep_file, make_cache_folder, read_own_file
from edgeexit.bundle import Bundle
from edgeexit.errors import ModelError
from edgeexit.graph.layout import remove_layout_pools
from edgeexit.graph.onnx_files import load_binary
from edgeexit.util.child_processes import make_child_command
from edgeexit.util.scratch import make_scratch_folder

_FORMAT = 1  # raised when files are converted differently from the same inputs
_UNSUPPORTED = re.compile(r"These Op Not Support: ([^\n]+)")
_SAMPLES = 3  # with which a model of any batch is tried
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_MOST_NAMES = 12


def convert_file(bundle: Bundle, file: str, *, batch_1: bool = True, modules: bool = False) -> Path:
    """The converted form of an ONNX file of a bundle, from the cache or made now.

    Args:
        bundle: the bundle.
        file: the file's name in it.
        batch_1: fix the batch at 1; else it stays free.
        modules: it holds conditionals, which only the Module API runs.

    Raises:
        ModelError: MNN cannot convert or run it; with its reason and, where MNN says it, the operator.
        InputError: the cache cannot be written.
    """
    kept = make_cache_folder("mnn") / f"{_make_key(bundle, file, batch_1=batch_1)}.mnn"
    if not _is_kept(kept):
        with make_scratch_folder() as scratch:
            model = load_binary(bundle.file(file))
            if batch_1:
                _fix_batch(model.graph)
            remove_layout_pools(model.graph)  # made for ONNX Runtime; the converter ends on one inside a branch
            _link_weights(bundle, scratch)
            (scratch / "model.onnx").write_bytes(model.SerializeToString())
            done = _run_converter(scratch, model.graph, modules=modules)
            if done.returncode:
                raise ModelError(f"MNN {version('MNN')} cannot take {file}: {_explain(done, model.graph)}.")
            keep_file(kept, (scratch / "model.mnn").read_bytes())
    return kept


def _make_key(bundle: Bundle, file: str, *, batch_1: bool) -> str:
    """The name of a converted file: 32 hexadecimal digits over everything that it depends on."""
    files = bundle.manifest.files
    parts = {
        "format": _FORMAT,
        "model": files[file].sha256,
        "weights": sorted(entry.sha256 for name, entry in files.items() if name.endswith(".bin")),
        "mnn": version("MNN"),
        "batch_1": batch_1,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _is_kept(file: Path) -> bool:
    try:
        return bool(read_own_file(file))
    except OSError:
        return False


def _fix_batch(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1


def _link_weights(bundle: Bundle, folder: Path) -> None:
    """The bundle's weights beside the model, where the converter looks for them."""
    for name in bundle.manifest.files:
        if name.endswith(".bin"):
            (folder / name).symlink_to(bundle.file(name).resolve())


def _run_converter(folder: Path, graph: onnx.GraphProto, *, modules: bool) -> subprocess.CompletedProcess[str]:
    request = {
        "onnx": str(folder / "model.onnx"),
        "mnn": str(folder / "model.mnn"),
        "inputs": {value.name: _describe(value) for value in graph.input},
        "outputs": [value.name for value in graph.output],
        "modules": modules,
    }
    # By its file: as a module, its package would be imported with it, which takes longer than most conversions.
    code = (
        "import runpy; from edgeexit.util.child_processes import end_with_parent; end_with_parent(parent);"
        " child = runpy.run_path(sys.argv[1]); sys.exit(child['main'](sys.argv[2]))"
    )
    command = make_child_command(code, str(Path(__file__).with_name("child.py")), json.dumps(request))
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=folder)


def _describe(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [dim.dim_value or _SAMPLES for dim in kind.shape.dim]
    return {"shape": shape, "integer": kind.elem_type not in _FLOATS}


def _explain(done: subprocess.CompletedProcess[str], graph: onnx.GraphProto) -> str:
    found = _UNSUPPORTED.search(done.stdout)
    if found:
        return f"it has no operator {', '.join(found[1].replace('ONNX::', '').split())}"
    if done.returncode < 0:
        operators = sorted({node.op_type for node in graph.node})
        listed = ", ".join(operators[:_MOST_NAMES]) + (", ..." if len(operators) > _MOST_NAMES else "")
        return f"it ends with {signal.Signals(-done.returncode).name} on a model of the operators {listed}"
    return next(reversed(done.stderr.strip().splitlines()), "it gives no reason")

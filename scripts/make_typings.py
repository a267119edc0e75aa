"""Make typings/: signatures of NVIDIA's Python bindings, read off their own wheels, so that mypy can check the GPU backends with no GPU.

    python scripts/make_typings.py             write typings/
    python scripts/make_typings.py --check     compare with what lies there; exit code 1 where it differs

How: the wheels `tensorrt-cu*-bindings` hold the compiled bindings without the libraries behind them; of those they need a few C entry
points, which three empty shared objects made with gcc provide. Nothing can be built or run so, but every class and signature can be read.
cuda-python's bindings load the driver late and import as they are. pycuda is a source package that needs nvcc and a driver to build and
import: its signatures are read where it is importable, and left as they are elsewhere.

Kept are the classes and members that edgeexit uses, without a word of their documentation. Needs gcc, network to a package index, and
a Python for which the wheels exist (3.10 to 3.12).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "typings"

TENSORRT = {"tensorrt-10.3": "tensorrt-cu12-bindings==10.3.0", "tensorrt-11.4": "tensorrt-cu13-bindings==11.4.0.106"}
CUDA = {"cuda-12": "cuda-bindings==12.9.*", "cuda-13": "cuda-bindings==13.*"}

ENTRY_POINTS = [
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
]

CLASSES: dict[str, str] = {
    "Dims": "__getitem__ __len__",
    "DataType": "name FLOAT HALF INT8 INT32 INT64 UINT8 BOOL",
    "DeviceType": "GPU DLA",
    "BuilderFlag": "TF32 GPU_FALLBACK FP16",
    "MemoryPoolType": "WORKSPACE",
    "TacticSource": "__int__ __members__",
    "NetworkDefinitionCreationFlag": "STRONGLY_TYPED __int__",
    "TensorIOMode": "INPUT OUTPUT",
    "ExecutionContextAllocationStrategy": "USER_MANAGED",
    "ILogger": "Severity ERROR INTERNAL_ERROR __init__ log",
    "IProgressMonitor": "__init__ phase_start phase_finish step_complete",
    "ITensor": "name shape",
    "IHostMemory": "nbytes",
    "ITimingCache": "serialize",
    "INetworkDefinition": "num_inputs num_outputs get_input get_output",
    "IBuilderConfig": "builder_optimization_level max_aux_streams progress_monitor set_flag clear_flag set_memory_pool_limit"
    " set_tactic_sources default_device_type DLA_core create_timing_cache set_timing_cache",
    "Builder": "__init__ create_network create_builder_config build_serialized_network num_DLA_cores",
    "ErrorCode": "name",
    "ParserError": "code node_name node_operator desc",
    "OnnxParser": "__init__ parse num_errors get_error",
    "Runtime": "DLA_core __init__ deserialize_cuda_engine",
    "ICudaEngine": "num_io_tensors get_tensor_name get_tensor_shape get_tensor_dtype get_tensor_mode device_memory_size_v2"
    " create_execution_context num_layers create_engine_inspector",
    "LayerInformationFormat": "ONELINE",
    "EngineInspector": "get_layer_information",
    "IExecutionContext": "set_device_memory set_tensor_address execute_async_v3",
}
"""Class of tensorrt -> the members that edgeexit uses; one that a version lacks is left out there."""

REPAIRS = (
    (
        "def get_error(self, index: typing.SupportsInt) -> ...",
        "def get_error(self, index: typing.SupportsInt) -> ParserError",
    ),
    ("def get_error(self, index: int) -> ...", "def get_error(self, index: int) -> ParserError"),
    ("class IHostMemory:\n", "class IHostMemory:\n    def __buffer__(self, flags: int, /) -> memoryview: ...\n"),
)
"""What signatures leave out: a class that was registered later, and the buffer protocol, which has no name before Python 3.12."""

DRIVER = [
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceTotalMem",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease",
    "cuCtxPushCurrent",
    "cuCtxPopCurrent",
    "cuDevicePrimaryCtxSetFlags",
    "cuDevicePrimaryCtxGetState",
    "cuCtxGetCurrent",
    "cuMemAlloc",
    "cuMemFree",
    "cuMemHostAlloc",
    "cuMemHostGetDevicePointer",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync",
    "cuMemcpyDtoHAsync",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuStreamDestroy",
    "cuStreamBeginCapture",
    "cuStreamBeginCaptureToGraph",
    "cuStreamGetCaptureInfo",
    "cuStreamEndCapture",
    "cuGraphCreate",
    "cuGraphConditionalHandleCreate",
    "cuGraphAddNode",
    "cuGraphInstantiate",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuModuleUnload",
    "cuLaunchKernel",
]
NVRTC = [
    "nvrtcCreateProgram",
    "nvrtcCompileProgram",
    "nvrtcGetPTXSize",
    "nvrtcGetPTX",
    "nvrtcGetProgramLogSize",
    "nvrtcGetProgramLog",
    "nvrtcDestroyProgram",
]
ENUMS = {
    "CUstreamCaptureMode": "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL",
    "CUgraphNodeType": "CU_GRAPH_NODE_TYPE_CONDITIONAL",
    "CUgraphConditionalNodeType": "CU_GRAPH_COND_TYPE_IF",
    "CUresult": "CUDA_SUCCESS",
    "CUdevice_attribute": "CU_DEVICE_ATTRIBUTE_INTEGRATED",
}
STRUCTS = {"CUgraphNodeParams": "type conditional", "CUDA_CONDITIONAL_NODE_PARAMS": "handle type size phGraph_out ctx"}

PYCUDA_FUNCTIONS = [
    "init",
    "get_driver_version",
    "mem_alloc",
    "pagelocked_empty",
    "memcpy_htod_async",
    "memcpy_dtoh_async",
]
PYCUDA_CLASSES = {
    "Stream": "__init__ handle synchronize",
    "Device": "__init__ count name compute_capability total_memory get_attribute retain_primary_context",
    "Context": "push pop detach",
    "DeviceAllocation": "__int__ free",
    "HostAllocation": "free get_device_pointer",
}
PYCUDA_ENUMS = {
    "device_attribute": "MULTIPROCESSOR_COUNT GLOBAL_MEMORY_BUS_WIDTH L2_CACHE_SIZE MAX_SHARED_MEMORY_PER_MULTIPROCESSOR INTEGRATED"
    " ECC_ENABLED",
    "host_alloc_flags": "DEVICEMAP PORTABLE",
}
PYCUDA_ERRORS = ["MemoryError", "LogicError", "LaunchError", "RuntimeError"]


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    made = everything()
    different = [name for name, text in made.items() if _now(name) != text]
    if parser.parse_args().check:
        print("\n".join(f"differs: typings/{name}" for name in different) or "typings/ is what the wheels say")
        return int(bool(different))
    for name, text in made.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"wrote {len(made)} files, {len(different)} changed")
    return 0


def everything() -> dict[str, str]:
    """Every file below typings/ by name."""
    files: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        python = _environment(work / "env", ["pybind11-stubgen", "numpy"])
        for name, wheel in TENSORRT.items():
            raw = _tensorrt_stub(work / name, wheel, python)
            files[f"{name}/tensorrt/__init__.pyi"] = reduced(raw, wheel)
        for name, package in CUDA.items():
            python = _environment(work / name, [package])
            files[f"{name}/cuda/__init__.pyi"] = ""
            files[f"{name}/cuda/bindings/__init__.pyi"] = ""
            files |= {f"{name}/cuda/bindings/{k}.pyi": v for k, v in _cuda_stubs(python, package).items()}
    files["pycuda/pycuda/__init__.pyi"] = ""
    files["pycuda/pycuda/driver.pyi"] = _pycuda_stub()
    return files


def _run(command: list[str | Path], environment: dict[str, str] | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, env=environment, stdout=subprocess.DEVNULL)


def _now(name: str) -> str | None:
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.exists() else None


def _environment(folder: Path, packages: Iterable[str]) -> Path:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    _run([python, "-m", "pip", "install", "--quiet", "--no-input", *packages])
    return python


def _tensorrt_stub(folder: Path, wheel: str, python: Path) -> str:
    """pybind11-stubgen's view of the bindings in a wheel."""
    folder.mkdir()
    download: list[str | Path] = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, wheel]
    _run(download)
    _run([python, "-m", "zipfile", "-e", next(folder.glob("*.whl")), folder])
    major = wheel.partition("==")[2].partition(".")[0]
    _empty_libraries(folder, major)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(folder / "tensorrt_bindings")}
    stubgen: list[str | Path] = [
        python,
        "-m",
        "pybind11_stubgen",
        "tensorrt",
        "--ignore-all-errors",
        "-o",
        folder / "out",
    ]
    _run(stubgen, environment)
    return (folder / "out" / "tensorrt.pyi").read_text(encoding="utf-8")


def _empty_libraries(folder: Path, major: str) -> None:
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in ENTRY_POINTS))
    for name in ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin"):
        target = folder / f"{name}.so.{major}"
        _run(["gcc", "-shared", "-fPIC", "-o", target, source, f"-Wl,-soname,{target.name}"])


def reduced(raw: str, wheel: str) -> str:
    """The classes and members of `CLASSES` out of a whole stub, without documentation."""
    bare = re.sub(r'[ru]?"""(?:[^"\\]|\\.|"(?!""))*"""', "", raw)
    blocks = {m.group(1): b for b in re.split(r"(?m)^(?=class )", bare) if (m := re.match(r"class (\w+)", b))}
    parts = [_header(wheel), "import collections.abc\nimport typing\n\nimport typing_extensions\n\n__version__: str\n"]
    for name, members in CLASSES.items():
        parts.append(_class(blocks[name], set(members.split())))
    text = "\n".join(parts)
    for wrong, right in REPAIRS:
        text = text.replace(wrong, right)
    return text


def _header(what: str) -> str:
    return f"# Signatures of {what}, made by scripts/make_typings.py. Not to be edited.\n"


def _class(block: str, members: set[str]) -> str:
    """One class with some of its members. Overloads and properties come with their decorators."""
    body = re.split(r"(?m)^(?=\S)", block.partition("\n")[2])[0]
    pieces = re.findall(
        r"(?m)^    (?:@[^\n]*\n    )*(?:def [^\n]*|class [^\n]*|\w+:[^\n]*)(?:\n(?:        [^\n]*)?)*", body
    )
    kept = [
        _signature(p)
        for p in pieces
        if (found := re.match(r"    (?:def |class )?(\w+)", _last_head(p))) and found.group(1) in members
    ]
    return f"{block.splitlines()[0]}\n" + ("\n".join(kept) or "    ...") + "\n"


def _last_head(piece: str) -> str:
    return "\n".join(line for line in piece.splitlines() if not line.startswith("    @"))


def _signature(piece: str) -> str:
    lines = [line.rstrip() for line in piece.splitlines() if line.strip()]
    heads = [line for line in lines if line.startswith("    ") and not line.startswith("        ")]
    if heads[-1].lstrip().startswith("class "):
        inner = [line for line in lines if re.match(r"        \w+: ", line)]
        return "\n".join([*heads, *inner])
    return "\n".join(head + " ..." if head.endswith(":") else head for head in heads)


_READ_CUDA = """
import json
from cuda.bindings import driver, nvrtc
wanted = json.loads({wanted!r})
doc = lambda module, names: {{name: (getattr(module, name).__doc__ or "") for name in names}}
print(json.dumps({{"driver": doc(driver, wanted["driver"]), "nvrtc": doc(nvrtc, wanted["nvrtc"])}}))
"""


def _cuda_stubs(python: Path, package: str) -> dict[str, str]:
    """Stubs of the driver and NVRTC bindings: the first line of each function's documentation is its signature."""
    import json

    code = _READ_CUDA.format(wanted=json.dumps({"driver": DRIVER, "nvrtc": NVRTC}))
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    documents = json.loads(found.stdout)
    lines = [_header(package), "from typing import Any\n"]
    for name, member in ENUMS.items():
        lines.append(f"class {name}:\n    {member}: {name}\n")
    for name, fields in STRUCTS.items():
        lines.append(f"class {name}:\n" + "\n".join(f"    {field}: Any" for field in fields.split()) + "\n")
    driver = [_function(name, documents["driver"][name]) for name in DRIVER]
    nvrtc = [_function(name, documents["nvrtc"][name]) for name in NVRTC]
    return {
        "driver": "\n".join([*lines, *driver]) + "\n",
        "nvrtc": "\n".join([_header(package), "from typing import Any\n", *nvrtc]) + "\n",
    }


_C_TYPES = {
    "unsigned int": "int",
    "int": "int",
    "size_t": "int",
    "unsigned long long": "int",
    "char *": "bytes",
    "void_ptr": "int",
}


def _function(name: str, document: str) -> str:
    """`cuGraphCreate(unsigned int flags)` as Python; handles are Any, as the bindings take a handle or its number."""
    inside = document.strip().splitlines()[0].partition("(")[2].rpartition(")")[0]
    arguments = ", ".join(_argument(a.strip()) for a in re.split(r",(?![^\[]*\])", inside) if a.strip())
    returned = re.findall(
        r"(?m)^\s*(?:\w+ : )?:?(?:py:obj:)?`?~?\.?(\w+)`?\s*$",
        document.partition("Returns")[2].partition("See Also")[0],
    )
    kind = "tuple[Any, ...]" if len(returned) != 1 else "tuple[Any]"
    return f"def {name}({arguments}) -> {kind}: ..."


def _argument(text: str) -> str:
    named = re.match(r"(?:\w+ )?(\w+): *(.+)", text)
    if named and not text.startswith(("unsigned", "size_t", "char", "void_ptr", "int ")):
        return f"{named.group(1)}: Any"
    words = re.match(r"(unsigned int|unsigned long long|size_t|int|char \*|void_ptr) ?(\w+)", text)
    return f"{words.group(2)}: {_C_TYPES[words.group(1)]}" if words else f"{text.rsplit(maxsplit=1)[-1]}: Any"


def _pycuda_stub() -> str:
    """Pycuda's signatures where it can be imported; else what lies there."""
    try:
        import pycuda.driver as cuda
    except ImportError:
        return _now("pycuda/pycuda/driver.pyi") or ""
    lines = [_header("pycuda.driver 2026.1"), "from typing import Any, SupportsInt\n"]
    lines.append("class Error(Exception): ...\n")
    lines += [f"class {name}(Error): ..." for name in PYCUDA_ERRORS]
    for name, members in PYCUDA_ENUMS.items():
        lines.append(
            f"\nclass {name}:\n"
            + "\n".join(f"    {m}: {name}" for m in members.split() if hasattr(getattr(cuda, name), m))
        )
    for name, members in PYCUDA_CLASSES.items():
        lines.append(
            f"\nclass {name}:\n"
            + "\n".join(_boost(m, getattr(getattr(cuda, name), m).__doc__) for m in members.split())
        )
    lines += ["", *(_boost(name, getattr(cuda, name).__doc__).strip() for name in PYCUDA_FUNCTIONS)]
    return "\n".join(lines) + "\n"


def _boost(name: str, document: str | None) -> str:
    """Boost.Python's `f( (int)a [, (object)b=None]) -> None :` as Python. A member that it does not document is an attribute."""
    found = re.match(rf"{name}\((.*)\) -> (\w+) :", (document or "").strip().splitlines()[0] if document else "")
    if not found:
        return f"    {name}: int"
    arguments: list[str] = []
    for kind, argument, default in re.findall(r"\((\w+)\)(\w+)(?:=([^\],\[ ]+))?", found.group(1)):
        typed = (
            "self"
            if not arguments and argument in ("arg1", "self") and name not in PYCUDA_FUNCTIONS
            else f"{argument}: {_boost_type(kind)}"
        )
        arguments.append(typed + (f" = {default}" if default and typed != "self" else ""))
    static = "" if arguments[:1] == ["self"] or name in PYCUDA_FUNCTIONS else "    @staticmethod\n"
    returned = {"object": "Any", "tuple": "tuple[Any, ...]"}.get(found.group(2), found.group(2))
    returned = "None" if name == "__init__" else returned
    return f"{static}    def {name}({', '.join(arguments)}) -> {returned}: ..."


def _boost_type(kind: str) -> str:
    return {"object": "Any", "int": "SupportsInt"}.get(kind, kind)


if __name__ == "__main__":
    sys.exit(main())

"""Run a command as on a CPU with AVX2 and without AVX-512 and VNNI, on one that has them.

    python -m benchmarks avx2 python -m benchmarks int8

Three things are changed for the command and the processes that it starts, nothing else on the machine:

* `/proc/cpuinfo`, in a mount namespace of the command's own: the flags are taken out, and the CPU's name says so, so that records and
  calibrations made there have a device key of their own.
* ONNX Runtime and MNN, copied into a folder that is imported first: where the copies ask which register states the system saves (`xgetbv`),
  they read the value of a CPU without AVX-512, and ONNX Runtime reads that there is no AVX-VNNI.
* `ONEDNN_MAX_CPU_ISA=AVX2`, which OpenVINO's kernels heed.

It shows which kernels the runtimes choose on such a CPU, at the clock, caches and memory of this one: ratios, not times, carry over. Linux
on x86-64; `unshare` of util-linux, as root or where users may make namespaces.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgeexit.errors import InputError

PACKAGES = ("onnxruntime", "MNN")
"""Distributions whose libraries choose their kernels by `cpuid` and `xgetbv`."""

_HIDDEN = re.compile(r" (avx512\w*|avx_vnni\w*|amx_\w+)\b")
_NAME = re.compile(r"(model name\s*:.*)")
_PATCHES = {  # read "the system saves x87, SSE and AVX registers" (7) where the processor would be asked
    b"\x0f\x01\xd0\x89\xc0\x48\xc1\xe2": b"\xb8\x07\x00\x00\x00\x48\xc1\xe2",  # xgetbv; mov eax, eax; shl rdx, .. -> mov eax, 7; ..
    b"\x31\xc9\x0f\x01\xd0": b"\x31\xc9\xb0\x07\x90",  # xor ecx, ecx; xgetbv -> ..; mov al, 7; nop
    b"\x0f\xa2\xa8\x10": b"\x0f\xa2\xa8\x00",  # cpuid; test al, 16 (AVX-VNNI) -> ..; test al, 0
}


def main() -> None:
    """Make the copies and run the command.

    Raises:
        InputError: no command, or it failed; see `hide_avx512`.
    """
    parser = argparse.ArgumentParser("avx2", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="and its arguments")
    command = parser.parse_args().command
    if not command:
        parser.error("a command is missing, such as: python -m benchmarks int8")
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(hide_avx512(command, Path(folder)), env=make_environment(Path(folder)), check=False)
    if ended.returncode:
        msg = f"The command ended with exit code {ended.returncode}."
        raise InputError(msg)


def hide_avx512(command: list[str], folder: Path) -> list[str]:
    """Write what the command sees into the folder; the command line that shows it to the command.

    Raises:
        InputError: not Linux on x86-64, no `unshare`, or ONNX Runtime asks for the processor in a way that is not known here.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64" or not shutil.which("unshare"):
        msg = "AVX-512 can be hidden on Linux on x86-64 only, with the program `unshare` (package util-linux)."
        raise InputError(msg)
    for name in PACKAGES:
        copy_distribution(name, folder)
    (folder / "cpuinfo").write_text(hide_flags(Path("/proc/cpuinfo").read_text(encoding="utf-8")), encoding="utf-8")
    space = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    return [*space, "sh", "-c", 'mount --bind "$0" /proc/cpuinfo && exec "$@"', str(folder / "cpuinfo"), *command]


def make_environment(folder: Path) -> dict[str, str]:
    """The environment of this process, with the copies before everything else that is imported."""
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, "ONEDNN_MAX_CPU_ISA": "AVX2"}


def hide_flags(cpuinfo: str) -> str:
    r"""The text of /proc/cpuinfo of the same CPU without AVX-512, VNNI and AMX.

    Example:
        >>> hide_flags("model name\t: Some CPU\nflags\t: sse avx2 avx512f avx512_vnni\n").split("\n")[:2]
        ['model name\t: Some CPU, AVX2 only', 'flags\t: sse avx2']
    """
    return _NAME.sub(r"\1, AVX2 only", _HIDDEN.sub("", cpuinfo))


def copy_distribution(name: str, folder: Path) -> None:
    """Copy the files of an installed distribution, libraries with the patches; one that is not installed is left out."""
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        return
    patched = 0
    for file in files:
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        path, copy = Path(str(file.locate())), folder / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        if ".so" in file.name:
            found, count = patch(path.read_bytes())
            copy.write_bytes(found)
            patched += count
        else:
            shutil.copyfile(path, copy)
    if not patched:
        msg = f"{name} {importlib.metadata.version(name)} asks for the processor in a way that is not known here."
        raise InputError(msg)


def patch(library: bytes) -> tuple[bytes, int]:
    """A library with every patch, of the same length, and how often one was made."""
    count = 0
    for before, after in _PATCHES.items():
        count += library.count(before)
        library = library.replace(before, after)
    return library, count


if __name__ == "__main__":
    main()

"""The process inside callgrind: `main` of this module, with a plan in JSON.

    import, load ─ instrumentation on ─ every region: warm-up ─ collect on ─ inferences ─ collect off ─ dump

Callgrind is controlled by its client requests: a sequence of instructions that does nothing on a CPU and that valgrind looks for
(valgrind.h, x86-64). They come from 29 bytes of machine code in an executable page, so neither a compiler nor callgrind.h is needed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeexit.runtime import load

_X86_64 = bytes.fromhex(
    "4889f0"  # mov rax, rsi      the request and its arguments
    "4889fa"  # mov rdx, rdi      what to answer on a bare CPU
    "48c1c703 48c1c70d 48c1c73d 48c1c733"  # rol rdi by 3, 13, 61, 51: 128 bits, nothing changes
    "4887db"  # xchg rbx, rbx     valgrind looks here
    "4889d0"  # mov rax, rdx
    "c3"  # ret
)
_RUNNING_ON_VALGRIND = 0x1001
_CALLGRIND = ord("C") << 24 | ord("T") << 16
_TOGGLE_COLLECT, _DUMP_AT, _START, _STOP = (_CALLGRIND + n for n in (2, 3, 4, 5))

Request = Callable[..., int]


def make_client_request() -> Request:
    """A function that issues a client request: `request(code, *arguments)`; 0 outside valgrind.

    Raises:
        RuntimeError: not on x86-64.
    """
    if platform.machine() != "x86_64":
        msg = f"client requests are written for x86-64, not {platform.machine()}"
        raise RuntimeError(msg)
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_X86_64)
    array = ctypes.POINTER(ctypes.c_uint64)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    stub = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, array)(address)

    def request(code: int, *arguments: int) -> int:
        return int(stub(0, (ctypes.c_uint64 * 6)(code, *arguments)))

    request.page = page  # type: ignore[attr-defined]  # the code lives as long as the function
    return request


def main(plan_file: str) -> None:
    """Run every region of the plan, so that callgrind writes a dump of each."""
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    request = make_client_request()
    if request(_RUNNING_ON_VALGRIND) == 0:
        sys.exit("this process is not inside valgrind")
    feed = _read_feed(plan["inputs"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = _Runs(plan)
    gc.collect()
    gc.disable()
    request(_START)
    for region in plan["regions"]:  # so that the first region finds the caches as the others do
        _warm(runs.get_call(region), feed, plan["warmups"])
    _read_all(feed)
    for region in plan["regions"]:
        _collect(request, region["name"], runs.get_call(region), feed, plan["warmups"])
    request(_STOP)


def _collect(request: Request, name: str, run: Callable[[Any], object], feed: Sequence[Any], warmups: int) -> None:
    """Warm the simulated caches with what follows, count the inferences of the feed, and write them as a dump of that name."""
    _warm(run, feed, warmups)
    label = ctypes.create_string_buffer(name.encode())
    request(_TOGGLE_COLLECT)
    for x in feed:
        run(x)
    request(_TOGGLE_COLLECT)
    request(_DUMP_AT, ctypes.addressof(label))


def _warm(run: Callable[[Any], object], feed: Sequence[Any], warmups: int) -> None:
    for i in range(warmups):
        run(feed[i % len(feed)])


def _read_all(feed: Sequence[Any]) -> None:
    """Bring every input into the caches: the first region would miss each once, 47 lines of a digit, and the others not."""
    for x in feed:
        for array in x.values() if isinstance(x, dict) else (x,):
            array.sum()


class _Runs:
    """Work of a measured region: leaving at a forced exit, the mixture at some thresholds, or the backbone."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._runner = load(plan["bundle"], **plan["settings"])
        self._backbone = self._runner.backbone() if any(r["kind"] == "backbone" for r in plan["regions"]) else None

    def get_call(self, region: dict[str, Any]) -> Callable[[Any], object]:
        """A callable that runs one input as the region says."""
        if region["kind"] == "backbone":
            assert self._backbone is not None
            return self._backbone
        if region["kind"] == "forced":
            exit_number = int(region["exit"])
            return lambda x: self._runner.forced(x, exit=exit_number)
        self._runner.inner_thresholds = tuple(float(t) for t in region["inner_thresholds"])
        return self._runner


def _read_feed(path: str) -> list[Any]:
    """Inputs of an .npz as [1, ...] each: one array named `x`, or a mapping by input name."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    n = len(next(iter(arrays.values())))
    if list(arrays) == ["only"]:
        return [np.ascontiguousarray(arrays["only"][i : i + 1]) for i in range(n)]
    return [{name: np.ascontiguousarray(array[i : i + 1]) for name, array in arrays.items()} for i in range(n)]

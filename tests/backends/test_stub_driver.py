"""The CUDA layer on the real pycuda and the real cuda-python, over a driver without a GPU: argument types, return values, handles.

Each test is a process of its own: the driver is loaded once in a process. `make test-tensorrt` installs cuda-python; pycuda, which needs
nvcc, is used where it is installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "support" / "stub_driver" / "driver.c"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("cuda") or not find_spec("cuda.bindings"), reason="cuda-python is not installed"),
    pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler for the stub driver"),
]


def _list_missing(library: Path, extension: Path) -> set[str]:
    """Functions of the driver that an extension is linked against and the stub does not have."""
    names = [
        set(
            re.findall(
                r"\b(cu[A-Z]\w+)$", subprocess.check_output(["nm", "-D", kind, str(file)], text=True), re.MULTILINE
            )
        )
        for file, kind in ((extension, "--undefined-only"), (library, "--defined-only"))
    ]
    return names[0] - names[1]


def _compile(folder: Path, *sources: Path) -> Path:
    library = folder / "libcuda.so.1"
    command = ["cc", "-shared", "-fPIC", "-w", "-O1", f"-Wl,-soname,{library.name}", "-o", library, *sources, "-ldl"]
    subprocess.run([str(part) for part in command], check=True)
    return library


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the stub driver; what pycuda alone links against answers success."""
    folder = tmp_path_factory.mktemp("driver")
    library = _compile(folder, SOURCE)
    pycuda = find_spec("pycuda")
    if pycuda is not None and pycuda.submodule_search_locations:
        (extension,) = Path(pycuda.submodule_search_locations[0]).glob("_driver*.so")
        rest = folder / "rest.c"
        rest.write_text(
            "".join(f"int {name}(void) {{ return 0; }}\n" for name in sorted(_list_missing(library, extension)))
        )
        _compile(folder, SOURCE, rest)
    return folder


def _run(driver: Path, script: str, *, hide: str = "", **environment: str) -> dict[str, Any]:
    """What a script prints as JSON on the stub driver; the package of that name cannot be imported."""
    prelude = f"import sys; sys.modules[{hide!r}] = None\n" if hide else ""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    libraries = os.pathsep.join(
        filter(None, [str(driver), os.environ.get("LD_LIBRARY_PATH", "")])
    )  # pycuda needs curand
    done = subprocess.run(
        [sys.executable, "-c", prelude + _STAGES + script],
        env={**os.environ, "LD_LIBRARY_PATH": libraries, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


_STAGES = """
import json, threading
import numpy as np
from edgeexit.backends.cuda import *
from edgeexit.backends.cuda import choice
from edgeexit.backends.cuda.graphs import capture_graph
choice.WARM_S, choice.ROUNDS = 0.0, 2

def make_plans(stream, memory, scores, copies=1):
    plans = []
    for score in scores:
        source, out = (memory.allocate_pinned((64,), np.float32) for _ in range(2))
        source.host[:] = score
        address = memory.device(256)
        def enqueue(_handle, address=address, source=source, out=out):
            for _ in range(copies):
                stream.copy_in(address, source.host)
            stream.copy_out(out.host, address)
        plans.append(StagePlan(enqueue, out.host, out.address))
    return plans
"""

_DECIDE = """
device = CudaDevice(spin=True)
with device.active("testing"):
    stream, memory = CudaStream(device), DeviceMemory(device)
    plans = make_plans(stream, memory, (0.5, 0.7, 0.9))
    found = compare_deciders(stream, plans, memory, {})
    decider, reasons = choose_decider(stream, plans, memory, {}, ("device", "graph"))
    exits = [decider.run(t) for t in ((0.4, 0.0), (0.5, 0.0), (0.6, 0.6), (0.6, 0.8), (float("nan"), 0.6))]
    decider.close(), memory.close(), stream.close()
facts, name, wait = device.facts, device.calls.name, device.wait
device.close()
print(json.dumps({"timed": sorted(found.median_s), "reasons": found.reasons | dict(reasons), "decider": decider.name, "exits": exits,
                  "by": name, "wait": wait, "capability": facts.compute_capability, "integrated": facts.integrated}))
"""


@pytest.mark.parametrize("by", ["cuda-python", "pycuda"])
def test_all_three_ways_to_decide_leave_where_the_rule_says(driver: Path, by: str) -> None:
    """By the real packages: a graph per stage, and one of nested conditional nodes."""
    if by == "pycuda" and not find_spec("pycuda"):
        pytest.skip("pycuda is not installed: it needs nvcc")
    found = _run(driver, _DECIDE, hide="pycuda" if by == "cuda-python" else "")
    assert ["device", "graph", "host"] == found["timed"]
    assert {} == found["reasons"]
    assert ["device", [1, 1, 2, 3, 2]] == [found["decider"], found["exits"]]
    assert [by, "spin", "8.7", True] == [found[name] for name in ("by", "wait", "capability", "integrated")]


def test_the_drivers_of_every_jetpack_take_the_kernel(driver: Path) -> None:
    """CUDA 12.4 takes PTX up to 8.4; what is newer than a driver is refused, which an NVRTC from pip would be."""
    assert {} == _run(driver, _DECIDE, STUB_CUDA_VERSION="12040", STUB_CUDA_PTX="84")["reasons"]
    refused = _run(driver, _DECIDE, STUB_CUDA_PTX="69")
    assert "graph" == refused["decider"]
    assert "UNSUPPORTED_PTX_VERSION" in refused["reasons"]["device"]


def test_a_driver_before_conditional_nodes_falls_back(driver: Path) -> None:
    """And says which version it is of."""
    found = _run(driver, _DECIDE, STUB_CUDA_VERSION="12020")
    assert "graph" == found["decider"]
    assert "12.2" in found["reasons"]["device"]


def test_a_failed_capture_leaves_the_stream_usable(driver: Path) -> None:
    """What waits for the stream inside a capture is refused by the driver itself."""
    script = """
device = CudaDevice(spin=False)
with device.active("testing"):
    stream, memory = CudaStream(device), DeviceMemory(device)
    (plan,) = make_plans(stream, memory, (0.5,))
    try:
        capture_graph(stream, lambda _: stream.synchronize())
        refused = ""
    except DeciderUnavailable as error:
        refused = str(error)
    graph = capture_graph(stream, plan.enqueue)
    graph.launch()
    stream.synchronize()
    score = float(plan.score[0])
    graph.close(), memory.close(), stream.close()
device.close()
print(json.dumps({"refused": refused, "score": score}))
"""
    found = _run(driver, script)
    assert "capturing a graph failed" in found["refused"]
    assert 0.5 == found["score"]


def test_programs_are_set_up_while_others_run(driver: Path) -> None:
    """Two hundred captures beside a thread that launches: on one stream they would break it."""
    script = """
device = CudaDevice(spin=False)
with device.active("first"):
    stream, memory = CudaStream(device), DeviceMemory(device)
    first = GraphDecider(stream, make_plans(stream, memory, (0.5, 0.7, 0.9), 20))
faults, runs, done = [], 0, False

def work():
    global runs
    while not done:
        try:
            with device.active("running"):
                runs += first.run((0.6, 0.8)) == 3
        except Exception as error:
            faults.append(str(error))

thread = threading.Thread(target=work)
thread.start()
for _ in range(200):
    with device.active("cloning"):
        own, room = CudaStream(device), DeviceMemory(device)
        clone = GraphDecider(own, make_plans(own, room, (0.1, 0.2, 0.3), 20))
        clone.close(), room.close(), own.close()
done = True
thread.join()
print(json.dumps({"faults": faults[:3], "runs": runs}))
"""
    found = _run(driver, script)
    assert [] == found["faults"]
    assert found["runs"] > 0

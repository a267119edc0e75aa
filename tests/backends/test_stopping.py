"""A network that loops without end is stopped after a limit while it is compiled, and by Ctrl-C in the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgeexit
from edgeexit.backends.stopping import allow_run_limit, end_runs, enforce_run_limit, limit_graph_runs, run_options
from edgeexit.errors import ModelError


def looping(path: Path, trips: int) -> Path:
    """Two exits, the second behind a loop of that many trips."""
    value = helper.make_tensor_value_info
    scalar: list[int] = []
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["again"]), helper.make_node("Sin", ["v"], ["next"])],
        "body",
        [
            value("i", TensorProto.INT64, scalar),
            value("c", TensorProto.BOOL, scalar),
            value("v", TensorProto.FLOAT, None),
        ],
        [value("again", TensorProto.BOOL, scalar), value("next", TensorProto.FLOAT, None)],
    )
    weights = {"trips": np.array(trips, np.int64), "w": np.random.default_rng(0).standard_normal((4, 3)).astype("f")}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z1"]),
        helper.make_node("Loop", ["trips", "", "x"], ["m"], body=body),
        helper.make_node("MatMul", ["m", "w"], ["z2"]),
    ]
    outputs = [value(z, TensorProto.FLOAT, ["n", 3]) for z in ("z1", "z2")]
    tensors = [numpy_helper.from_array(a, name) for name, a in weights.items()]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, ["n", 4])], outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_loop_without_end_is_a_model_error_and_one_that_ends_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is that of one run; runs after it are not tried."""
    monkeypatch.setenv("EDGEEXIT_RUN_LIMIT_S", "0.3")

    with pytest.raises(ModelError, match=r"Loop that did not end within 0\.3 s.*smaller trip count"):
        edgeexit.compile(looping(tmp_path / "endless.onnx", 1 << 40), tmp_path / "a.eexit", seconds=0)
    assert 2 == edgeexit.compile(looping(tmp_path / "m.onnx", 3), tmp_path / "b.eexit", seconds=0).manifest.exits


def test_a_network_without_a_loop_has_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It always comes to an end, however slow the machine."""
    monkeypatch.setenv("EDGEEXIT_RUN_LIMIT_S", "0.1")
    straight = onnx.load(looping(tmp_path / "m.onnx", 3))
    del straight.graph.node[1]

    with allow_run_limit():
        limit_graph_runs(straight.graph)
        options = run_options()
        with enforce_run_limit():
            time.sleep(0.3)
        assert not options.terminate


def test_runs_of_a_thread_are_ended_until_it_goes_on(tmp_path: Path) -> None:
    """And can run again afterwards."""
    import onnxruntime as ort

    session = ort.InferenceSession(looping(tmp_path / "m.onnx", 1 << 40), providers=["CPUExecutionProvider"])
    options = run_options()
    stopper = threading.Timer(0.5, end_runs, args=(threading.get_ident(),))
    safety = threading.Timer(20, setattr, args=(options, "terminate", True))
    stopper.start()
    safety.start()
    with pytest.raises(Exception, match="terminate flag"):
        session.run(None, {"x": np.zeros((1, 4), np.float32)}, options)
    stopper.join()
    safety.cancel()

    assert not options.terminate


_RUNS_WITHOUT_END = """
import os, sys, threading
import numpy as np, onnxruntime as ort
from edgeexit.backends.stopping import run_options
from edgeexit.cli.interrupts import allow_interrupts

session, options = ort.InferenceSession(sys.argv[1]), run_options()
threading.Timer(60, setattr, args=(options, "terminate", True)).start()
try:
    with allow_interrupts():
        print("running", flush=True)
        session.run(None, {"x": np.zeros((1, 4), np.float32)}, options)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os._exit(0)
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_run_of_the_main_thread(tmp_path: Path) -> None:
    """Which then raises what Ctrl-C always raises."""
    model = looping(tmp_path / "m.onnx", 1 << 40)
    command = [sys.executable, "-c", _RUNS_WITHOUT_END, str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "running\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert "interrupted\n" == process.stdout.readline()

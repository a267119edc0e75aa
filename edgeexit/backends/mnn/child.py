"""What the process does that converts a model: it converts it, opens what comes out, and runs it once on zeros.

A model that MNN's converter or its kernels cannot take may end the process; this one then, and not the user's.

    exit status 0   the model is converted and runs
    exit status 1   it is not; the last line of the standard error says why, what MNN printed is on the standard output
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

_ERROR = 1


def main(request: str) -> int:
    """Convert a model as a request in JSON says.

    Args:
        request: `onnx` and `mnn`, the two files; `inputs`, the shape and whether it is of integers, by name; `outputs`, their names;
            `modules`, whether the Module API is to run it.
    """
    asked = json.loads(request)
    import _tools

    arguments = ["-f", "ONNX", "--modelFile", asked["onnx"], "--MNNModel", asked["mnn"], "--bizCode", "edgeexit"]
    _tools.mnnconvert(["mnnconvert", *arguments])
    if not Path(asked["mnn"]).is_file():
        return _fail("it is not converted")
    reason = _try_module(asked) if asked["modules"] else _try_session(asked)
    return _fail(reason) if reason else 0


def _fail(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return _ERROR


def _try_session(asked: dict[str, Any]) -> str:
    """Reason why a session cannot be run; empty where it can."""
    import MNN

    net = MNN.Interpreter(asked["mnn"])
    session = net.createSession({"backend": 0, "numThread": 1})
    for name, tensor in net.getSessionInputAll(session).items():
        net.resizeTensor(tensor, tuple(asked["inputs"][name]["shape"]))
    net.resizeSession(session)
    missing = set(asked["outputs"]) - set(net.getSessionOutputAll(session))
    if missing:
        return f"it does not give {', '.join(sorted(missing))}"
    code = net.runSession(session)
    return f"a run ends with MNN's error {code}" if code else ""


def _try_module(asked: dict[str, Any]) -> str:
    """Reason why a module cannot be run; empty where it can."""
    import MNN
    from MNN import expr

    names = list(asked["inputs"])
    module = MNN.nn.load_module_from_file(asked["mnn"], names, asked["outputs"])
    values = [_make_zeros(expr, **described) for described in asked["inputs"].values()]
    given = module.forward(values)
    return "" if len(given) == len(asked["outputs"]) else "it does not give all its outputs"


def _make_zeros(expr: Any, shape: list[int], *, integer: bool) -> Any:
    value = expr.placeholder(shape, expr.NCHW, expr.int if integer else expr.float)
    value.write([0] * math.prod(shape))
    return value

"""int8 products on x86-64 without VNNI, where ONNX Runtime has to be asked for whole sums.

There it adds two products in 16 bits, and what does not fit is cut off: logits by a third off where weights use all of their range. Asked
for precision it keeps weights as unsigned numbers, whose products it adds in 32 bits (its pull request 12088), at the price of speed.
Its 1.31 cannot take every model so: one quantised by its own tools, whose weights share a zero point, may be refused ("Attempt to replace
the existing tensor"). Such a model is opened as everybody opens it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from edgeexit.backends.onnxruntime.errors import list_runtime_exceptions
from edgeexit.errors import ModelError
from edgeexit.hardware import read_device_facts

INT32_ACCUMULATION = "session.x64quantprecision"

_Session = TypeVar("_Session")


def may_saturate_int8(root: Path = Path("/")) -> bool:
    """Whether this is an x86-64 processor without VNNI, or one that does not say what it can do."""
    facts = read_device_facts(root)
    return facts["arch"].lower() in ("x86_64", "amd64") and "vnni" not in facts.get("isa", "")


def open_with_int32_accumulation(open_with: Callable[[bool], _Session]) -> _Session:
    """A session with whole sums where they have to be asked for and the runtime can take the model so, else one without.

    Args:
        open_with: opens the session; told whether to ask for whole sums.
    """
    if may_saturate_int8():
        with suppress(ModelError, *list_runtime_exceptions()):
            return open_with(True)
    return open_with(False)

"""int8 products on x86-64 without VNNI, where ONNX Runtime has to be configured for int32 accumulation.

There it accumulates pairs of products in int16 with saturation; logits can be off by a third when weights use their full range. Asked
for precision it keeps weights as unsigned numbers, whose products it adds in 32 bits (its pull request 12088), at the price of speed.
Its 1.31 cannot take every model so: one quantised by its own tools, whose weights share a zero point, may be refused ("Attempt to replace
the existing tensor"). Such a model is opened with the default setting.
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
    """Open a session with int32 accumulation if the processor needs it and the runtime accepts the model, else with the default.

    Args:
        open_with: opens the session; its argument says whether to ask for int32 accumulation.
    """
    if may_saturate_int8():
        with suppress(ModelError, *list_runtime_exceptions()):
            return open_with(True)
    return open_with(False)

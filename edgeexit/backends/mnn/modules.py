"""The fused graph in MNN's Module API, whose `If` computes one branch only; its sessions compute both.

A module gives new variables with each run, so that the three results are copied out of them; the call holds Python's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeexit.backends.base import Array, Settings
from edgeexit.backends.host import Bind
from edgeexit.backends.mnn.library import import_mnn, make_configuration
from edgeexit.errors import ModelError


def make_module_binder(file: Path, inputs: Sequence[str], outputs: Sequence[str], settings: Settings) -> Bind:
    """One converted model with conditionals, bound to NumPy buffers.

    Args:
        file: the model.
        inputs: names of its inputs, in any order.
        outputs: names of its outputs.
        settings: threads and precision.
    """
    mnn = import_mnn()

    def bind(_place: int, buffers: Mapping[str, Array]) -> Callable[[], None]:
        manager = mnn.nn.create_runtime_manager((make_configuration(settings),))
        module = mnn.nn.load_module_from_file(
            str(file), list(inputs), list(outputs), runtime_manager=manager, shape_mutable=True
        )
        fills = [_make_variable(mnn, buffers[name]) for name in inputs]
        variables = [variable for variable, _, _ in fills]
        targets = [buffers[name] for name in outputs]

        def run(_alive: object = manager) -> None:
            for variable, buffer, kind in fills:
                variable.write(buffer if buffer.dtype == kind else buffer.astype(kind))
            given = module.forward(variables)
            if len(given) != len(targets):
                raise ModelError("MNN cannot run the model: it gives no results.")
            for target, value in zip(targets, given, strict=True):
                target[...] = value.read().reshape(target.shape)

        return run

    return bind


def _make_variable(mnn: Any, buffer: Array) -> tuple[Any, Array, type[np.generic]]:
    """A variable of an input, the buffer that it is written from, and what MNN holds its numbers as."""
    real = np.issubdtype(buffer.dtype, np.floating)
    variable = mnn.expr.placeholder(list(buffer.shape), mnn.expr.NCHW, mnn.expr.float if real else mnn.expr.int)
    return variable, buffer, np.float32 if real else np.int32

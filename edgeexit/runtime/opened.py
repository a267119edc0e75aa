"""Base of Runner and Backbone: one program of a bundle, opened, with its lock; inputs in, a prediction out."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, TypeAlias

import numpy as np

from edgeexit.backends import Program, Settings, find_backend
from edgeexit.bundle import Bundle
from edgeexit.errors import InputError
from edgeexit.graph.model import TensorSpec
from edgeexit.runtime.forking import ENDING, keep_until_exit, register_for_fork
from edgeexit.runtime.inputs import Inputs, make_input_writer, match_inputs_by_name
from edgeexit.runtime.prediction import Prediction


class OpenedProgram:
    """A program of a bundle and its lock, inputs in, prediction out."""

    def __init__(self, bundle: Bundle, settings: Settings, program: Program) -> None:
        self.bundle = bundle
        self.settings = settings
        self.classes = bundle.manifest.classes
        self._program = program
        self._specs = bundle.manifest.inputs
        self._fills = make_input_writers(self._specs, program)
        self._fill_only = next(iter(self._fills.values())) if len(self._fills) == 1 else None
        self._lock = threading.Lock()
        self._open = True
        self._why_closed = "it is closed: load the bundle again."
        abandon = type(self)._abandon  # noqa: SLF001 - its own method, not bound to it, so that it can be freed
        register_for_fork(self, self._lock, abandon, survives=program.survives_fork)

    def _refuse_closed(self) -> None:
        if self._why_closed == ENDING and threading.current_thread() is not threading.main_thread():
            raise SystemExit  # ends the thread without a word, as the interpreter does in a moment
        if not self._open:
            raise InputError(f"this runner cannot run: {self._why_closed}")

    def _abandon(self, reason: str) -> None:
        """In a forked child, or at the end of the process: refuse every call, and leave the engines alone."""
        keep_until_exit(self._program)
        self._open, self._why_closed = False, reason

    def _write(self, x: Inputs) -> None:
        if not self._open:
            self._refuse_closed()
        if self._fill_only is not None and type(x) is np.ndarray:
            self._fill_only(x)
        else:
            write_by_name(x, self._specs, self._fills)

    def _read(self, program: Program, exit: int, sign: int, *, late: bool = False, shown: int = 0) -> Prediction:
        logits = program.logits(exit)[0].copy()
        label = int(logits.argmax())
        if math.isnan(logits.item(label)):  # argmax finds NaN before any number
            msg = f"the network gave NaN at exit {exit}; its weights or its precision overflow on this input."
            raise InputError(msg)
        return Prediction(label, shown or exit, sign * program.score(exit), logits, late)

    def close(self) -> None:
        """Give engines and memory back; calls after it are refused."""
        with self._lock:
            if self._open:
                self._open = False
                self._program.close()

    def __reduce__(self) -> NoReturn:
        msg = f"a {type(self).__name__} holds engines of this process and cannot be pickled: load the bundle in the other process."
        raise InputError(msg)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


InputWriters: TypeAlias = Mapping[str, Callable[[Any], None]]


def make_input_writers(specs: Sequence[TensorSpec], program: Program) -> InputWriters:
    """Make what copies each input into the program's memory, by name."""
    return {spec.name: make_input_writer(spec, program.inputs[spec.name]) for spec in specs}


def write_by_name(x: Inputs, specs: Sequence[TensorSpec], fills: InputWriters) -> None:
    """Copy an input, one array or a dict of them, into the program's memory."""
    arrays = match_inputs_by_name(x, specs)
    for name, fill in fills.items():
        fill(arrays[name])


class Backbone(OpenedProgram):
    """The network run directly to its last exit; called like a Runner. Its predictions have no score (NaN)."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        super().__init__(bundle, settings, find_backend(settings.backend).open_backbone(bundle, settings))
        self._last = bundle.manifest.exits

    def __call__(self, x: Inputs) -> Prediction:
        """Classify one input [1, ...]."""
        with self._lock:
            self._write(x)
            self._program.run(())
            return self._read(self._program, 1, 1, shown=self._last)

    def __enter__(self) -> Backbone:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._refuse_closed()
        return self

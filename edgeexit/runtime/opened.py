"""Base of Runner and Backbone: one program of a bundle, opened, with its lock; inputs in, a prediction out."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import NoReturn

from edgeexit.backends import Program, Settings, find_backend
from edgeexit.bundle import Bundle
from edgeexit.errors import InputError
from edgeexit.runtime.forking import ENDING, keep_until_exit, register_for_fork
from edgeexit.runtime.inputs import Inputs, make_inputs_writer
from edgeexit.runtime.prediction import Prediction
from edgeexit.runtime.reading import make_reader


class OpenedProgram:
    """A program of a bundle and its lock, inputs in, prediction out."""

    def __init__(self, bundle: Bundle, settings: Settings, program: Program) -> None:
        self.bundle = bundle
        self.settings = settings
        self.classes = bundle.manifest.classes
        self._program = program
        self._run = program.run
        self._specs = bundle.manifest.inputs
        self._write = make_inputs_writer(self._specs, program.inputs)
        self._lock = threading.Lock()
        self._open = True
        self._ready = True  # open, and a call has nothing to do but to run
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
        self._open, self._ready, self._why_closed = False, False, reason

    def close(self) -> None:
        """Give engines and memory back; calls after it are refused."""
        with self._lock:
            if self._open:
                self._open = self._ready = False
                self._program.close()

    def __reduce__(self) -> NoReturn:
        msg = f"a {type(self).__name__} holds engines of this process and cannot be pickled: load the bundle in the other process."
        raise InputError(msg)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Backbone(OpenedProgram):
    """The network run directly to its last exit; called like a Runner. Its predictions have no score (NaN)."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        super().__init__(bundle, settings, find_backend(settings.backend).open_backbone(bundle, settings))
        self._read = make_reader(self._program, 1, shown=bundle.manifest.exits)

    def __call__(self, x: Inputs) -> Prediction:
        """Classify one input [1, ...]."""
        with self._lock:
            if not self._open:
                self._refuse_closed()
            self._write(x)
            return self._read(self._run(()))

    def __enter__(self) -> Backbone:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._refuse_closed()
        return self

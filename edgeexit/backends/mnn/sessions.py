"""Sessions of MNN on host buffers: every stage, and the network straight to its last exit.

* a tensor of a session lies in memory that MNN chose; views of it are filled from the buffers before a run, and read after it.
* an interpreter has a lock that its sessions share, so that each session has an interpreter of its own, and clones have weights of
  their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeexit.backends.base import Array, Settings
from edgeexit.backends.host import Bind
from edgeexit.backends.mnn.library import import_mnn, make_configuration, view_tensor
from edgeexit.errors import ModelError

_RELEASE = 1  # Session_Release: no room for callbacks after each operator


class Session:
    """A session with views of its inputs and outputs.

    Attributes:
        inputs: its inputs by name, in its own memory.
        outputs: its outputs by name, likewise.
    """

    inputs: dict[str, Array]
    outputs: dict[str, Array]

    def __init__(self, file: Path, settings: Settings) -> None:
        self._mnn = import_mnn()
        self._net = self._mnn.Interpreter(str(file))
        self._net.setSessionMode(_RELEASE)
        self._session = self._net.createSession(make_configuration(settings))
        self._view()

    def _view(self) -> None:
        mnn, net, session = self._mnn, self._net, self._session
        self.inputs = {n: view_tensor(mnn, t, n) for n, t in net.getSessionInputAll(session).items()}
        self.outputs = {n: view_tensor(mnn, t, n) for n, t in net.getSessionOutputAll(session).items()}

    def resize(self, batch: int) -> None:
        """Make room for a number of samples; views from before are no longer valid."""
        for name, tensor in self._net.getSessionInputAll(self._session).items():
            self._net.resizeTensor(tensor, (batch, *self.inputs[name].shape[1:]))
        self._net.resizeSession(self._session)
        self._view()

    def bind(self, buffers: Mapping[str, Array]) -> Callable[[], None]:
        """A function that runs it once on buffers; more of them may be given than it has tensors."""
        run, session = self._net.runSession, self._session
        fills = [_pair(view, buffers[name]) for name, view in self.inputs.items()]
        takes = [_pair(buffers[name], view) for name, view in self.outputs.items()]

        def run_bound(_alive: Session = self) -> None:
            for to, source in fills:
                to[:] = source
            if error := run(session):
                raise ModelError(f"MNN cannot run the model: its error {error}.")
            for to, source in takes:
                to[:] = source

        return run_bound

    def run(self) -> None:
        """Run it once on what its inputs hold."""
        if error := self._net.runSession(self._session):
            raise ModelError(f"MNN cannot run the model: its error {error}.")


def _pair(to: Array, source: Array) -> tuple[Any, Any]:
    """What `a[:] = b` copies from one to the other: their bytes where both hold the same numbers, the quicker way by a microsecond.

    MNN gives tensors another shape, such as [1] for a scalar, and holds int64 as int32.
    """
    if to.size != source.size:
        msg = f"MNN gives a tensor of shape {list(source.shape)} where {list(to.shape)} is expected. Please report it with the model."
        raise ModelError(msg)
    to, source = to.reshape(-1), source.reshape(-1)
    return (to.data.cast("B"), source.data.cast("B")) if to.dtype == source.dtype else (to, source)


def make_binder(files: Mapping[int, Path], settings: Settings) -> Bind:
    """Converted models, by their place, bound to NumPy buffers."""

    def bind(place: int, buffers: Mapping[str, Array]) -> Callable[[], None]:
        return Session(files[place], settings).bind(buffers)

    return bind

"""The Runner whose later stages run on another machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.base import Array
from edgeexit.errors import InputError
from edgeexit.runtime.batch import StageUnavailable, leave_in_stages
from edgeexit.runtime.inputs import Inputs, check_input, check_many
from edgeexit.runtime.prediction import Prediction
from edgeexit.runtime.remote.limits import RemoteLimits
from edgeexit.runtime.remote.payload import AUTO, RemotePayload
from edgeexit.runtime.remote.stages import RemoteBatch, RemoteStages
from edgeexit.runtime.runner import Runner
from edgeexit.util.arguments import as_seconds, as_whole, check_progress
from edgeexit.util.progress import Progress, show_nothing

_TOLERANCES = {"float32": 0.01, "float16": 0.02, "int8": 0.1}
"""Of the largest logit: another runtime, float16 kernels or rounded tensors, and not another network."""


class RemoteRunner(Runner):
    """A Runner whose later stages run on another machine; `edgeexit.load(..., remote=...)` makes it.

    Where the server is gone, late or asked too often, the last exit that runs here answers: `Prediction.fallback` is then True.

    Attributes:
        remote: which stages run where; `remote.gate.counts` counts what has become of requests.
    """

    remote: RemoteStages

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._remote_batch: RemoteBatch | None = None
        self._unbounded = False

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Calls inside are measured: neither the bounded rate nor a server that was lately gone keeps a request here."""
        were, self._unbounded = self._unbounded, True
        try:
            yield
        finally:
            self._unbounded = were

    def choose_what_is_sent(self) -> None:
        """Measure with a few requests whether boundary tensors or the input are answered sooner; `remote.sends` has the result.

        `load` does it with `RemotePayload(send="auto")`; where the server is not there, boundary tensors are sent from then on.
        """
        tensors: dict[str, Array] = {spec.name: np.zeros(spec.shape_at_1, spec.dtype) for spec in self._specs}
        with self._lock:
            self._refuse_closed()
            batch, local = self._open_remote_batch(), self._batch_program()
            for stage in self.bundle.manifest.stages[:-1]:
                tensors |= local.run(stage.exit, tensors)
            batch.end_s = math.inf
            batch.choose_what_is_sent(tensors)

    def check_remote(self, xs: Inputs) -> None:
        """Compare the answers of the server's stages with those of the bundle's own, on inputs [n, ...] that all go up.

        Raises:
            InputError: the server gives no answer, or other logits: it has the stages of another network.
        """
        with self._lock:
            self._refuse_closed()
            own = self._batch_program()
            never = (math.inf,) * (self.exits - 1)
            expected = leave_in_stages(
                own, self.bundle.manifest, check_many(xs, self._specs), never, self.criterion.sign
            )
        with self.measuring():
            found = self._answer(xs, math.inf, never)
        if any(p.fallback for p in found):
            msg = f"the server of the remote stages gives no answer: {dict(self.remote.gate.counts)}."
            raise InputError(msg)
        apart = max(float(np.abs(p.logits - q.logits).max()) for p, q in zip(found, expected, strict=True))
        scale = max(float(np.abs(q.logits).max()) for q in expected)
        if not apart <= _TOLERANCES[self.remote.payload.wire] * scale:
            msg = f"the server's logits differ by {apart:.2g} from the bundle's, of {scale:.2g}: export this bundle to the server again."
            raise InputError(msg)

    def __call__(self, x: Inputs, *, deadline_s: float | None = None) -> Prediction:
        """Classify one input [1, ...].

        Args:
            x: as of a Runner.
            deadline_s: seconds from now for the whole call; what a server has not answered by then, the last exit here answers, and
                `late` says whether even that came too late. Stages that run here are not cut short.
        """
        start_s = perf_counter()
        end_s = math.inf if deadline_s is None else start_s + as_seconds("deadline_s", deadline_s)
        for name, array in check_many(x, self._specs).items():
            check_input(name, array, (1, *array.shape[1:]), str(array.dtype))
        found = self._answer(x, end_s, self._inner)
        self._observers.tell(found, perf_counter() - start_s)
        return found[0]

    def batch(self, xs: Inputs) -> list[Prediction]:
        """Classify many inputs [n, ...]; those that no exit here is sure of go up together."""
        start_s = perf_counter()
        found = self._answer(xs, math.inf, self._inner)
        self._observers.tell(found, perf_counter() - start_s)
        return found

    def _answer(self, xs: Inputs, end_s: float, thresholds: Sequence[float]) -> list[Prediction]:
        arrays = check_many(xs, self._specs)
        with self._lock:
            self._refuse_closed()
            batch = self._open_remote_batch()
            batch.end_s, batch.unbounded = end_s, self._unbounded
            found = leave_in_stages(batch, self.bundle.manifest, arrays, thresholds, self.criterion.sign)
        late = perf_counter() > end_s
        return [p._replace(late=True) for p in found] if late else found

    def _open_remote_batch(self) -> RemoteBatch:
        if self._remote_batch is None:
            self._remote_batch = RemoteBatch(self._batch_program(), self.bundle, self.remote)
        return self._remote_batch

    def close(self) -> None:
        """Give engines, memory and connections back; calls after it are refused."""
        super().close()
        with self._lock:
            if self._remote_batch is not None:
                self._remote_batch.close()
                self._remote_batch = None

    def __enter__(self) -> RemoteRunner:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._refuse_closed()
        return self

    def clone(self) -> RemoteRunner:
        """The same with buffers and connections of its own, for another thread; the limits hold for all together."""
        other = super().clone()
        assert isinstance(other, RemoteRunner)
        other.remote = self.remote
        return other

    def reload(self) -> bool:
        """As of a Runner, for a bundle whose network is unchanged: the server has the stages of the network that was loaded."""
        if self.bundle.is_recompiled():
            msg = f"{self.bundle.path} was recompiled: export its stages to the server again, then load it."
            raise InputError(msg)
        return super().reload()

    def forced(self, x: Inputs, *, exit: int) -> Prediction:
        """As of a Runner, by the path and with the work of a call. Where the server gives no answer, the last exit here answers."""
        number = as_whole("exit", exit, 1, self.exits)
        with self.measuring():
            [prediction] = self._answer(x, math.inf, self._forced[number - 1])
        if prediction.exit != number and not prediction.fallback:  # only NaN is not at least -inf
            msg = f"the score of exit {number} is NaN: the network's weights or its precision overflow on this input."
            raise InputError(msg)
        return prediction

    def replay(self, xs: Inputs, progress: Progress = show_nothing) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run every exit on many inputs [n, ...], each where it runs in use.

        Raises:
            InputError: the server gives no answer.
        """
        check_progress(progress)
        arrays = check_many(xs, self._specs)
        count, step = len(next(iter(arrays.values()))), self.remote.gate.limits.max_batch
        parts = []
        with self._lock:
            self._refuse_closed()
            batch = self._open_remote_batch()
            batch.end_s, batch.unbounded = math.inf, True
            for i in range(0, count, step):
                parts.append(self._run_every_exit(batch, {name: a[i : i + step] for name, a in arrays.items()}))
                progress("running every exit", min(i + step, count), count)
        scores, logits = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(logits)

    def _run_every_exit(self, batch: RemoteBatch, tensors: dict[str, Array]) -> tuple[Array, Array]:
        """Inner scores [n, N] and logits [n, N, classes]."""
        stages = self.bundle.manifest.stages
        try:
            for stage in stages:
                tensors |= batch.run(stage.exit, tensors)
        except StageUnavailable as error:
            msg = f"the server of the remote stages gives no answer ({error}), so that nothing can be measured with it."
            raise InputError(msg) from error
        scores, logits = (
            [tensors[name] for name in names] for names in zip(*((s.score, s.logits) for s in stages), strict=True)
        )
        return np.stack(scores, axis=1), np.stack(logits, axis=1)

    def prepare_deadlines(self) -> None:
        """Nothing is left to open."""
        self._refuse_closed()

    def run_many(self, *_arguments: Any, **_named: Any) -> NoReturn:
        """Refused: `batch` answers many inputs, and asks the server once for all of them."""
        _refuse("run over many inputs one by one (runner.batch takes them together)")


def open_remote(
    local: Runner, urls: Mapping[int, str], limits: RemoteLimits | None, payload: RemotePayload | None = None
) -> RemoteRunner:
    """A bundle that was just opened, with its last stages on another machine; `local` must not be used any more.

    Raises:
        InputError: URLs or stages that cannot be.
    """
    remote = RemoteStages.from_arguments(urls, limits, payload)
    remote.check(local.exits)
    settings = replace(local.settings, remote=min(urls))
    runner = RemoteRunner(local.bundle, settings, local._program, reload=local._reload)  # noqa: SLF001
    runner.remote, runner.verify = remote, local.verify
    if remote.payload.send == AUTO:
        runner.choose_what_is_sent()
    return runner


def _refuse(what: str) -> NoReturn:
    msg = f"a bundle with remote stages cannot be {what}: load it without remote=."
    raise InputError(msg)

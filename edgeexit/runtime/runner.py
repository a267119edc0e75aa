"""The Runner: one bundle opened for running."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends import Batch, Program, Settings, StagedProgram, find_backend
from edgeexit.bundle import Bundle, CalibrationDocument
from edgeexit.criteria import Criterion
from edgeexit.errors import InputError
from edgeexit.runtime.batch import leave_in_stages, score_everything
from edgeexit.runtime.calibrations import ActiveCalibration
from edgeexit.runtime.deadline import Deadlines, read_stage_times, require_stage_times, run_until
from edgeexit.runtime.forking import keep_until_exit
from edgeexit.runtime.inputs import Inputs, check_many, make_inputs_writer
from edgeexit.runtime.many import ManyPredictions, run_each
from edgeexit.runtime.observing import ObservedProgram
from edgeexit.runtime.opened import Backbone
from edgeexit.runtime.prediction import Prediction
from edgeexit.runtime.reading import make_reader
from edgeexit.runtime.summary import format_runner_summary
from edgeexit.util.arguments import as_numbers, as_whole, check_progress
from edgeexit.util.deprecation import call_moved
from edgeexit.util.display import Summarised, Summary
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.units import format_count


class Runner(ObservedProgram, Summarised):
    """A bundle opened for running. One Runner serialises its calls; `clone` gives another thread its own.

    Attributes:
        bundle: the bundle.
        settings: backend, mode, precision, threads, spinning.
        criterion: the exit criterion, with the unit of `thresholds` and of a prediction's score.
        exits: number of exits N.
        classes: number of classes.
        calibration: document of the calibration in use, a dict with typed properties; or None.
        calibration_name: its name in the bundle's history, or None.
        verify: file of the public key that the bundle must be signed with, or None.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> x = load_data("digits:test").inputs
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     runner.thresholds = [0.5]  # entropy in nats; one per early exit
        ...     exits = [p.exit for p in runner.batch(x[:100])]
        ...     last = runner.forced(x[:1], exit=2).exit
        >>> exits.count(1) > exits.count(2), last
        (True, 2)
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        program: Program,
        calibration: CalibrationDocument | None = None,
        *,
        stage_p99_s: tuple[float, ...] | None = None,
        reload: Callable[[Runner], bool] | None = None,
    ) -> None:
        super().__init__(bundle, settings, program)
        self.criterion: Criterion = bundle.manifest.rule
        self.exits = bundle.manifest.exits
        self.calibration = calibration
        self.calibration_name: str | None = None
        self.verify: Path | None = None
        self._reuse_logits = False
        self._reload = reload
        self._stage_p99_s = stage_p99_s  # of the staged mode, where it is known from elsewhere than `calibration`
        self._staged: StagedProgram | None = program if isinstance(program, StagedProgram) else None
        self._write_staged, self._read_staged = self._write, self._read
        self._batch: Batch | None = None
        self._inner = (math.inf,) * (self.exits - 1)
        # One tuple per exit, made once: a program sees by identity that nothing changed.
        self._forced = tuple((math.inf,) * (k - 1) + (-math.inf,) * (self.exits - k) for k in range(1, self.exits + 1))

    @property
    def thresholds(self) -> list[float]:
        """Thresholds of exits 1 to N-1 in the criterion's own unit; settable; `inner_thresholds` has them as the engines see them."""
        return [self.criterion.own(t) for t in self._inner]

    @thresholds.setter
    def thresholds(self, values: Iterable[float]) -> None:
        own = as_numbers(values)
        if len(own) != self.exits - 1 or any(math.isnan(v) for v in own):
            needed = format_count(self.exits - 1, "number")
            msg = f"thresholds must be {needed} ({self.criterion.unit}), one per exit but the last; got {values!r}."
            raise InputError(msg)
        self.inner_thresholds = tuple(self.criterion.inner(v) for v in own)

    @property
    def inner_thresholds(self) -> tuple[float, ...]:
        """Thresholds as the engines see them: a sample leaves where its inner score is at least this. Settable; float32 values."""
        return self._inner

    @inner_thresholds.setter
    def inner_thresholds(self, values: Sequence[float]) -> None:
        inner = as_numbers(values)
        if len(inner) != self.exits - 1 or any(math.isnan(v) for v in inner):
            msg = f"inner thresholds must be {self.exits - 1} numbers; got {values!r}."
            raise InputError(msg)
        with np.errstate(over="ignore"):
            self._inner = tuple(float(np.float32(v)) for v in inner)

    @property
    def reuse_logits(self) -> bool:
        """Whether a prediction's logits are a read-only view of the engine's memory, which the next call overwrites, and no copy; settable.

        False, unless it is set: then they are the caller's to keep. A clone starts with what it is cloned from has.
        """
        return self._reuse_logits

    @reuse_logits.setter
    def reuse_logits(self, value: bool) -> None:
        if value not in (True, False):
            msg = f"reuse_logits must be True or False, not {value!r}."
            raise InputError(msg)
        with self._lock:
            self._refuse_closed()
            self._reuse_logits = bool(value)
            self._read = make_reader(self._program, self.criterion.sign, reuse=self._reuse_logits)
            if self._staged is not None:
                self._read_staged = make_reader(self._staged, self.criterion.sign, reuse=self._reuse_logits)

    @property
    def has_default_thresholds(self) -> bool:
        """Whether there is no calibration and the thresholds are those that the model came with."""
        own = tuple(float(np.float32(self.criterion.inner(t))) for t in self.bundle.manifest.thresholds)
        return self.calibration is None and bool(own) and self._inner == own

    @property
    def note(self) -> str:
        """Why the bundle could not be opened in the quickest way; empty where it was."""
        return self._program.note

    def __call__(self, x: Inputs, *, deadline_s: float | None = None) -> Prediction:
        """Classify one input.

        Args:
            x: array [1, ...] of the input's shape and dtype, or a dict of them by name.
            deadline_s: seconds from now, waiting for other threads' calls included; stages start only while their calibrated p99 fits,
                so the answer is the deepest exit reached in time. Exit 1 always runs; `late` says when the answer came after the
                deadline. Stages run one by one whatever the mode: `prepare_deadlines` opens them, else the first such call does.

        Raises:
            InputError: wrong shape, dtype or NaN; a deadline without a calibration of this device.
        """
        if deadline_s is not None:
            return self._run_before_deadline(x, deadline_s, perf_counter())
        with self._lock:
            if not self._ready:
                return self._run_observed(x)
            self._write(x)
            return self._read(self._run(self._inner))

    def prepare_deadlines(self) -> None:
        """Open now what calls with `deadline_s` run; in fused mode the first of them does it otherwise, and is late for that.

        It takes the memory of the staged mode beside the fused one. In staged mode nothing is left to open.

        Raises:
            InputError: there is no calibration of this device, so that a deadline would be refused.
        """
        with self._lock:
            self._refuse_closed()
            require_stage_times(self._stage_times())
            self._staged_program()

    def forced(self, x: Inputs, *, exit: int) -> Prediction:
        """Classify one input at a given exit (from 1): the same path and work as `__call__`, the decision overridden.

        Raises:
            InputError: no such exit; an input as in `__call__`; a score that is NaN, which is never sure.
        """
        if type(exit) is not int or not 1 <= exit <= self.exits:
            exit = as_whole("exit", exit, 1, self.exits)
        with self._lock:
            if not self._open:
                self._refuse_closed()
            self._write(x)
            if self._run(self._forced[exit - 1]) != exit:  # only NaN is not at least -inf
                msg = f"the score of exit {exit} is NaN: the network's weights or its precision overflow on this input."
                raise InputError(msg)
            return self._read(exit)

    def batch(self, xs: Inputs) -> list[Prediction]:
        """Classify many inputs [n, ...]; those that leave are dropped stage by stage; the order is kept.

        A network whose batch is fixed at 1 takes them one by one.
        """
        arrays = check_many(xs, self._specs)
        if not self.bundle.manifest.dynamic_batch:
            count = len(next(iter(arrays.values())))
            return [self({name: a[i : i + 1] for name, a in arrays.items()}) for i in range(count)]
        with self._lock:
            self._refuse_closed()
            start_s, program = perf_counter(), self._batch_program()
            found = leave_in_stages(program, self.bundle.manifest, arrays, self._inner, self.criterion.sign)
            self._observers.tell(found, perf_counter() - start_s)
            return found

    def run_many(self, xs: Inputs) -> ManyPredictions:
        """Classify many inputs [n, ...] one after the other: the answers of `__call__` on each, in one loop, as arrays.

        Quicker than a loop of one's own, because inputs are checked and labels found for all at once; `batch` instead hands those that
        have not left to the next stage together. Other threads' calls wait until it is done.

        Raises:
            InputError: as in `__call__`; with NaN in the logits, the number of the first such sample.
        """
        arrays = check_many(xs, self._specs)
        with self._lock:
            self._refuse_closed()
            found = run_each(self._program, arrays, self._inner, self.criterion.sign)
            self._observers.tell_many(found)
            return found

    def replay(self, xs: Inputs, progress: Progress = show_nothing) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run every exit on many inputs [n, ...]; what calibration searches over. `progress` may not call this runner.

        Returns:
            inner scores [n, N] and logits [n, N, classes], from the very engines that `__call__` runs.
        """
        check_progress(progress)
        arrays = check_many(xs, self._specs)
        with self._lock:
            self._refuse_closed()
            return score_everything(self._staged_program(), arrays, progress)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Calls inside are measured: nothing holds them back. Of a bundle whose stages all run here nothing ever does."""
        yield

    def close(self) -> None:
        """Give engines and memory back; calls after it are refused."""
        super().close()
        with self._lock:
            for opened in (self._staged, self._batch):
                if opened is not None and opened is not self._program:
                    opened.close()
            self._staged = self._batch = None

    def _abandon(self, reason: str) -> None:
        super()._abandon(reason)
        keep_until_exit((self._staged, self._batch))
        self._staged = self._batch = None

    def backbone(self) -> Backbone:
        """The network run directly to its last exit, under the same settings: no other heads, no criterion."""
        self._refuse_closed()
        with self._opening():
            return Backbone(self.bundle, self.settings)

    def control(self, target: str, **options: Any) -> Any:
        """Deprecated: `edgeexit.control(runner, target)`."""
        return call_moved("Runner.control", "edgeexit.control(runner, target)", self, target, **options)

    def drift_alarm(self, **options: Any) -> Any:
        """Deprecated: `edgeexit.drift_alarm(runner)`."""
        return call_moved("Runner.drift_alarm", "edgeexit.drift_alarm(runner)", self, **options)

    def reload(self) -> bool:
        """Take the calibration that is active in the bundle now, and its network where that was recompiled.

        Costs the reading of one small file while nothing has changed, so that a service may call it now and then. Thresholds that were set
        by hand stay until another calibration is active. Clones are reloaded one by one.

        Returns:
            Whether anything changed.

        Raises:
            BundleError: the bundle is damaged, or no longer there; the Runner goes on as it was.
            InputError: the Runner was made by hand, not by `load`.
        """
        if self._reload is None:
            msg = "this runner was not opened by edgeexit.load, so it cannot be reloaded: load the bundle again."
            raise InputError(msg)
        return self._reload(self)

    def take(self, found: ActiveCalibration | None, stage_p99_s: tuple[float, ...] | None) -> None:
        """Note which calibration is in use, and the times of the staged mode where they are known from elsewhere."""
        self.calibration = None if found is None else found.document
        self.calibration_name = None if found is None else found.record.name
        self._stage_p99_s = stage_p99_s

    def take_over(self, other: Runner) -> None:
        """Take over everything of another Runner, which must not be used any more; for other threads in one step."""
        with self._lock:
            self._refuse_closed()
            old, lock, observers = {self._program, self._staged, self._batch}, self._lock, self._observers
            vars(self).update(vars(other))
            self._lock, self._observers, self._ready = lock, observers, False  # until a call finds no observers
            for opened in old - {None}:
                assert opened is not None
                opened.close()

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """What is opened late may be gone: the bundle was recompiled."""
        try:
            yield
        except (OSError, InputError):
            self.bundle.refuse_recompiled()
            raise

    def clone(self) -> Runner:
        """The same engines with buffers of its own, for another thread; thresholds are copied, then independent."""
        with self._lock:
            self._refuse_closed()
            other = type(self)(
                self.bundle,
                self.settings,
                self._program.clone(),
                self.calibration,
                stage_p99_s=self._stage_p99_s,
                reload=self._reload,
            )
            other.inner_thresholds = self._inner
            other.calibration_name, other.verify = self.calibration_name, self.verify
            self._observers.copy_to(other._observers)  # noqa: SLF001 - of its own class
            other.reuse_logits, other._ready = self._reuse_logits, self._ready  # noqa: SLF001
            if other._staged is None and self._staged is not None:  # noqa: SLF001
                other._take_staged(self._staged.clone())  # noqa: SLF001
            return other

    def _staged_program(self) -> StagedProgram:
        if self._staged is None:
            with self._opening():
                self._take_staged(find_backend(self.settings.backend).open_staged(self.bundle, self.settings))
        assert self._staged is not None
        return self._staged

    def _take_staged(self, program: Program) -> None:
        assert isinstance(program, StagedProgram)
        self._staged, self._write_staged = program, make_inputs_writer(self._specs, program.inputs)
        self._read_staged = make_reader(program, self.criterion.sign, reuse=self._reuse_logits)

    def _stage_times(self) -> tuple[float, ...] | None:
        """Of the staged mode where they are known; else those of the mode that was calibrated."""
        return self._stage_p99_s or read_stage_times(self.calibration, self.exits)

    def _batch_program(self) -> Batch:
        if self._batch is None:
            with self._opening():
                self._batch = find_backend(self.settings.backend).open_batch(self.bundle, self.settings)
        return self._batch

    def _run_before_deadline(self, x: Inputs, deadline_s: float, called_s: float) -> Prediction:
        with self._lock:
            self._refuse_closed()
            deadlines = Deadlines.from_deadline(called_s, deadline_s, self._stage_times())
            program = self._staged_program()
            found = self._read_staged(*run_until(program, self._inner, deadlines, lambda: self._write_staged(x)))
            self._observers.tell((found,), perf_counter() - called_s)
            return found

    def __enter__(self) -> Runner:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._refuse_closed()
        return self

    def _summary(self) -> Summary:
        return format_runner_summary(self)

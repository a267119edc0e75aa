"""Callbacks that are told of every answer of a Runner, and can spoil none; the part of a Runner that tells them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import TypeAlias

from edgeexit.backends import Program, Settings
from edgeexit.bundle import Bundle
from edgeexit.errors import InputError
from edgeexit.runtime.inputs import Inputs
from edgeexit.runtime.many import ManyPredictions
from edgeexit.runtime.opened import OpenedProgram
from edgeexit.runtime.prediction import Prediction
from edgeexit.runtime.reading import make_reader

Observer: TypeAlias = Callable[[Prediction, float], object]
"""Called with an answer, and with the seconds from the call to that answer."""

_LOGGER = logging.getLogger("edgeexit")


class Observers:
    """The callbacks of one Runner.

    Attributes:
        callbacks: the callbacks; a tuple, replaced as a whole.
    """

    def __init__(self) -> None:
        self.callbacks: tuple[Observer, ...] = ()
        self._clones: dict[int, Callable[[], Observer]] = {}
        self._failed: set[int] = set()

    def add(self, callback: Observer, for_clone: Callable[[], Observer] | None) -> None:
        """Tell this callback, too; a clone's callback is what `for_clone` makes, else the same one."""
        self.callbacks = (*self.callbacks, callback)
        if for_clone is not None:
            self._clones[id(callback)] = for_clone

    def remove(self, callback: Observer) -> None:
        """Tell it no more; nothing where that is so already."""
        self.callbacks = tuple(c for c in self.callbacks if c is not callback)
        self._clones.pop(id(callback), None)  # another callback may get this id
        self._failed.discard(id(callback))

    def copy_to(self, other: Observers) -> None:
        """Give the Observers of a clone their callbacks."""
        for callback in self.callbacks:
            make = self._clones.get(id(callback))
            other.add(callback if make is None else make(), make)

    def tell(self, predictions: Iterable[Prediction], latency_s: float) -> None:
        """Tell every callback of answers that came together."""
        for prediction in predictions if self.callbacks else ():
            self._tell_one(prediction, latency_s)

    def tell_many(self, found: ManyPredictions) -> None:
        """Tell every callback of the answers of a loop."""
        if self.callbacks:
            rows = zip(found.labels.tolist(), found.exits.tolist(), found.scores.tolist(), found.logits, strict=True)
            for row, latency_s in zip(rows, found.latency_s.tolist(), strict=True):
                self._tell_one(Prediction(*row), latency_s)

    def _tell_one(self, prediction: Prediction, latency_s: float) -> None:
        for callback in self.callbacks:
            try:
                callback(prediction, latency_s)
            except Exception:  # noqa: PERF203 - an observer never ends a prediction
                self.report(callback)

    def report(self, callback: Observer) -> None:
        """Say once that a callback fails; called where its error is handled."""
        if id(callback) not in self._failed:
            self._failed.add(id(callback))
            _LOGGER.exception("an observer of a Runner failed: %r. Predictions go on; it is said once.", callback)


class ObservedProgram(OpenedProgram):
    """An opened program whose answers observers are told of; while there are none, calls run no other code than without."""

    def __init__(self, bundle: Bundle, settings: Settings, program: Program) -> None:
        super().__init__(bundle, settings, program)
        self._inner: tuple[float, ...] = ()
        self._read = make_reader(program, bundle.manifest.rule.sign)
        self._observers = Observers()

    def observe(self, callback: Observer, *, for_clone: Callable[[], Observer] | None = None) -> Callable[[], None]:
        """Tell `callback(prediction, latency_s)` of every answer of a call, `batch` and `run_many`; not of `forced` and `replay`.

        It runs in the caller's thread and must not call this Runner. What it raises is logged once, with its traceback, to the logger
        "edgeexit"; the prediction is given all the same. Clones made from now on are observed, too.

        Args:
            callback: gets the Prediction, and the seconds until it was there: from the copy of the input on; with a deadline from the
                call on; for each sample of a `batch` those of the whole batch.
            for_clone: makes the callback of a clone; None: clones call the same one, from their threads.

        Returns:
            A function that ends it.

        Raises:
            InputError: a callback that cannot be called, or a Runner that is closed.
        """
        _check_callable(callback)
        with self._lock:
            self._refuse_closed()
            self._observers.add(callback, for_clone)
            self._ready = False
        return partial(self._observers.remove, callback)

    def _run_observed(self, x: Inputs) -> Prediction:
        """A call where there are observers, or were until now, or which is to be refused."""
        if not self._open:
            self._refuse_closed()
        callbacks = self._observers.callbacks
        if not callbacks:
            self._ready = True  # `observe` waits for the lock that this call has
        start_s = perf_counter()
        self._write(x)
        found = self._read(self._run(self._inner))
        latency_s = perf_counter() - start_s
        # As Observers.tell, without a function more on the way of every call.
        for callback in callbacks:
            try:
                callback(found, latency_s)
            except Exception:  # noqa: PERF203 - an observer never ends a prediction
                self._observers.report(callback)
        return found


def _check_callable(callback: object) -> None:
    if not callable(callback):
        msg = f"an observer must be a function of a Prediction and seconds, not {callback!r}."
        raise InputError(msg)

"""Backend and precision of each stage, as a compile is asked for them."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexit.backends import find_backend
from edgeexit.choices import AUTO, BACKENDS, DEFAULT_BACKEND, PRECISIONS
from edgeexit.errors import InputError
from edgeexit.stage_choices import PerStage, StageChoice


@dataclass(frozen=True)
class RequestedEngines:
    """What was asked for, before the number of stages is known.

    Attributes:
        backend: choice of backends; the default one until it is chosen where `automatic`.
        precision: choice of precisions.
        automatic: whether the backend is to be chosen by measurement.
    """

    backend: StageChoice
    precision: StageChoice
    automatic: bool = False

    @classmethod
    def read(cls, backend: PerStage, precision: PerStage | None, options: str, seconds: float) -> RequestedEngines:
        """A request as a user makes it, checked as far as the network need not be known for it.

        Args:
            backend: choice of backends, or `auto`.
            precision: choice of precisions; None keeps the model's own.
            options: options of the backend.
            seconds: seconds that the compile may spend on timing.

        Raises:
            InputError: no such backend, precision or option, or backends that cannot be mixed.
            MissingExtra, HardwareMissing: a backend cannot run here.
        """
        asked = cls(
            StageChoice.read("backend", None if backend == AUTO else backend, BACKENDS),
            StageChoice.read("precision", precision, PRECISIONS, heads=True),
            backend == AUTO,
        )
        asked.check_automatic(options, seconds)
        found = {name: find_backend(name) for name in asked.backend.names}
        if "int8" in asked.precision.names and len({one.quantized_outputs for one in found.values()}) > 1:
            msg = f"{' and '.join(found)} take int8 in different forms, so that one bundle cannot hold it for both: name one of them."
            raise InputError(msg)
        if len(found) <= 1:
            find_backend(next(iter(found), DEFAULT_BACKEND)).check_options(options)
        elif options:
            msg = f"options belong to one backend, and the stages run in several ({', '.join(found)}): leave {options!r} out."
            raise InputError(msg)
        return asked

    def check_automatic(self, options: str, seconds: float) -> None:
        """Raise an InputError where a backend is to be chosen by measurement, and there is no time or there are options of one backend."""
        if self.automatic and not seconds > 0:
            msg = f"backend {AUTO} is chosen by timing: give it more than 0 seconds, or name a backend."
            raise InputError(msg)
        if self.automatic and options:
            msg = f"options belong to one backend, and {AUTO} tries several: leave {options!r} out, or name a backend."
            raise InputError(msg)

    @property
    def quantized_outputs(self) -> bool:
        """The form in which the backends take int8; see `Backend.quantized_outputs`."""
        return find_backend((*self.backend.names, DEFAULT_BACKEND)[0]).quantized_outputs

    def resolve_precision(self, stages: int, own: str) -> str | None:
        """The precision of each stage; None where the model keeps its own.

        Raises:
            InputError: it names a stage that the network does not have.
        """
        return None if self.precision.is_default else self.precision.resolve(stages, own)

    def resolve_backend(self, stages: int) -> str:
        """The backend of each stage.

        Raises:
            InputError: it names a stage that the network does not have, a backend that cannot be mixed with others, or one that does not
                run the precision that was asked for.
        """
        found = self.backend.resolve(stages, DEFAULT_BACKEND)
        backend = find_backend(found)
        if not self.precision.is_default:
            backend.check_precision(self.precision.resolve(stages, PRECISIONS[0]))
        return found

    def describe(self, stages: int, own: str) -> dict[str, str | None]:
        """The request as a bundle keeps it, for a network of these stages and this precision of its own."""
        backend = AUTO if self.automatic else self.resolve_backend(stages)
        return {"backend": backend, "precision": self.resolve_precision(stages, own)}

"""What every backend offers: a bundle's network opened as a `Program`, with its buffers bound once.

    Backend.open_staged(bundle, settings)   -> StagedProgram   one engine per stage, the host compares one float
    Backend.open_fused(bundle, settings)    -> Program         one conditional graph
    Backend.open_backbone(bundle, settings) -> Program         straight to the last exit
    Backend.open_batch(bundle, settings)    -> Batch           any number of samples, stage by stage

A Program's answer lies in buffers that the next `run` overwrites; the Runner copies it out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.self_check import SelfCheck
from edgeexit.bundle import Bundle
from edgeexit.choices import CPU_PROVIDER, MODES, PRECISIONS, check_choice
from edgeexit.errors import InputError
from edgeexit.graph.onnx_files import load_binary
from edgeexit.stage_choices import list_distinct_names
from edgeexit.util.arguments import as_whole

if TYPE_CHECKING:
    from edgeexit.backends.host import Bind

Array: TypeAlias = NDArray[Any]

_MOST_THREADS = 1024
PROVIDER = "provider"
"""Option of a backend that names what it runs on, where it has a choice: `provider=cuda`."""


@dataclass(frozen=True)
class Settings:
    """Settings with which a bundle is run; a measurement holds for one set of them.

    Attributes:
        backend: name of the backend; one name a stage, joined by `+`, where they are not all alike (`edgeexit.stage_choices`).
        mode: `staged` or `fused`.
        precision: precision of the engines, likewise.
        threads: worker threads of the runtime.
        spin: whether idle worker threads burn a core while they wait.
        options: options of the backend, `name=value` joined by commas; kept in the order of the names. What is left out, the backend
            chooses.
        remote: the first stage that runs on another machine, from 2; 0 where all run here.
    """

    backend: str = "onnxruntime"
    mode: str = "staged"
    precision: str = "float32"
    threads: int = 1
    spin: bool = False
    options: str = ""
    remote: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        check_choice("mode", self.mode, MODES)
        object.__setattr__(self, "threads", as_whole("threads", self.threads, 1, _MOST_THREADS))
        if self.spin not in (True, False) or not isinstance(self.options, str):
            msg = f"spin must be True or False and options a text, not {self.spin!r} and {self.options!r}."
            raise InputError(msg)
        ordered = ",".join(f"{name}={value}" for name, value in sorted(read_options(self.options).items()))
        object.__setattr__(self, "options", ordered)

    @property
    def runtime(self) -> str:
        """The backend, and behind a dot what it runs on where that is not the CPU: `onnxruntime`, `onnxruntime.cuda`."""
        provider = read_options(self.options).get(PROVIDER, CPU_PROVIDER)
        return self.backend if provider == CPU_PROVIDER else f"{self.backend}.{provider}"

    def with_mode(self, mode: str) -> Settings:
        """The same in another mode."""
        return replace(self, mode=mode)

    def key(self, device: str) -> str:
        """Name of the calibration for these settings on a device: `<device>/<runtime>-<mode>-<precision>-t<threads>`, `-remote3` behind it
        where stages from the third on run on another machine.
        """
        elsewhere = f"-remote{self.remote}" if self.remote else ""
        return f"{device}/{self.runtime}-{self.mode}-{self.precision}-t{self.threads}{elsewhere}"

    def make_timing_key(self, device: str) -> str:
        """Name of the comparison of the two modes on a device."""
        return f"{device}/{self.runtime}-{self.precision}-t{self.threads}"


def read_options(text: str) -> dict[str, str]:
    """Options of a backend by name.

    Args:
        text: text as in `Settings.options`.

    Raises:
        InputError: something else, or a name twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not (name and equals and value) or name in found:
            msg = f"cannot read the option {part!r}: write name=value, joined by commas, each name once."
            raise InputError(msg)
        found[name] = value
    return found


class Program(ABC):
    """A network opened for one sample at a time.

    Attributes:
        inputs: host buffers by input name, batch 1; fill them, then `run`.
        exits: number of exits it can leave at.
        note: why it could not be opened in the fastest way, as text; empty where it was.
        survives_fork: whether it still runs in a child that `os.fork` made.
    """

    inputs: Mapping[str, Array]
    exits: int
    note: str = ""
    survives_fork: bool = True

    @abstractmethod
    def run(self, thresholds: Sequence[float]) -> int:
        """Run to the first exit whose inner score is at least its threshold; returns its number from 1.

        Args:
            thresholds: one inner threshold per early exit, each exactly a float32 value. The same object means the same values: a
                program may see by that alone that nothing changed.
        """

    @abstractmethod
    def logits(self, exit: int) -> NDArray[np.float32]:
        """Logits [1, classes] of the exit that the last run left at: the same memory for every run, which the next one overwrites."""

    @abstractmethod
    def score(self, exit: int) -> float:
        """Inner score of the exit that the last run left at."""

    def make_score_reader(self, exit: int) -> Callable[[], float]:
        """What `score` does for one exit, made once for many runs; a program whose scores lie in arrays gives those arrays' `item`."""
        return partial(self.score, exit)

    @abstractmethod
    def clone(self) -> Program:
        """The same engines with buffers of its own, for another thread."""

    def close(self) -> None:  # noqa: B027 - a backend without resources beyond memory has nothing to do
        """Give engines and device memory back."""


class BoundStage(ABC):
    """One engine with its buffers bound.

    Attributes:
        logits: host view [1, classes], the same for every run.
        score: host view [1], inner, likewise.
        run: runs it once; `logits` and `score` hold the result when it returns. A method, or a function that a stage is given.
    """

    logits: NDArray[np.float32]
    score: NDArray[np.float32]
    run: Callable[[], None]


class StagedProgram(Program):
    """One engine per stage; stage k's output buffer is stage k+1's input buffer."""

    def __init__(self, inputs: Mapping[str, Array], stages: Sequence[BoundStage]) -> None:
        self.inputs = inputs
        self.exits = len(stages)
        self.stages = tuple(stages)
        # Looked up once: on the way of every inference each look-up is another miss of caches that the engine has just filled.
        self._early = tuple((k, stage.run, stage.score.item) for k, stage in enumerate(stages[:-1]))
        self._run_last = stages[-1].run

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: D102 - see base
        for k, run_stage, read_score in self._early:
            run_stage()
            if read_score() >= thresholds[k]:
                return k + 1
        self._run_last()
        return self.exits

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: D102 - see base
        return self.stages[exit - 1].logits

    def score(self, exit: int) -> float:  # noqa: D102 - see base
        return float(self.stages[exit - 1].score[0])

    def make_score_reader(self, exit: int) -> Callable[[], float]:  # noqa: D102 - see base
        return self.stages[exit - 1].score.item


class Batch(ABC):
    """Stages that take any number of samples."""

    @abstractmethod
    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Run one stage.

        Args:
            stage: its number, from 1.
            tensors: model inputs and boundary tensors by name, same first dimension; more than it reads may be given.

        Returns:
            every output of the stage by name.
        """

    def close(self) -> None:  # noqa: B027 - a backend without resources beyond memory has nothing to do
        """Give engines and device memory back."""


class Backend(ABC):
    """A backend: it opens bundles and runs them.

    Attributes:
        name: the name used on the command line and in the manifest.
        quantized_outputs: whether its integer kernels read and write integers, so that int8 rounds what every layer makes; False where a
            layer fuses with a float addition and activation behind it, as in TensorRT.
        precisions: precisions that it runs.
        shares_stages: whether it runs single stages on host buffers, so that other backends can run the others; see `bind_stages`.
    """

    name: str
    quantized_outputs: bool = True
    precisions: tuple[str, ...] = PRECISIONS
    shares_stages: bool = False

    @abstractmethod
    def check(self) -> None:
        """Raise MissingExtra or HardwareMissing when it cannot run here."""

    def computes_float16(self) -> bool:
        """Whether it computes in float16 on this machine, and not in float32 with conversions before and after."""
        return False

    def check_options(self, options: str) -> None:
        """Raise InputError where `Settings.options` names an option that this backend does not have."""
        if options:
            msg = f"backend {self.name} has no options, and {options!r} was given: leave it out."
            raise InputError(msg)

    def check_precision(self, precision: str) -> None:
        """Raise InputError where it does not run bundles of a precision, or of one of those that the stages have."""
        for name in list_distinct_names(precision):
            if name not in self.precisions:
                msg = (
                    f"backend {self.name} runs {', '.join(self.precisions)} and not {name}: take --precision {self.precisions[0]}, or"
                    " another backend."
                )
                raise InputError(msg)

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of what it stands on, for records."""

    def explain_unsupported(self, mode: str, exits: int, options: str = "") -> str | None:  # noqa: ARG002 - most run every mode
        """Reason why a network with this number of exits cannot run in a mode, under these `Settings.options`; None if it can."""
        return None

    @abstractmethod
    def open_staged(self, bundle: Bundle, settings: Settings) -> StagedProgram:
        """One engine per stage."""

    @abstractmethod
    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:
        """One conditional graph."""

    @abstractmethod
    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:
        """The network straight to its last exit: one exit, no criterion; its score is NaN."""

    @abstractmethod
    def open_batch(self, bundle: Bundle, settings: Settings) -> Batch:
        """Stages for any number of samples (one at a time where the model's batch is fixed)."""

    def bind_stages(self, bundle: Bundle, settings: Settings, stages: Collection[int]) -> Bind:  # noqa: ARG002 - most cannot
        """Some of a bundle's stages opened, to be bound to host buffers by their place from 0; see `edgeexit.backends.host.Bind`.

        Args:
            bundle: the bundle.
            settings: as for `open_staged`.
            stages: numbers of the stages, from 1.

        Raises:
            InputError: the backend runs all stages of a bundle, or none.
        """
        msg = f"backend {self.name} keeps tensors in memory of its own, and does not share the stages of a bundle with other backends."
        raise InputError(msg)

    def self_checks(self, bundle: Bundle, settings: Settings) -> Sequence[SelfCheck]:  # noqa: ARG002 - most have none
        """Checks that only this backend can make on this device, for the conformance suite."""
        return ()

    def list_layers(self, bundle: Bundle, settings: Settings) -> dict[str, list[str]]:  # noqa: ARG002 - alike in all settings
        """Layers of each stage, for reports: where a backend does not tell how it runs them, the nodes of its ONNX file."""
        return {
            f"stage {stage.exit}": [
                f"{node.op_type} {node.name}" for node in load_binary(bundle.file(stage.file)).graph.node
            ]
            for stage in bundle.manifest.stages
        }

    def read_log(self) -> Sequence[str]:
        """What its libraries said in this process, oldest first, for reports."""
        return ()

"""Execution providers of ONNX Runtime: which one runs a bundle, with which options of its own, and which nodes it leaves to the CPU.

`provider=cuda` among the options of the backend names it; every other option that the backend does not know goes to the provider. ONNX
Runtime itself falls back to the CPU without an error, twice: where a provider's libraries do not load, and for each node that the provider
does not take. Here the first is an error, and the second a warning with the number of nodes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexit.backends.base import PROVIDER, read_options
from edgeexit.choices import CPU_PROVIDER, EXECUTION_PROVIDERS
from edgeexit.errors import HardwareMissing, InputError, did_you_mean
from edgeexit.util.arguments import as_whole
from edgeexit.util.units import format_count

if TYPE_CHECKING:
    import onnxruntime as ort

DENORMAL_AS_ZERO = "denormal_as_zero"
"""Option of the backend: take numbers below 1.2e-38 for 0, which some CPUs compute 10 to 30 times slower. It also sets the mode of the CPU
in the thread that opens the bundle, so that NumPy there does the same; therefore it is off by default."""

_OWN_MEMORY = {"cuda": "cuda", "tensorrt": "cuda"}
"""Providers whose tensors lie in memory of a device, and that device as ONNX Runtime calls it; all others compute in host memory."""
_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "qnn": "onnxruntime-qnn",
    "dml": "onnxruntime-directml",
}
"""Distributions that bring a provider; they all bring the module `onnxruntime`, so only one of them can be installed."""
_MOST_DEVICES = 255
_NO_SUBGRAPHS = frozenset({"openvino"})  # 1.24.1: it refuses the fused graph of a two-exit LeNet
_MOVES = frozenset({"MemcpyFromHost", "MemcpyToHost"})


class ProviderWarning(UserWarning):
    """Some nodes of a network run on the CPU and not on the execution provider asked for; the answers hold, the latency may not."""


@dataclass(frozen=True)
class ExecutionProvider:
    """One execution provider as a user asks for it.

    Attributes:
        name: its short name, a key of `EXECUTION_PROVIDERS`.
        options: its own options by name.
    """

    name: str = CPU_PROVIDER
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_options(cls, text: str) -> ExecutionProvider:
        """The provider that `Settings.options` names.

        Raises:
            InputError: no such provider, or an option that neither the backend nor the CPU provider has.
        """
        options = read_options(text)
        name = options.pop(PROVIDER, CPU_PROVIDER)
        _check_denormals(options.pop(DENORMAL_AS_ZERO, "0"))
        if name not in EXECUTION_PROVIDERS:
            near = did_you_mean(name, EXECUTION_PROVIDERS)
            msg = f"no execution provider named {name!r}.{near} Execution providers: {', '.join(EXECUTION_PROVIDERS)}."
            raise InputError(msg)
        if options and name == CPU_PROVIDER:
            first = min(options)
            near = did_you_mean(first, [DENORMAL_AS_ZERO, PROVIDER])
            msg = f"backend onnxruntime has no option named {first!r}.{near} It has: {DENORMAL_AS_ZERO}=1, {PROVIDER}=NAME."
            raise InputError(msg)
        return cls(name, options)

    @property
    def is_cpu(self) -> bool:
        """Whether it is the one that every build has."""
        return self.name == CPU_PROVIDER

    @property
    def device(self) -> str | None:
        """The device whose memory its tensors lie in, as ONNX Runtime calls it; None for host memory."""
        return _OWN_MEMORY.get(self.name)

    @property
    def device_id(self) -> int:
        """The number of that device."""
        text = self.options.get("device_id", "0")
        return as_whole("device_id", int(text) if text.isdecimal() else text, 0, _MOST_DEVICES)

    @property
    def long_name(self) -> str:
        """Its name in ONNX Runtime."""
        return EXECUTION_PROVIDERS[self.name]

    def explain_unsupported(self, mode: str) -> str | None:
        """Reason why it cannot run a mode; None if it can."""
        if mode != "fused" or self.name not in _NO_SUBGRAPHS:
            return None
        return f"ONNX Runtime's execution provider {self.name} does not take the graphs inside an If"

    def list_arguments(self) -> list[Any]:
        """What a session is opened with: this one, and the CPU for the nodes that it leaves."""
        cpu = EXECUTION_PROVIDERS[CPU_PROVIDER]
        return [cpu] if self.is_cpu else [(self.long_name, dict(self.options)), cpu]

    def check_offered(self) -> None:
        """Raise HardwareMissing where the installed ONNX Runtime is built without it."""
        import onnxruntime as ort

        if self.long_name in ort.get_available_providers():
            return
        package = _PACKAGES.get(self.name)
        hint = f" Install {package} in place of onnxruntime; both bring the same module." if package else ""
        have = ", ".join(list_offered_providers())
        msg = f"ONNX Runtime {ort.__version__}, as it is installed, has no execution provider {self.name}; it has: {have}.{hint}"
        raise HardwareMissing(msg)

    def check_loaded(self, session: ort.InferenceSession) -> None:
        """Raise HardwareMissing where a session was opened without it, because its libraries or its device are missing."""
        if self.long_name not in session.get_providers():
            msg = (
                f"ONNX Runtime could not load its execution provider {self.name}, and would have run everything on the CPU: its"
                " libraries (of CUDA and cuDNN, say) are missing or of another version; what it printed names them."
            )
            raise HardwareMissing(msg)


ON_CPU = ExecutionProvider()


def _check_denormals(value: str) -> None:
    if value not in {"0", "1"}:
        msg = f"option {DENORMAL_AS_ZERO} must be 0 or 1, not {value!r}."
        raise InputError(msg)


def list_offered_providers() -> list[str]:
    """Short names of the execution providers that the installed ONNX Runtime is built with; its own names for those not known here."""
    import onnxruntime as ort

    short = {long: name for name, long in EXECUTION_PROVIDERS.items()}
    return [short.get(long, long.removesuffix("ExecutionProvider").lower()) for long in ort.get_available_providers()]


@dataclass(frozen=True)
class NodePlacement:
    """Where the nodes of a session ran.

    Attributes:
        provider: number of those that ran on the execution provider, each subgraph that it took as a whole counted once.
        cpu: operators of those that ran on the CPU, with their numbers.
    """

    provider: int
    cpu: Mapping[str, int]

    @classmethod
    def from_profile(cls, events: Iterable[Mapping[str, Any]], provider: ExecutionProvider) -> NodePlacement:
        """Count the nodes in ONNX Runtime's profile of a run."""
        seen: dict[str, Mapping[str, Any]] = {
            event["name"]: event["args"]
            for event in events
            if event.get("cat") == "Node" and "provider" in event.get("args", {})
        }
        where = [(args.get("op_name", "?"), args["provider"]) for args in seen.values()]
        cpu = EXECUTION_PROVIDERS[CPU_PROVIDER]
        left = Counter(op for op, by in where if by == cpu and op not in _MOVES)
        return cls(sum(by == provider.long_name and op not in _MOVES for op, by in where), left)


def read_placement(
    session: ort.InferenceSession, feeds: Mapping[str, Any], provider: ExecutionProvider
) -> NodePlacement:
    """Run a session once that was opened with profiling, and end that; the file is removed."""
    session.run(None, dict(feeds))
    file = Path(session.end_profiling())
    try:
        events = json.loads(file.read_text(encoding="utf-8"))
    finally:
        file.unlink(missing_ok=True)
    return NodePlacement.from_profile(events, provider)


def explain_placement(placements: Sequence[NodePlacement], provider: ExecutionProvider) -> str:
    """How many nodes were left to the CPU, and which; empty where none were."""
    left: Counter[str] = sum((Counter(p.cpu) for p in placements), Counter())
    if not left:
        return ""
    count, taken = left.total(), sum(p.provider for p in placements)
    names = ", ".join(f"{number} {op}" for op, number in left.most_common(5))
    more = ", ..." if len(left) > 5 else ""
    return f"{format_count(count, 'node')} run on the CPU and {taken} on {provider.name}: {names}{more}"

"""Build options of engines: the user's, else those of this device's profile, else TensorRT's defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from edgeexit.backends.base import read_options
from edgeexit.backends.cuda import DeviceFacts
from edgeexit.errors import HardwareMissing, InputError, did_you_mean
from edgeexit.hardware import DeviceProfile
from edgeexit.stage_choices import list_distinct_names

_AUTO = "auto"
_FLOAT16_ONLY_BEFORE = (11,)  # until then a DLA took int8 from calibrators alone, which edgeexit does not use


@dataclass(frozen=True)
class BuildOptions:
    """Build options of engines; part of their cache key.

    Attributes:
        optimization_level: 0 to 5; 3 is TensorRT's own, 5 searches longest.
        workspace_bytes: most scratch memory that one stage may use; None leaves it to TensorRT.
        tactic_sources: libraries to draw kernels from, by TensorRT's names; None leaves it to TensorRT.
        aux_streams: streams beside the one given. 0: more would add synchronisation, and be refused in conditional graphs.
        tf32: round float32 operands to 19 bits on tensor cores; off, because answers are to be those of the network.
        dla_core: run whole stages on this DLA; None runs them on the GPU.
    """

    optimization_level: int = 3
    workspace_bytes: int | None = None
    tactic_sources: tuple[str, ...] | None = None
    aux_streams: int = 0
    tf32: bool = False
    dla_core: int | None = None

    def __post_init__(self) -> None:
        """Check the values; the tactic sources are in capitals, as TensorRT's are."""
        if self.tactic_sources is not None:
            object.__setattr__(self, "tactic_sources", tuple(name.upper() for name in self.tactic_sources))
        if not 0 <= self.optimization_level <= 5:
            msg = f"the optimisation level must be 0 to 5, not {self.optimization_level}."
            raise InputError(msg)

    @classmethod
    def from_device(cls, facts: DeviceFacts, profile: DeviceProfile | None = None, given: str = "") -> BuildOptions:
        """Build options for a device.

        Args:
            facts: facts of the GPU.
            profile: profile of the machine; without one, where CPU and GPU share their memory TensorRT may not take all of it.
            given: the user's, as in `Settings.options`; they win.

        Raises:
            InputError: an option that there is not, or with a value that it cannot have.
        """
        return replace(_choose_device_options(facts, profile), **parse_options(given))

    def check_dla(self, profile: DeviceProfile | None, precision: str, version: tuple[int, ...]) -> None:
        """Raise where a DLA is asked for and cannot be had."""
        if self.dla_core is None:
            return
        engines = profile.dla.engines if profile is not None and profile.dla is not None else 0
        title = profile.title if profile is not None else "this machine"
        if self.dla_core >= engines:
            cores = f"has {engines} DLA core{'s' * (engines != 1)}" if engines else "has no DLA"
            msg = f"{title} {cores}, so stages cannot run on DLA {self.dla_core}: leave dla_core out to use the GPU."
            raise HardwareMissing(msg)
        names = list_distinct_names(precision)
        if "float32" in names:
            msg = "a DLA computes in float16 and int8 only: compile with --precision float16."
            raise InputError(msg)
        if "int8" in names and version[:1] < _FLOAT16_ONLY_BEFORE:
            text = ".".join(map(str, version))
            msg = f"with TensorRT {text} a DLA takes no int8 that stands in the network (Q/DQ): compile with --precision float16."
            raise InputError(msg)


def _choose_device_options(facts: DeviceFacts, profile: DeviceProfile | None) -> BuildOptions:
    table = profile.tensorrt if profile is not None else None
    if table is None:
        return BuildOptions(workspace_bytes=facts.memory_bytes // 4 if facts.integrated else None)
    share = table.workspace_share
    return BuildOptions(
        optimization_level=table.optimization_level,
        workspace_bytes=int(share * facts.memory_bytes) if share is not None else None,
        tactic_sources=table.tactic_sources,
        aux_streams=table.aux_streams,
        dla_core=table.dla_core,
    )


def _parse_int(text: str) -> int:
    return int(text) if text.isdecimal() else _raise_refusal("a whole number")


def _allow_auto(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text == _AUTO else read(text)


def _parse_bool(text: str) -> bool:
    return {"true": True, "false": False}[text] if text in ("true", "false") else _raise_refusal("true or false")


def _parse_mebibytes(text: str) -> int:
    return _parse_int(text) * 2**20 or _raise_refusal("more than 0")


def _raise_refusal(expected: str) -> Any:
    raise ValueError(expected)


_Reader: TypeAlias = Callable[[str], Any]

_READERS: Mapping[str, tuple[str, _Reader]] = {
    "optimization_level": ("optimization_level", _parse_int),
    "workspace_mib": ("workspace_bytes", _allow_auto(_parse_mebibytes)),
    "tactic_sources": ("tactic_sources", _allow_auto(lambda text: tuple(text.split("+")))),
    "aux_streams": ("aux_streams", _parse_int),
    "tf32": ("tf32", _parse_bool),
    "dla_core": ("dla_core", _allow_auto(_parse_int)),
}
"""Name that the user writes -> field of BuildOptions, and what reads the value. `auto` undoes what the profile says."""


def parse_options(text: str) -> dict[str, Any]:
    """Fields of BuildOptions out of `Settings.options`.

    Raises:
        InputError: an option that there is not, or with a value that it cannot have.
    """
    return dict(_parse_field(name, value) for name, value in read_options(text).items())


def _parse_field(name: str, value: str) -> tuple[str, Any]:
    if name not in _READERS:
        known = ", ".join(_READERS)
        msg = f"backend tensorrt has no option {name!r}.{did_you_mean(name, _READERS)} Options: {known}."
        raise InputError(msg)
    field, read = _READERS[name]
    try:
        return field, read(value)
    except ValueError as error:
        msg = f"the option {name} must be {error}, not {value!r}."
        raise InputError(msg) from error

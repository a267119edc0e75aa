"""ONNX Runtime as if its CUDA provider were built in: the CPU computes, and what holds of memory on a device is held.

* a value on the device is none of the host: only `update_inplace` writes it, only `numpy` reads it, as a copy
* a host value that is bound as an input is copied when it is bound and never again, so binding one is a fault
* a profile says which provider ran a node; `left` are the operators that the provider does not take
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass
class Device:
    """What was asked of the device.

    Attributes:
        left: operators that run on the CPU.
        loads: whether the provider's libraries are there.
        copies_in, copies_out: shapes of tensors that crossed to the device and back by a call of their own.
        on_host: names of the outputs that a run copies to the host.
        options: the provider's, as the sessions were given them.
        pending: copies to the device that nobody has waited for.
    """

    left: frozenset[str] = frozenset()
    loads: bool = True
    copies_in: list[tuple[int, ...]] = field(default_factory=list)
    copies_out: list[tuple[int, ...]] = field(default_factory=list)
    on_host: list[str] = field(default_factory=list)
    options: list[dict[str, str]] = field(default_factory=list)
    pending: int = 0


class _Value:
    """An OrtValue on the device."""

    def __init__(self, real: ort.OrtValue, device: Device) -> None:
        self.real = real
        self._device = device

    def update_inplace(self, array: Any) -> None:
        self._device.copies_in.append(array.shape)
        self._device.pending += 1
        self.real.update_inplace(array)

    def numpy(self) -> Any:
        self._device.copies_out.append(tuple(self.real.shape()))
        return self.real.numpy().copy()


class _Binding:
    """Binds values of the device; of the host, outputs only."""

    def __init__(self, real: ort.IOBinding, device: Device) -> None:
        self._real = real
        self._iobinding = real._iobinding
        self._device = device

    def bind_ortvalue_input(self, name: str, value: object) -> None:
        assert isinstance(value, _Value), f"{name} lies in host memory: it would be copied once, now, and never again"
        self._real.bind_ortvalue_input(name, value.real)

    def bind_ortvalue_output(self, name: str, value: Any) -> None:
        if not isinstance(value, _Value):
            self._device.on_host.append(name)
        self._real.bind_ortvalue_output(name, getattr(value, "real", value))

    def synchronize_inputs(self) -> None:
        self._device.pending = 0
        self._real.synchronize_inputs()


def simulate_cuda(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    """Until the test ends, ONNX Runtime offers the CUDA provider."""
    real, make_value = ort.InferenceSession, ort.OrtValue.ortvalue_from_shape_and_type

    class Session(real):  # type: ignore[misc, valid-type]
        def __init__(self, model: Any, options: Any, *, providers: list[Any], **more: Any) -> None:
            self._asked = [one if isinstance(one, str) else one[0] for one in providers]
            device.options += [dict(one[1]) for one in providers if not isinstance(one, str)]
            super().__init__(model, options, providers=[CPU], **more)

        def get_providers(self) -> list[str]:
            return self._asked if device.loads else [CPU]

        def io_binding(self) -> Any:
            found = super().io_binding()
            return _Binding(found, device) if CUDA in self._asked else found

        def end_profiling(self) -> str:
            file = str(super().end_profiling())
            _rewrite(Path(file), lambda op: CPU if op in device.left else CUDA)
            return file

    def make(shape: Any, kind: Any, where: str = "cpu", number: int = 0) -> Any:
        return _Value(make_value(shape, kind), device) if where == "cuda" else make_value(shape, kind, where, number)

    monkeypatch.setattr(ort, "InferenceSession", Session)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_shape_and_type", staticmethod(make))


def _rewrite(file: Path, choose: Callable[[str], str]) -> None:
    events = json.loads(file.read_text(encoding="utf-8"))
    for event in events:
        if "provider" in event.get("args", {}):
            event["args"]["provider"] = choose(event["args"]["op_name"])
    file.write_text(json.dumps(events), encoding="utf-8")

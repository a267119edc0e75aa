"""Engines of this user and device: native code, so kept outside bundles, private, and never taken from anywhere else.

    <cache>/tensorrt/<device digest>/<key>.engine     the plan
                                     <key>.json       its SHA-256, and what it was built from
                                     timings.bin      TensorRT's timing cache, shared by all stages
                                     <key>.choice     how decisions are made, as measured
                                     <key>.inputs     where inputs lie, as measured

The key holds the SHA-256 of the stage and its weights, the options, and every fact of the device and the versions. A file that is not whole
or not ours is rebuilt. A bundle can hold no engine: nothing here reads bundles but their ONNX files.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeexit.backends.cuda import DeviceFacts
from edgeexit.backends.private_cache import keep_file, make_cache_folder, read_own_file
from edgeexit.backends.tensorrt.builder import SerializedEngine
from edgeexit.backends.tensorrt.options import BuildOptions
from edgeexit.bundle import Bundle

_FORMAT = 1  # raised when engines are built differently from the same inputs


def make_engine_key(bundle: Bundle, file: str, options: BuildOptions, precision: str, device: Mapping[str, Any]) -> str:
    """The name of an engine: 32 hexadecimal digits over everything that it depends on."""
    files = bundle.manifest.files
    weights = sorted(entry.sha256 for name, entry in files.items() if name.endswith(".bin"))
    parts = {
        "format": _FORMAT,
        "model": files[file].sha256,
        "weights": weights,
        "options": asdict(options),
        "precision": precision,
        "device": dict(device),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def select_device_facts(facts: DeviceFacts, tensorrt: str) -> dict[str, Any]:
    """Facts of a device that an engine depends on."""
    return {**asdict(facts), "tensorrt": tensorrt}


class EngineCache:
    """The engines of one device.

    Raises:
        InputError: the folder belongs to someone else, others may write it, or it cannot be made.
    """

    def __init__(self, device: Mapping[str, Any], root: Path | None = None) -> None:
        digest = hashlib.sha256(json.dumps(dict(device), sort_keys=True).encode()).hexdigest()[:16]
        self.folder = make_cache_folder("tensorrt", digest, root=root)

    def plan(self, key: str) -> SerializedEngine | None:
        """The engine of a key; None where there is none, or what is there is not whole."""
        about = self._json(f"{key}.json")
        try:
            data = read_own_file(self.folder / f"{key}.engine")
        except OSError:
            return None
        if about.get("sha256") != hashlib.sha256(data).hexdigest():
            return None
        return SerializedEngine(data, str(about.get("typing")))

    def keep(self, key: str, plan: SerializedEngine, about: Mapping[str, Any]) -> None:
        """Keep an engine."""
        document = {**about, "typing": plan.typing, "sha256": hashlib.sha256(plan.data).hexdigest()}
        self._write(f"{key}.engine", plan.data)
        self._write(f"{key}.json", json.dumps(document, indent=2).encode())

    def forget(self, key: str) -> None:
        """Remove an engine that TensorRT refused."""
        for suffix in ("engine", "json", "choice", "inputs"):
            (self.folder / f"{key}.{suffix}").unlink(missing_ok=True)

    @property
    def timings(self) -> bytes:
        """TensorRT's timing cache, or nothing."""
        try:
            return read_own_file(self.folder / "timings.bin")
        except OSError:
            return b""

    def keep_timings(self, data: bytes) -> None:
        """Keep TensorRT's timing cache."""
        self._write("timings.bin", data)

    def choice(self, key: str, kind: str) -> dict[str, Any]:
        """What was measured, of a kind: `choice` or `inputs`; empty if nothing was."""
        return self._json(f"{key}.{kind}")

    def keep_choice(self, key: str, kind: str, document: Mapping[str, Any]) -> None:
        """Keep what was measured."""
        self._write(f"{key}.{kind}", json.dumps(dict(document), indent=2).encode())

    @contextmanager
    def building(self) -> Iterator[None]:
        """One builder at a time: builds time kernels, and two would spoil each other's figures. Others wait."""
        with (self.folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _json(self, name: str) -> dict[str, Any]:
        try:
            document = json.loads(read_own_file(self.folder / name))
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def _write(self, name: str, content: bytes) -> None:
        keep_file(self.folder / name, content)

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
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeexit.backends.cuda import DeviceFacts
from edgeexit.backends.tensorrt.builder import SerializedEngine
from edgeexit.backends.tensorrt.options import BuildOptions
from edgeexit.bundle import Bundle
from edgeexit.errors import InputError
from edgeexit.util.atomic import write_whole

CACHE_VARIABLE = "EDGEEXIT_CACHE"
_FORMAT = 1  # raised when engines are built differently from the same inputs


def find_cache_root() -> Path:
    """`$EDGEEXIT_CACHE`, else `$XDG_CACHE_HOME/edgeexit`, else `~/.cache/edgeexit`."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeexit"


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
        root = root or find_cache_root()
        try:
            root.mkdir(parents=True, exist_ok=True)
            self.folder = _make_private_folder(_make_private_folder(root / "tensorrt") / digest)
        except OSError as error:
            msg = f"engines cannot be kept in {root} ({error.strerror}): give another folder in {CACHE_VARIABLE}."
            raise InputError(msg) from error

    def plan(self, key: str) -> SerializedEngine | None:
        """The engine of a key; None where there is none, or what is there is not whole."""
        about = self._json(f"{key}.json")
        try:
            data = _read(self.folder / f"{key}.engine")
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
            return _read(self.folder / "timings.bin")
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
            document = json.loads(_read(self.folder / name))
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def _write(self, name: str, content: bytes) -> None:
        try:
            write_whole(self.folder / name, content)  # readable by no one else: the folder is closed to them
        except OSError as error:
            msg = f"{self.folder / name} cannot be written ({error.strerror}): make room, or give another folder in {CACHE_VARIABLE}."
            raise InputError(msg) from error


def _make_private_folder(folder: Path) -> Path:
    """The folder, made where needed; ours alone.

    Raises:
        InputError: it is a link, someone else's, or open to others. Who can write here can have this user run any code.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        msg = (
            f"{folder} holds native code and must be a folder of this user alone (it has mode {stat.S_IMODE(found.st_mode):o}):"
            f" chmod 700 {folder}, or give another folder in {CACHE_VARIABLE}."
        )
        raise InputError(msg)
    return folder


def _read(file: Path) -> bytes:
    """The bytes of a file that is ours and no link."""
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as stream:
        if os.fstat(handle).st_uid != os.getuid():
            return b""
        return stream.read()

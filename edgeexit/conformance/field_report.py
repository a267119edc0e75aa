"""A report of a backend from the machine it is to run on, in one file that can be sent: `edgeexit doctor --backend NAME --bundle FILE`.

    report.json    versions, facts of the device, settings, every check of `doctor`, the conformance suite with its times, layers of engines
    log.txt        what libraries said meanwhile

Nothing of it is secret: no environment variables are read, the names of user and machine are replaced, and of paths outside of the system's
own folders only the last part is kept.
"""

from __future__ import annotations

import getpass
import io
import re
import socket
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexit.backends import Settings, find_backend
from edgeexit.compiler.compilation import compile_model
from edgeexit.conformance.networks import write_network
from edgeexit.conformance.report import ConformanceReport
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.hardware.checks import MachineCheck
from edgeexit.util.atomic import write_bytes
from edgeexit.util.documents import check_schema, dumps, parse_document, parse_json, to_document
from edgeexit.util.scratch import make_scratch_folder

SCHEMA = "edgeexit.field-report/1"

_REPORT, _LOG = "report.json", "log.txt"
_LARGEST_BYTES = 32 * 2**20
_LAYERS_OF = "two-inputs"
_SYSTEM = "proc|sys|dev|etc|usr|lib"
_PATH = re.compile(rf"(?<![\w.:/])/(?!(?:{_SYSTEM})/)(?:[^\s/:'\",;()]+/)+(?=[^\s/])")
_ORDINARY = {"root", "localhost", "user", "ubuntu", "nvidia", "jetson", "pi"}


@dataclass(frozen=True)
class FieldReport:
    """One report.

    Attributes:
        schema: `edgeexit.field-report/1`.
        created: UTC, ISO 8601.
        tool: name and version of edgeexit.
        backend: name of the backend.
        settings: precision, threads, spin and options, as text.
        device: its key.
        facts: static facts of the device.
        packages: versions of the packages that matter here, by name.
        checks: every check of `edgeexit doctor`.
        conformance: the conformance suite; None where the backend could not run.
        layers: layers of each stage of a small network, as the backend runs them.
        log: what libraries said, oldest first.
    """

    schema: str
    created: str
    tool: str
    backend: str
    settings: dict[str, str]
    device: str
    facts: dict[str, str]
    packages: dict[str, str]
    checks: tuple[MachineCheck, ...]
    conformance: ConformanceReport | None = None
    layers: dict[str, tuple[str, ...]] | None = None
    log: tuple[str, ...] = ()


def write_field_report(path: Path, report: FieldReport) -> None:
    """Write a report, without what is private.

    Raises:
        InputError: the file cannot be written.
    """
    private = find_private_words()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr(_REPORT, dumps(remove_private(to_document(report), private)))
        bundle.writestr(_LOG, "".join(f"{remove_private(line, private)}\n" for line in report.log))
    write_bytes(path, content.getvalue())


def read_field_report(path: Path) -> FieldReport:
    """Read a report; the file may come from anyone.

    Raises:
        InputError: it is none, or of a newer edgeexit.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            size = bundle.getinfo(_REPORT).file_size
            if size > _LARGEST_BYTES:
                msg = f"{path} holds a report of {size} bytes, more than any that edgeexit writes."
                raise InputError(msg)
            content = bundle.read(_REPORT)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        msg = f"{path} is no report of edgeexit ({error}). It is written by: edgeexit doctor --backend NAME --bundle report.zip"
        raise InputError(msg) from error
    try:
        document = parse_json(content)
    except ValueError as error:
        raise InputError(f"{path}: {_REPORT} in it is damaged ({error}).") from error
    check_schema(document, "field-report", 1, str(path))
    return parse_document(FieldReport, document, str(path))


def list_layers(settings: Settings) -> dict[str, tuple[str, ...]] | None:
    """Layers of each stage of a small network, as a backend runs them; None where it cannot be opened."""
    backend = find_backend(settings.backend)
    try:
        with make_scratch_folder() as folder:
            bundle = compile_model(write_network(_LAYERS_OF, folder), folder / f"{_LAYERS_OF}.eexit", seconds=0)
            return {stage: tuple(layers) for stage, layers in backend.list_layers(bundle, settings).items()}
    except EdgeExitError:
        return None  # the conformance suite says why


def find_private_words() -> dict[str, str]:
    """Names of this user and this machine, with what stands for them."""
    found: dict[str, str] = {}
    with suppress(KeyError, OSError):  # a container's user may have no name
        found[getpass.getuser()] = "<user>"
    found[socket.gethostname()] = "<machine>"
    return {word: stands for word, stands in found.items() if len(word) > 2 and word.lower() not in _ORDINARY}


def remove_private(value: Any, words: Mapping[str, str]) -> Any:
    """The same JSON values without private words, and with paths of users' files as their last part.

    >>> remove_private(["/home/ada/nets/a.onnx of ada, not /etc/nvpmodel.conf"], {"ada": "<user>"})
    ['…/a.onnx of <user>, not /etc/nvpmodel.conf']
    """
    if isinstance(value, str):
        shown = _PATH.sub("…/", value)
        for word, stands in words.items():
            shown = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", stands, shown)
        return shown
    if isinstance(value, Mapping):
        return {name: remove_private(item, words) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [remove_private(item, words) for item in value]
    return value

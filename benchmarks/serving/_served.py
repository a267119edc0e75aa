"""`edgeexit serve` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE_S = 120
"""Time for whatever a busy machine does."""


@dataclass
class Served:
    """The running server.

    Attributes:
        process: its process.
        url: first part of its URLs.
        models: URL of each model by its name.
    """

    process: subprocess.Popen[str]
    url: str
    models: dict[str, str]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    def end(self) -> int:
        """Send SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE_S)


@contextmanager
def run_server(bundle: Path, *options: str, port: int = 0, token: str = "") -> Iterator[Served]:
    """A server at a port, 0 for a free one, from when it takes requests on."""
    command = [sys.executable, "-m", "edgeexit", "serve", str(bundle), "--port", str(port), "--json", *options]
    environment = {**os.environ, "EDGEEXIT_REMOTE_TOKEN": token}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1], f"{command} has ended"
        begun = json.loads("".join(lines))
        yield Served(process, begun["url"], begun["models"])
    finally:
        process.kill()
        process.communicate()

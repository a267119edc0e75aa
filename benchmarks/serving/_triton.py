"""A real Triton server on loopback, from the wheel `nvidia-pytriton`, which has its Python backend and no other."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexit.errors import InputError

STARTED_WITHIN_S = 120


@dataclass(frozen=True)
class TritonServer:
    """A running server: a gRPC client of it, and the URLs of its models over HTTP and gRPC."""

    client: Any
    models_url: str
    grpc_url: str


def refuse_missing_server() -> None:
    """Do nothing where the server is installed.

    Raises:
        InputError: it is not.
    """
    try:
        import pytriton as _  # noqa: F401 - whether it is there
    except ImportError as error:
        msg = (
            "nvidia-pytriton, which has the server, is not installed: make .venv-serving/.made,"
            " then run .venv-serving/bin/python -m benchmarks triton."
        )
        raise InputError(msg) from error


@contextmanager
def run_triton(repository: Path, folder: Path) -> Iterator[TritonServer]:
    """A server that has loaded every model of a repository; it ends with the context.

    Args:
        repository: the models.
        folder: an empty folder for the backend and the server's log.
    """
    from tritonclient.grpc import InferenceServerClient

    http, grpc = _find_free_ports()
    command = [
        str(_find_server() / "bin/tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={_make_backends(folder)}",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        "--allow-metrics=false",
        "--exit-timeout-secs=5",
    ]
    log = folder / "server.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(command, env=_make_environment(), stdout=stream, stderr=subprocess.STDOUT)
        try:
            client = InferenceServerClient(f"127.0.0.1:{grpc}")
            _wait_until_ready(client, server, log)
            yield TritonServer(client, f"http://127.0.0.1:{http}/v2/models", f"grpc://127.0.0.1:{grpc}")
            client.close()
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _find_server() -> Path:
    import pytriton

    return Path(pytriton.__file__).parent / "tritonserver"


def _find_free_ports() -> tuple[int, ...]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = tuple(s.getsockname()[1] for s in sockets)
    for s in sockets:
        s.close()
    return ports


def _make_backends(folder: Path) -> Path:
    """The backends' folder with the stub of this Python, which the wheel has for several."""
    server = _find_server()
    shutil.copytree(server / "backends", folder / "backends")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, folder / "backends/python")
    return folder / "backends"


def _make_environment() -> dict[str, str]:
    """The stub takes its packages from the environment of the first `python3` on the path: this one, and nothing of this checkout."""
    libraries = _find_server().parent.parent / "nvidia_pytriton.libs"
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PATH": path, "LD_LIBRARY_PATH": str(libraries), "OMP_NUM_THREADS": "1"}


def _wait_until_ready(client: Any, server: subprocess.Popen[bytes], log: Path) -> None:
    from tritonclient.utils import InferenceServerException

    end_s = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < end_s and server.poll() is None:
        try:
            if client.is_server_ready():
                return
        except InferenceServerException:
            pass
        time.sleep(0.2)
    msg = f"the server is not ready; the end of its log:\n{log.read_text(errors='replace')[-4000:]}"
    raise RuntimeError(msg)

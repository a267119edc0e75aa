"""`edgeexit serve`: the stages of a bundle behind the Open Inference Protocol (V2)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgeexit.cli.common import (
    BackendOptions,
    BundlePath,
    Cores,
    Json,
    RunBackend,
    RunThreads,
    Verify,
    emit,
    join_options,
)

if TYPE_CHECKING:
    from edgeexit.runtime import Runner

_Stages: TypeAlias = Annotated[
    str | None, typer.Option(help="Stages to serve: 3-, 2-3 or 3. [default: all]", metavar="K-")
]
_Host: TypeAlias = Annotated[str, typer.Option(help="Name or address to listen at; 0.0.0.0 for all interfaces.")]
_Port: TypeAlias = Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.", min=0, max=65535)]
_Workers: TypeAlias = Annotated[
    int, typer.Option(help="Requests that are worked on at the same time, each with engines of its own.", min=1)
]
_MostWaiting: TypeAlias = Annotated[
    int, typer.Option(help="Requests that are worked on or wait; what comes beyond is refused at once.", min=1)
]
_MaxBatch: TypeAlias = Annotated[int, typer.Option(help="Most samples in a request.", min=1)]
_DrainS: TypeAlias = Annotated[
    int, typer.Option(help="Longest time that requests under way are waited for at the end, in seconds.", min=1)
]
_Certificate: TypeAlias = Annotated[
    Path | None, typer.Option("--certificate", metavar="PEM", help="Certificate chain, for https.")
]
_Key: TypeAlias = Annotated[
    Path | None, typer.Option("--certificate-key", metavar="PEM", help="Its key. [default: in the same file]")
]
_Name: TypeAlias = Annotated[
    str | None, typer.Option("--name", help="First part of the models' names. [default: the bundle's name]")
]
_A_RANGE = re.compile(r"([0-9]{1,4})(?:(-)([0-9]{1,4})?)?")


def serve_command(
    bundle: BundlePath,
    stages: _Stages = None,
    host: _Host = "127.0.0.1",
    port: _Port = 8000,
    name: _Name = None,
    workers: _Workers = 1,
    most_waiting: _MostWaiting = 64,
    max_batch: _MaxBatch = 64,
    drain_s: _DrainS = 30,
    certificate: _Certificate = None,
    certificate_key: _Key = None,
    backend: RunBackend = None,
    threads: RunThreads = None,
    options: BackendOptions = None,
    cores: Cores = None,
    verify: Verify = None,
    as_json: Json = False,
) -> None:
    """Serve stages of a bundle over HTTP (Open Inference Protocol, V2), for boards that run the stages before them.

    A token in EDGEEXIT_REMOTE_TOKEN is asked of every client. SIGTERM or Ctrl-C ends the server once what is under way is answered.

    Example: edgeexit serve lenet.eexit --stages 2- --port 8001
    """
    from edgeexit.bundle import Bundle

    numbers = parse_stages(stages, Bundle.open(bundle).manifest.exits)  # before a second of imports and engines

    from edgeexit.runtime import load_quietly
    from edgeexit.serving.server.engines import ServedBundle
    from edgeexit.serving.server.process import Address, serve

    runner = load_quietly(
        bundle,
        backend=backend,
        mode="staged",
        threads=threads,
        options=join_options(options),
        cores=cores,
        verify=verify,
    )
    with runner:
        first = runner.bundle.name if name is None else name
        served = ServedBundle.open(
            runner.bundle, runner.settings, numbers, name=first, workers=workers, max_batch=max_batch
        )
        serve(
            served,
            Address(host, port, certificate, certificate_key),
            workers=workers,
            most_waiting=most_waiting,
            drain_s=drain_s,
            begun=lambda url: _print_begun(runner, url, list(served.models), as_json=as_json),
        )


def parse_stages(text: str | None, exits: int) -> list[int]:
    """Numbers of the stages that a text names; all where there is none.

    Raises:
        InputError: not such a text, or no such stages.
    """
    from edgeexit.errors import InputError

    found = _A_RANGE.fullmatch("1-" if text is None else text.replace(" ", ""))
    if found is not None:
        first = int(found[1])
        last = int(found[3] or exits) if found[2] else first
        if 1 <= first <= last <= exits:
            return list(range(first, last + 1))
    msg = f"--stages {text!r} names no stages of 1 to {exits}: write 3- (the third and all after it), 2-3 or 3."
    raise InputError(msg)


def _print_begun(runner: Runner, url: str, names: list[str], *, as_json: bool) -> None:
    urls = {name: f"{url}/v2/models/{name}" for name in names}
    document: dict[str, Any] = {"schema": "edgeexit.serve/1", "url": url, "models": urls}
    emit(document, lambda: _print(runner, urls), as_json=as_json)
    sys.stdout.flush()  # a supervisor waits for it


def _print(runner: Runner, urls: dict[str, str]) -> None:
    from edgeexit.cli.printing import print_result, print_text

    print_result(f"Serving {runner.bundle.path}: {', '.join(urls.values())}")
    print_text("SIGTERM or Ctrl-C ends it, once what is under way is answered.")

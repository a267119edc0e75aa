"""Remote stages over gRPC: as over HTTP, the same answers while the server is there, an answer in any case."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeexit import RemoteLimits, RemotePayload
from edgeexit.errors import InputError, MissingExtra
from edgeexit.runtime import Runner, load_quietly
from edgeexit.runtime.remote.runner import RemoteRunner
from tests.networks import images
from tests.support.remote_answers import assert_same_answers
from tests.support.v2_grpc_server import GrpcServer, serve_stages_over_grpc

pytest.importorskip("tritonclient.grpc", reason="tritonclient[grpc] is not installed: make test-serving")

PATIENT = RemoteLimits(timeout_s=60)
NEVER = [-1.0, -1.0]  # of the entropy: no exit here is sure


@pytest.fixture(scope="module")
def local(compiled: Path) -> Runner:
    """The bundle with every stage here, and thresholds that let some samples leave at each exit."""
    runner = load_quietly(compiled, mode="staged")
    runner.thresholds = [1.197, 1.18]
    return runner


@pytest.fixture
def server(local: Runner) -> Iterator[GrpcServer]:
    with serve_stages_over_grpc(local.bundle) as server:
        yield server


def open_remote(path: Path, urls: dict[int, str], limits: RemoteLimits = PATIENT, **options: Any) -> RemoteRunner:
    runner = load_quietly(path, mode="staged", remote=urls, remote_limits=limits, **options)
    assert isinstance(runner, RemoteRunner)
    runner.thresholds = NEVER
    return runner


@pytest.mark.parametrize("stages", [[3], [2, 3]])
def test_answers_are_those_of_the_network_in_one_place(
    local: Runner, server: GrpcServer, compiled: Path, stages: list[int]
) -> None:
    """Every label and exit, one by one and in batches of several requests; a clone has a channel of its own."""
    with open_remote(compiled, {k: server.url(k) for k in stages}, RemoteLimits(timeout_s=60, max_batch=5)) as runner:
        runner.thresholds = local.thresholds
        assert_same_answers(local, runner)


@pytest.mark.parametrize(("wire", "sent"), [("float16", {"FP16"}), ("int8", {"INT8", "FP32"})])
def test_tensors_go_in_fewer_bytes(
    local: Runner, server: GrpcServer, compiled: Path, wire: str, sent: set[str]
) -> None:
    """The wire's precision of `check_remote` holds, and what went up has these types."""
    with open_remote(compiled, {3: server.url(3)}, remote_payload=RemotePayload(wire=wire)) as runner:
        runner.check_remote(images(8))

    assert {frozenset(sent)} == {frozenset(types) for _, types in server.seen}


def test_what_is_late_is_not_waited_for(server: GrpcServer, compiled: Path) -> None:
    """A server that holds the request: the last exit here answers within the deadline of the call, and the next request is answered."""
    server.held.clear()
    with open_remote(compiled, {3: server.url(3)}) as runner:
        held = runner(images(1), deadline_s=0.2)
        server.held.set()
        after = runner(images(1))

    assert (2, True) == (held.exit, held.fallback)
    assert (3, False) == (after.exit, after.fallback)


def test_a_server_that_is_gone_is_left_alone_and_found_again(local: Runner, compiled: Path) -> None:
    """Every sample is answered; once a server is there again, the next request that goes up is."""
    with serve_stages_over_grpc(local.bundle) as server:
        urls, port = {3: server.url(3)}, server.port
    with open_remote(compiled, urls, RemoteLimits(timeout_s=60, failures=2, pause_s=3600)) as runner:
        gone = [runner(images(1)) for _ in range(4)]
        assert {"failed": 2, "server gone": 2} == runner.remote.gate.counts
    with open_remote(compiled, urls, RemoteLimits(timeout_s=60, failures=9)) as runner:
        gone.append(runner(images(1)))
        with serve_stages_over_grpc(local.bundle, port=port):
            found = runner(images(1))

    assert {(2, True)} == {(p.exit, p.fallback) for p in gone}
    assert (3, False) == (found.exit, found.fallback)


@pytest.mark.parametrize("fault", ["empty", "type", "shape", "bytes", "nan", "large"])
def test_whatever_a_server_answers_is_no_more_than_no_answer(
    local: Runner, server: GrpcServer, compiled: Path, fault: str
) -> None:
    """Other types, shapes and sizes, NaN, and more bytes than there can be: the last exit here answers."""
    logits, score = np.zeros((1, 4), np.float32), local.bundle.manifest.stages[2].score
    right = {"z3": logits, score: np.zeros(1, np.float32)}
    server.answer = {
        "empty": server.pack({}),
        "type": server.pack(right, "INT32"),
        "shape": server.pack({**right, "z3": logits[:, :3]}),
        "bytes": server.pack(right),
        "nan": server.pack({**right, "z3": logits * np.nan}),
        "large": server.pack({**right, "more": np.zeros(200_000, np.float32)}),
    }[fault]
    if fault == "bytes":
        server.answer.raw_output_contents[0] = b"1234"
    with open_remote(compiled, {3: server.url(3)}) as runner:
        found = runner(images(1))
        server.answer = server.pack(right)
        after = runner(images(1))

    assert (2, True) == (found.exit, found.fallback)
    assert (3, False) == (after.exit, after.fallback)


def test_the_token_goes_up_and_nowhere_unencrypted(
    server: GrpcServer, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As metadata; refused over grpc to another machine, as is an authority that cannot be read."""
    monkeypatch.setenv("EDGEEXIT_REMOTE_TOKEN", "secret\n")
    with open_remote(compiled, {3: server.url(3)}) as runner:
        runner(images(1))

    assert ["Bearer secret"] == [metadata["authorization"] for metadata, _ in server.seen]
    with pytest.raises(InputError, match="unencrypted"):
        load_quietly(compiled, remote={3: "grpc://example.org/net"})
    monkeypatch.setenv("EDGEEXIT_REMOTE_CA", "missing.pem")
    with pytest.raises(InputError, match=r"missing\.pem"):
        load_quietly(compiled, remote={3: "grpcs://example.org/net"})


def test_a_server_is_known_by_its_certificate(
    local: Runner, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encrypted, it is believed where its authority is named, and not otherwise."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(["openssl", *made.split(), *names], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate")
    with serve_stages_over_grpc(local.bundle, tls=(key.read_bytes(), certificate.read_bytes())) as server:
        with open_remote(compiled, {3: server.url(3, "grpcs")}) as runner:
            stranger = runner(images(1))
        monkeypatch.setenv("EDGEEXIT_REMOTE_CA", str(certificate))
        with open_remote(compiled, {3: server.url(3, "grpcs")}) as runner:
            known = runner(images(1))

    assert [True, False] == [stranger.fallback, known.fallback]


def test_the_client_is_named_where_it_is_missing(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only gRPC needs it."""
    monkeypatch.setitem(sys.modules, "tritonclient", None)
    with pytest.raises(MissingExtra, match=r"edgeexit\[remote\]"):
        load_quietly(compiled, remote={3: "grpc://localhost/stage-3"})
    load_quietly(compiled, remote={3: "http://localhost:1/v2/models/stage-3"}).close()

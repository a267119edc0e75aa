"""`edgeexit serve` in a real process: answers are the Runner's, what is refused says why, and nothing is lost at the end."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving._served import PATIENCE_S, Served, run_server
from edgeexit import RemoteLimits, RemotePayload
from edgeexit.cli.cmd_serve import parse_stages
from edgeexit.errors import InputError
from edgeexit.runtime import Runner, load_quietly
from edgeexit.runtime.remote.protocol import HEADER_LENGTH, encode_request
from edgeexit.runtime.remote.runner import RemoteRunner
from tests.networks import images
from tests.support.command_line import run_edgeexit

pytest.importorskip("uvicorn", reason='uvicorn is not installed: pip install "edgeexit[serve]"')
pytest.importorskip("starlette", reason='starlette is not installed: pip install "edgeexit[serve]"')
pytestmark = pytest.mark.slow

THRESHOLDS = [1.197, 1.18]
PATIENT = RemoteLimits(timeout_s=PATIENCE_S)


@pytest.fixture(scope="module")
def local(compiled: Path) -> Runner:
    """The bundle with every stage here, and thresholds that let some samples leave at each exit."""
    runner = load_quietly(compiled, mode="staged")
    runner.thresholds = THRESHOLDS
    return runner


@pytest.fixture(scope="module")
def server(compiled: Path) -> Iterator[Served]:
    """Its last two stages in a server with a token."""
    with run_server(compiled, "--stages", "2-", "--workers", "2", "--max-batch", "8", token="secret") as server:
        yield server


def ask(served: Served, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, object]]:
    """One request with the token; status and JSON."""
    with closing(http.client.HTTPConnection(*served.address, timeout=PATIENCE_S)) as connection:
        connection.request(method, path, body, {"Authorization": "Bearer secret", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_answers_are_those_of_the_network_in_one_place(
    local: Runner, server: Served, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every label and exit, in batches that are cut to what a request may have, with the token from the environment."""
    monkeypatch.setenv("EDGEEXIT_REMOTE_TOKEN", "secret")
    x = images(24)
    expected = local.batch(x)
    urls = {k: server.models[f"chain-stage-{k}"] for k in (2, 3)}
    limits = RemoteLimits(timeout_s=PATIENCE_S, max_batch=8)
    runner = load_quietly(compiled, mode="staged", remote=urls, remote_limits=limits)
    assert isinstance(runner, RemoteRunner)
    with runner:
        runner.thresholds = THRESHOLDS
        runner.check_remote(x[:4])
        found = runner.batch(x)

    assert {1, 2, 3} == {p.exit for p in expected}
    assert [(p.exit, p.label) for p in expected] == [(p.exit, p.label) for p in found]
    assert np.allclose([p.logits for p in expected], [p.logits for p in found], atol=1e-5)
    assert not any(p.fallback for p in found)


@pytest.mark.parametrize("send", ["auto", "boundary", "input"])
@pytest.mark.parametrize("wire", ["float16", "int8"])
def test_fewer_bytes_give_the_same_answers_to_their_rounding(
    local: Runner, server: Served, compiled: Path, send: str, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boundary tensors or the input, whichever is answered sooner or is asked for, at half and at a quarter of the bytes."""
    monkeypatch.setenv("EDGEEXIT_REMOTE_TOKEN", "secret")
    payload, x = RemotePayload(send, wire), images(8)
    urls = {3: server.models["chain-stage-3"]}
    runner = load_quietly(compiled, mode="staged", remote=urls, remote_limits=PATIENT, remote_payload=payload)
    assert isinstance(runner, RemoteRunner)
    with runner:
        runner.check_remote(x[:4])
        found = runner.batch(x)
        sends = runner.remote.sends
    _, logits = local.replay(x)

    assert sends[3] in (("boundary", "input") if send == "auto" else (send,))
    assert {3} == {p.exit for p in found}
    differences = np.abs(np.stack([p.logits for p in found]) - logits[:, 2]).max() / np.abs(logits[:, 2]).max()
    assert 0 < differences < {"float16": 0.01, "int8": 0.1}[wire]


def test_the_protocol_says_what_there_is(server: Served) -> None:
    """Health, the server, the models and what they take; each model only under its own name."""
    assert 200 == ask(server, "GET", "/v2/health/live")[0] == ask(server, "GET", "/v2/health/ready")[0]
    assert "edgeexit" == ask(server, "GET", "/v2")[1]["name"]
    assert {"name": "chain-stage-3", "ready": True} == ask(server, "GET", "/v2/models/chain-stage-3/ready")[1]
    described = ask(server, "GET", "/v2/models/chain-stage-3")[1]
    assert {"name": "x", "datatype": "FP32", "shape": [-1, 3, 8, 8]} in described["inputs"]  # type: ignore[operator]
    assert 404 == ask(server, "GET", "/v2/models/chain-stage-1")[0]


def test_what_is_refused_says_why(server: Served) -> None:
    """No token, another method, no request of the protocol, more bytes than the model's tensors can have."""
    infer = "/v2/models/chain-stage-2/infer"

    assert 401 == ask(server, "POST", infer, b"{}", Authorization="Bearer guess")[0]
    assert 400 == ask(server, "POST", infer, b"{}")[0]
    assert 400 == ask(server, "POST", infer, b"{}", **{HEADER_LENGTH: "-1"})[0]
    assert 400 == ask(server, "POST", infer, b"{}", **{HEADER_LENGTH: "9" * 5000})[0]
    assert 413 == ask(server, "POST", infer, b" " * 10_000_000)[0]


def test_what_is_under_way_is_answered_before_the_end(compiled: Path) -> None:
    """A request whose head came before SIGTERM is answered, and the server ends with code 0; later connections are refused."""
    x = images(1)
    body, length = encode_request({"x": x}, [])
    with (
        run_server(compiled, "--stages", "3") as served,
        closing(http.client.HTTPConnection(*served.address, timeout=PATIENCE_S)) as connection,
    ):
        connection.putrequest("POST", "/v2/models/chain-stage-3/infer")
        for name, value in (("Content-Length", str(len(body))), (HEADER_LENGTH, str(length))):
            connection.putheader(name, value)
        connection.endheaders(body[:length])
        assert 200 == ask(served, "GET", "/v2/health/live")[0]  # the head of the first has come by then
        served.process.terminate()
        _wait_until_refused(served)
        connection.send(body[length:])
        response = connection.getresponse()
        answer = json.loads(response.read())
        code = served.process.wait(PATIENCE_S)

    assert (200, "chain-stage-3", 0) == (response.status, answer["model_name"], code)


def test_what_was_sent_before_the_signal_is_answered(compiled: Path) -> None:
    """Thirty-two connections ask, and then SIGTERM comes at once: each gets a whole answer, and the server ends with code 0."""
    body, length = encode_request({"x": images(1)}, [])
    path, headers = "/v2/models/chain-stage-3/infer", {HEADER_LENGTH: str(length)}
    with ExitStack() as opened:
        served = opened.enter_context(run_server(compiled, "--stages", "3"))
        connections = [
            opened.enter_context(closing(http.client.HTTPConnection(*served.address, timeout=PATIENCE_S)))
            for _ in range(32)
        ]
        for connection in connections:  # once before, so that each is known to the server
            connection.request("GET", "/v2/health/live")
            connection.getresponse().read()
        for connection in connections:
            connection.request("POST", path, body, headers)
        served.process.terminate()
        answers = [connection.getresponse() for connection in connections]
        names = [json.loads(answer.read())["model_name"] for answer in answers]
        code = served.process.wait(PATIENCE_S)

    assert ({200}, {"chain-stage-3"}, 0) == ({answer.status for answer in answers}, set(names), code)


def _wait_until_refused(served: Served) -> None:
    """Connections are refused from when the server has seen the signal; each attempt itself takes part of its time."""
    try:
        while True:
            with socket.create_connection(served.address, PATIENCE_S) as attempt:
                attempt.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                attempt.recv(1)
    except OSError:
        return


def test_where_a_server_cannot_listen_is_said(tmp_path: Path) -> None:
    """A port that is taken, a host that there is not, a key without its certificate, a certificate that is none."""
    from edgeexit.serving.server.process import Address

    with closing(Address("127.0.0.1", 0).bind()) as bound:
        for host, port in (bound.getsockname(), ("nobody.invalid", 0)):
            with pytest.raises(InputError, match="cannot listen"):
                Address(host, port).bind()
    for certificate in (None, tmp_path / "missing.pem"):
        with pytest.raises(InputError, match="certificate"):
            Address("127.0.0.1", 0, certificate, tmp_path / "key.pem").check_certificate()


def test_nothing_of_an_answer_is_held_back() -> None:
    """Headers and body are written one after the other: with Nagle's algorithm the body would wait 40 ms for the other end."""
    from edgeexit.serving.server.process import Address

    with closing(Address("127.0.0.1", 0).bind()) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with closing(connection):
            assert 0 != connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_only_stages_that_there_are_can_be_served(compiled: Path) -> None:
    """A range of stages of the bundle; the message says how to write one."""
    assert ([1, 2, 3], [3], [2, 3], [2]) == tuple(parse_stages(text, 3) for text in (None, "3-", "2-3", "2"))
    for text in ("0-", "4-", "3-2", "x", "-", "-2", "", "1,3"):
        with pytest.raises(InputError, match="write 3-"):
            parse_stages(text, 3)
    assert 2 == run_edgeexit("serve", compiled, "--stages", "4-").returncode

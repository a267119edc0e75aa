"""Later stages on another machine: the same answers while the server is there, an answer in any case."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeexit
from edgeexit.errors import InputError
from edgeexit.runtime import CalibrationWarning, Runner, load_quietly
from edgeexit.runtime.remote.limits import Gate, RemoteLimits
from edgeexit.runtime.remote.runner import RemoteRunner
from tests.networks import images
from tests.support.remote_answers import assert_same_answers
from tests.support.v2_server import V2Server, serve_stages

THRESHOLDS = [1.197, 1.18]
PATIENT = RemoteLimits(timeout_s=30)


@pytest.fixture(scope="module")
def local(compiled: Path) -> Runner:
    """The bundle with every stage here, and thresholds that let some samples leave at each exit."""
    runner = load_quietly(compiled, mode="staged")
    runner.thresholds = THRESHOLDS
    return runner


@pytest.fixture
def server(local: Runner) -> Iterator[V2Server]:
    with serve_stages(local.bundle) as server:
        yield server


def open_remote(path: Path, urls: dict[int, str], limits: RemoteLimits = PATIENT) -> RemoteRunner:
    runner = load_quietly(path, mode="staged", remote=urls, remote_limits=limits)
    assert isinstance(runner, RemoteRunner)
    runner.thresholds = THRESHOLDS
    return runner


@pytest.mark.parametrize("stages", [[3], [2, 3]])
@pytest.mark.parametrize("binary", [True, False])
def test_answers_are_those_of_the_network_in_one_place(
    local: Runner, server: V2Server, compiled: Path, stages: list[int], binary: bool
) -> None:
    """Every label and exit, one by one and in batches, from servers that answer in binary or in JSON."""
    server.binary = binary
    with open_remote(compiled, {k: server.url(k) for k in stages}, RemoteLimits(timeout_s=30, max_batch=5)) as runner:
        assert_same_answers(local, runner)


def test_only_what_no_exit_here_is_sure_of_goes_up(server: V2Server, compiled: Path) -> None:
    """A sample that leaves here costs no request."""
    with open_remote(compiled, {3: server.url(3)}) as runner:
        runner.thresholds = [-1.0, 10.0]
        runner(images(1))

    assert [] == server.seen


def test_the_last_exit_here_answers_when_the_server_is_gone(local: Runner, compiled: Path) -> None:
    """Every sample is answered; after some failures the server is left alone for a while, and tried again after it."""
    with serve_stages(local.bundle) as server:
        urls = {3: server.url(3)}
    x = images(1)
    limits = RemoteLimits(timeout_s=30, failures=2, pause_s=1e-9)
    with open_remote(compiled, urls, limits) as runner:
        runner.thresholds = [-1.0, -1.0]
        found = [runner(x) for _ in range(3)]
        assert {"failed": 3} == runner.remote.gate.counts
    with open_remote(compiled, urls, RemoteLimits(timeout_s=30, failures=2, pause_s=3600)) as runner:
        runner.thresholds = [-1.0, -1.0]
        found += [runner(x) for _ in range(4)]
        assert {"failed": 2, "server gone": 2} == runner.remote.gate.counts

    assert {(2, True, False)} == {(p.exit, p.fallback, p.late) for p in found}
    assert np.allclose(local.forced(x, exit=2).logits, found[0].logits, atol=1e-5)


def test_requests_are_bounded_in_number_and_in_time(server: V2Server, compiled: Path) -> None:
    """More than `max_per_s`, whole ways through the stages there, are answered here; a late server is not waited for; `late` says so."""
    x = images(1)
    with open_remote(compiled, {3: server.url(3)}, RemoteLimits(timeout_s=30, max_per_s=1e-3)) as runner:
        runner.thresholds = [-1.0, -1.0]
        assert [False, True, True] == [runner(x).fallback for _ in range(3)]
        assert {"answered": 1, "too often": 2} == runner.remote.gate.counts
    with open_remote(
        compiled, {k: server.url(k) for k in (2, 3)}, RemoteLimits(timeout_s=30, max_per_s=1e-3)
    ) as runner:
        runner.check_remote(x)  # is not held back, and holds nothing back
        runner.thresholds = [-1.0, -1.0]
        assert [(3, False), (1, True)] == [(p.exit, p.fallback) for p in (runner(x), runner(x))]
    server.delay_s = 0.5
    with open_remote(compiled, {3: server.url(3)}) as runner:
        runner.thresholds = [-1.0, -1.0]
        in_time = runner(x, deadline_s=0.2)
        too_late = runner(x, deadline_s=1e-9)

    assert in_time.fallback
    assert (True, True) == (too_late.fallback, too_late.late)


def _one_output(**entry: Any) -> bytes:
    return json.dumps({"outputs": [entry]}).encode()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (302, b""),
        (200, b""),
        (200, b"\x80\x04\x95not json"),
        (200, b"[" * 10_000),
        (200, b'{"outputs": 3}'),
        (200, _one_output(name="z3", shape=1, datatype="FP32", data=[])),
        (200, _one_output(name="z3", shape=[1, 4], datatype="FP32", parameters=[])),
        (200, _one_output(name="z3", shape=[1, 4], datatype="FP32", data=[{}, 2, 3, 1e999])),
        (200, _one_output(name="z3", shape=[1, 4], datatype="FP32", data=[1, 2, 3])),
        (200, _one_output(name="z3", shape=[1, 5], datatype="FP32", data=[1, 2, 3, 4, 5])),
        (200, _one_output(name="z3", shape=[1, 4], datatype="FP32", data=["nan"] * 4)),
        (200, b"x" * 200_000),
    ],
    ids=range(13),
)
def test_whatever_a_server_answers_is_no_more_than_no_answer(
    server: V2Server, compiled: Path, status: int, body: bytes
) -> None:
    """Errors, redirections, other shapes, texts, NaN and more bytes than there can be: the last exit here answers."""
    server.answer = (status, body)
    with open_remote(compiled, {3: server.url(3)}) as runner:
        runner.thresholds = [-1.0, -1.0]
        found = runner(images(1))
        with pytest.raises(InputError, match="gives no answer"):
            runner.check_remote(images(1))

    assert (2, True) == (found.exit, found.fallback)


def test_the_stages_of_another_network_are_found_out(local: Runner, server: V2Server, compiled: Path) -> None:
    """A server cannot say which network it has; its answers can be compared with the bundle's own."""
    score = local.bundle.manifest.stages[2].score
    outputs = [
        {"name": "z3", "shape": [1, 4], "datatype": "FP32", "data": [9, 0, 0, 0]},
        {"name": score, "shape": [1], "datatype": "FP32", "data": [0]},
    ]
    server.answer = (200, json.dumps({"outputs": outputs}).encode())
    with open_remote(compiled, {3: server.url(3)}) as runner, pytest.raises(InputError, match="logits differ"):
        runner.check_remote(images(1))


def test_a_connection_that_the_server_has_closed_is_opened_again(server: V2Server, compiled: Path) -> None:
    """As servers do between two requests: no answer is lost by it."""
    server.drops_connections = True
    with open_remote(compiled, {3: server.url(3)}) as runner:
        runner.thresholds = [-1.0, -1.0]
        assert [3, 3, 3] == [runner(images(1)).exit for _ in range(3)]
        assert {"answered": 3} == runner.remote.gate.counts


def test_a_server_that_is_gone_is_tried_again_one_request_at_a_time() -> None:
    """After `pause_s` one request goes up; its answer opens the way again, its failure closes it for as long again."""
    now = [0.0]
    gate = Gate(RemoteLimits(failures=2, pause_s=10), clock=lambda: now[0])
    for _ in range(2):
        assert not gate.pass_one()
        gate.note(answered=False)
    assert "server gone" == gate.pass_one()
    now[0] = 11.0
    assert ["", "server gone"] == [gate.pass_one(), gate.pass_one()]
    gate.note(answered=False)
    assert "server gone" == gate.pass_one()
    now[0] = 22.0
    assert not gate.pass_one()
    gate.note(answered=True)

    assert not gate.pass_one()


def test_a_token_goes_to_the_server_and_nowhere_unencrypted(
    server: V2Server, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment, into the header; refused over http to another machine."""
    monkeypatch.setenv("EDGEEXIT_REMOTE_TOKEN", "secret\n")  # as from a file
    with open_remote(compiled, {3: server.url(3)}) as runner:
        runner.thresholds = [-1.0, -1.0]
        runner(images(1))

    assert ["Bearer secret"] == [headers["Authorization"] for headers in server.seen]
    monkeypatch.setenv("EDGEEXIT_REMOTE_TOKEN", "se\ncret")
    with pytest.raises(InputError, match="blanks") as refused:
        load_quietly(compiled, remote={3: server.url(3)})
    assert "cret" not in str(refused.value).replace("secrets", "")
    monkeypatch.setenv("EDGEEXIT_REMOTE_TOKEN", "secret")
    monkeypatch.setenv("EDGEEXIT_REMOTE_CA", "missing.pem")
    with pytest.raises(InputError, match=r"missing\.pem"):
        load_quietly(compiled, remote={3: "https://example.org/v2/models/net"})
    with pytest.raises(InputError, match="unencrypted"):
        load_quietly(compiled, remote={3: "http://example.org/v2/models/net"})


@pytest.mark.parametrize(
    "remote",
    [
        {},
        {1: "http://h/v2/models/m", 2: "http://h/v2/models/m", 3: "http://h/v2/models/m"},
        {2: "http://h/v2/models/m"},
        {4: "http://h/v2/models/m"},
        {3: "ftp://h/v2/models/m"},
        {3: "http://h/"},
        {3: "http://h/v2/models/"},
        {3: "http://h/v2/models/a b"},
        {3: "http://user:password@h/v2/models/m"},
        {3: "grpc://h/"},
        {3: "grpc://h/v2/models/m"},
        {3: "grpc://user:password@h/m"},
        {3: 5},
    ],
)
def test_only_the_last_stages_can_be_remote(compiled: Path, remote: dict[int, Any]) -> None:
    """The first exit is here, so that there is always an answer; a URL names a model."""
    with pytest.raises(InputError, match=r"remote|V2 server"):
        load_quietly(compiled, remote=remote)


def test_one_sample_is_one_sample(server: V2Server, compiled: Path) -> None:
    """Several are for `batch`, and the message says so, as of any Runner."""
    with open_remote(compiled, {3: server.url(3)}) as runner, pytest.raises(InputError, match=r"runner\.batch"):
        runner(images(2))


def test_many_inputs_go_up_together_or_not_at_all(server: V2Server, compiled: Path) -> None:
    """One request after the other is what `batch` avoids, and the message says so."""
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(compiled, mode="staged", remote={3: server.url(3)})
    with runner, pytest.raises(InputError, match=r"runner\.batch"):
        runner.run_many(images(8))


@pytest.mark.parametrize("exit", [1, 2, 3])
def test_every_exit_can_be_forced(local: Runner, server: V2Server, compiled: Path, exit: int) -> None:
    """As where all stages are here; nothing holds such a request back, and without the server the last exit here answers."""
    x = images(1)
    with open_remote(compiled, {3: server.url(3)}, RemoteLimits(timeout_s=30, max_per_s=1e-3)) as runner:
        found = [runner.forced(x, exit=exit) for _ in range(2)]
        server.answer = (500, b"")
        without = runner.forced(x, exit=exit)

    assert [(exit, False)] * 2 == [(p.exit, p.fallback) for p in found]
    assert np.allclose(local.forced(x, exit=exit).logits, found[0].logits, atol=1e-5)
    assert (min(exit, 2), exit == 3) == (without.exit, without.fallback)


def test_what_a_server_does_not_take_is_not_sent(server: V2Server, compiled: Path) -> None:
    """A server of plain stages has no use for the network's input: with `auto` it gets the tensors that the stage reads."""
    payload = edgeexit.RemotePayload(send="auto")
    with load_quietly(
        compiled, mode="staged", remote={3: server.url(3)}, remote_limits=PATIENT, remote_payload=payload
    ) as runner:
        assert isinstance(runner, RemoteRunner)
        assert {3: "boundary"} == runner.remote.sends
        assert 3 == runner.forced(images(1), exit=3).exit
    with pytest.raises(InputError, match="wire"):
        edgeexit.RemotePayload(wire="float8")

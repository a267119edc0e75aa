"""Stages of which the last ones are asked of a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from edgeexit.backends.base import Array, Batch
from edgeexit.bundle import Bundle, Manifest, StageEntry
from edgeexit.errors import InputError
from edgeexit.graph.model import BATCH, TensorSpec
from edgeexit.runtime.batch import StageUnavailable
from edgeexit.runtime.remote.endpoint import FAULTS
from edgeexit.runtime.remote.limits import Gate, RemoteLimits
from edgeexit.runtime.remote.opening import open_remote_model
from edgeexit.runtime.remote.payload import AUTO, BOUNDARY, INPUT, RemotePayload
from edgeexit.runtime.remote.protocol import MalformedResponse
from edgeexit.runtime.remote.wire import compress

_TRIALS = 5


@dataclass(frozen=True)
class RemoteStages:
    """Which stages run where.

    Attributes:
        urls: URL of the model of each remote stage, by its number from 1.
        gate: lets their requests up.
        payload: what is sent to them.
        sends: `boundary` or `input`, for each stage.
    """

    urls: Mapping[int, str]
    gate: Gate
    payload: RemotePayload
    sends: dict[int, str]

    @classmethod
    def from_arguments(
        cls, urls: Mapping[int, str], limits: RemoteLimits | None, payload: RemotePayload | None
    ) -> RemoteStages:
        """Check what a caller gives.

        Raises:
            InputError: a URL that is none.
        """
        if not isinstance(urls, Mapping) or not urls:
            msg = f"remote must be a dict of URLs by stage, such as {{3: 'http://host:8000/v2/models/net-stage-3'}}, not {urls!r}."
            raise InputError(msg)
        for url in urls.values():
            open_remote_model(url)
        sent = payload or RemotePayload()
        first = BOUNDARY if sent.send == AUTO else sent.send
        return cls(dict(urls), Gate(limits or RemoteLimits()), sent, dict.fromkeys(urls, first))

    def check(self, exits: int) -> None:
        """Raise InputError unless they are the last stages of a network with so many exits, and not all."""
        if not set(self.urls) < set(range(1, exits + 1)) or set(self.urls) != set(range(min(self.urls), exits + 1)):
            msg = (
                f"remote stages must be the last ones of {exits}, and stage 1 stays here, so that there is always an answer;"
                f" got {sorted(self.urls, key=str)}."
            )
            raise InputError(msg)


class RemoteBatch(Batch):
    """Stages of which the later ones are asked of a server.

    Attributes:
        end_s: when answers are no longer waited for, on the clock of `perf_counter`.
        unbounded: whether requests go up however many went before, and whatever has become of them.
    """

    def __init__(self, local: Batch, bundle: Bundle, remote: RemoteStages) -> None:
        self._local, self._bundle, self._remote, self._gate = local, bundle, remote, remote.gate
        self._endpoints = {stage: open_remote_model(url) for stage, url in remote.urls.items()}
        self.end_s, self.unbounded = float("inf"), False

    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Run one stage.

        Raises:
            StageUnavailable: it is remote, and gives no answer in time.
        """
        if stage not in self._endpoints:
            return self._local.run(stage, tensors)
        manifest = self._bundle.manifest
        entry = manifest.stages[stage - 1]
        names = self._list_sent(entry)
        rows, step = len(tensors[names[0]]), self._gate.limits.max_batch if manifest.dynamic_batch else 1
        requests = [{name: tensors[name][i : i + step] for name in names} for i in range(0, rows, step)]
        on_its_way = (
            self.unbounded or stage - 1 in self._endpoints
        )  # what an earlier stage there has answered counts once
        reason = "" if on_its_way else self._gate.pass_one()
        if reason:
            raise StageUnavailable(reason)
        answered = False
        try:
            parts = [self._ask(entry, request) for request in requests]
            answered = True
        except FAULTS as error:
            raise StageUnavailable(str(error)) from error
        finally:
            self._gate.note(answered=answered)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def choose_what_is_sent(self, tensors: Mapping[str, Array]) -> None:
        """For each remote stage: the boundary tensors or the input, whichever is answered sooner.

        Args:
            tensors: what all stages read, for one sample.
        """
        manifest = self._bundle.manifest
        for stage in self._endpoints:
            took_s = {how: self._time_sending(how, manifest.stages[stage - 1], tensors) for how in (BOUNDARY, INPUT)}
            self._remote.sends[stage] = min(took_s, key=lambda how: took_s[how])  # the first where neither is answered

    def _time_sending(self, how: str, entry: StageEntry, tensors: Mapping[str, Array]) -> float:
        """Median seconds of a few requests; infinite where one is not answered. The first, which connects, does not count."""
        self._remote.sends[entry.exit] = how
        request, took_s = {name: tensors[name] for name in self._list_sent(entry)}, []
        try:
            for _ in range(1 + _TRIALS):
                start_s = perf_counter()
                self._ask(entry, request)
                took_s.append(perf_counter() - start_s)
        except FAULTS:
            return float("inf")
        return median(took_s[1:])

    def _list_sent(self, entry: StageEntry) -> list[str]:
        """Names of the tensors that go up for a stage."""
        if self._remote.sends[entry.exit] == INPUT:
            return [spec.name for spec in self._bundle.manifest.inputs]
        return [*entry.inputs, *(spec.name for spec in entry.boundaries_in)]

    def _ask(self, entry: StageEntry, tensors: Mapping[str, Array]) -> dict[str, Array]:
        remaining_s = min(self._gate.limits.timeout_s, self.end_s - perf_counter())
        if remaining_s <= 0:
            raise TimeoutError("there is no time left for a request")
        outputs = list_stage_outputs(self._bundle.manifest, entry)
        count = len(next(iter(tensors.values())))
        sent = compress(tensors, self._remote.payload.wire)
        found = self._endpoints[entry.exit].infer(sent, outputs, count, remaining_s)
        if np.isnan(found[entry.logits]).any():
            raise MalformedResponse("the server's logits are NaN")
        return found

    def close(self) -> None:
        """Close the connections; the local stages are the Runner's."""
        for endpoint in self._endpoints.values():
            endpoint.close()


def list_stage_outputs(manifest: Manifest, stage: StageEntry) -> list[TensorSpec]:
    """Outputs of a stage; its logits or its score may be boundary tensors as well."""
    batch = (BATCH,) if manifest.dynamic_batch else (1,)
    own = (
        TensorSpec(stage.logits, "float32", (*batch, manifest.classes)),
        TensorSpec(stage.score, "float32", batch),
    )
    return [*own, *(spec for spec in stage.boundaries_out if spec.name not in (stage.logits, stage.score))]

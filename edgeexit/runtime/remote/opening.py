"""A model of a V2 server by its URL: over HTTP or gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from edgeexit.backends.base import Array
from edgeexit.graph.model import TensorSpec
from edgeexit.runtime.remote.endpoint import HttpEndpoint
from edgeexit.runtime.remote.grpc_endpoint import SCHEMES, GrpcEndpoint


class RemoteModel(Protocol):
    """A model of a V2 server, whatever carries its requests. Not for several threads at once."""

    def infer(
        self, tensors: Mapping[str, Array], outputs: Sequence[TensorSpec], count: int, timeout_s: float
    ) -> dict[str, Array]:
        """Ask for outputs of `count` samples.

        Raises:
            TimeoutError: there is no answer in time.
            OSError, http.client.HTTPException, ValueError: no connection, or something else than the answer.
        """

    def close(self) -> None:
        """Close the connection."""


def open_remote_model(url: str) -> RemoteModel:
    """The model at a URL: http://host:8000/v2/models/net-stage-3, https, grpc://host:8001/net-stage-3 or grpcs. Sends nothing yet.

    Raises:
        InputError: it is no such URL; the token or the authority of the environment cannot be used for it.
        MissingExtra: a client that it needs is not installed.
    """
    grpc = isinstance(url, str) and url.partition("://")[0].lower() in SCHEMES
    return GrpcEndpoint(url) if grpc else HttpEndpoint(url)

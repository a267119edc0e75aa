"""A model of a V2 server over gRPC, by the client of `tritonclient[grpc]` (extra `[remote]`).

gRPC ends a request in time by itself, looking the name up and connecting included. A channel is dropped after anything but an answer, so
that the next request does not wait until gRPC tries a server again of its own accord.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from edgeexit.backends.base import Array
from edgeexit.errors import InputError, MissingExtra
from edgeexit.graph.model import TensorSpec
from edgeexit.runtime.remote.endpoint import AUTHORITY, explain_url, read_token_for
from edgeexit.runtime.remote.protocol import (
    DATA_TYPES,
    explain_strange_response,
    find_largest_response,
    read_outputs,
    shape_for_wire,
)

SCHEMES = ("grpc", "grpcs")
_PORT = 8001  # Triton's
_DEADLINE = "StatusCode.DEADLINE_EXCEEDED"


class GrpcEndpoint:
    """A model of a V2 server over gRPC, such as grpc://host:8001/net-stage-3; grpcs is encrypted. Not for several threads at once.

    Args:
        url: the path is the model's name.

    Raises:
        InputError: it is not such a URL; the token or the authority of the environment cannot be used for it.
        MissingExtra: the client is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or _PORT
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(explain_url(url)) from error
        self._model = parts.path[1:]
        strange = parts.username is not None or parts.query or parts.fragment
        if parts.scheme not in SCHEMES or not host or strange or not _is_name(self._model):
            raise InputError(explain_url(url))
        self._grpc = _import_client()
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        token = read_token_for(host, encrypted=parts.scheme == "grpcs")
        self._headers = {"authorization": f"Bearer {token}"} if token else None
        self._tls = {"ssl": True, "root_certificates": _find_authority()} if parts.scheme == "grpcs" else {}
        self._client: Any = None
        self._process, self._largest = 0, 0

    def infer(
        self, tensors: Mapping[str, Array], outputs: Sequence[TensorSpec], count: int, timeout_s: float
    ) -> dict[str, Array]:
        """Ask for outputs of `count` samples; see `RemoteModel`."""
        client = self._open(find_largest_response(outputs, count))
        asked = [self._grpc.InferRequestedOutput(spec.name) for spec in outputs]
        inputs = [self._make_input(name, array) for name, array in shape_for_wire(tensors).items()]
        try:
            answer = client.infer(
                self._model, inputs, outputs=asked, headers=self._headers, client_timeout=timeout_s
            ).get_response()
        except self._grpc.InferenceServerException as error:
            self.close()
            if error.status() == _DEADLINE:
                msg = f"no answer within {timeout_s:.3g} s"
                raise TimeoutError(msg) from error
            raise ConnectionError(f"{error.status() or 'gRPC'}: {error.message()}") from error
        return decode_answer(answer, outputs, count)

    def close(self) -> None:
        """Close the channel."""
        if self._client is not None and self._process == os.getpid():
            self._client.close()
        self._client = None

    def _make_input(self, name: str, array: Array) -> Any:
        made = self._grpc.InferInput(name, list(array.shape), DATA_TYPES[str(array.dtype)])
        return made.set_data_from_numpy(array)

    def _open(self, largest: int) -> Any:
        """The client, which takes no answer of more bytes than `largest`, or than an earlier one could have had.

        Raises:
            InputError: it was used before this process was forked.
        """
        if self._client is not None and self._process != os.getpid():
            msg = (
                "gRPC does not work in a process that was forked after a request: load the bundle in the child process."
            )
            raise InputError(msg)
        if largest > self._largest:
            self.close()
        if self._client is None:
            self._largest, self._process = max(largest, self._largest), os.getpid()
            options = [
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", self._largest),
                ("grpc.enable_http_proxy", 0),
                ("grpc.use_local_subchannel_pool", 1),  # else a new channel waits with the old one
            ]
            self._client = self._grpc.InferenceServerClient(self._address, channel_args=options, **self._tls)
        return self._client


def decode_answer(answer: Any, outputs: Sequence[TensorSpec], count: int) -> dict[str, Array]:
    """The outputs of a `ModelInferResponse` by name, of the dtypes and shapes that the manifest has for `count` samples.

    Raises:
        MalformedResponse: one is missing, or of another type, shape or size.
    """
    with explain_strange_response():
        entries = {
            o.name: {"datatype": o.datatype, "shape": o.shape, "data": o.contents.fp32_contents} for o in answer.outputs
        }
        raw = dict(zip((o.name for o in answer.outputs), answer.raw_output_contents, strict=False))
        return read_outputs(entries, raw, outputs, count)


def _is_name(model: str) -> bool:
    return bool(model) and all("!" <= letter <= "~" and letter != "/" for letter in model)


def _import_client() -> Any:
    try:
        from tritonclient import grpc
    except (ImportError, RuntimeError) as error:  # RuntimeError: the package without its extra `grpc`
        raise MissingExtra("tritonclient[grpc]", "remote") from error
    return grpc


def _find_authority() -> str | None:
    """The file of the environment with the authority's certificate.

    Raises:
        InputError: it cannot be read.
    """
    file = os.environ.get(AUTHORITY) or None
    try:
        if file is not None:
            with open(file, "rb"):  # noqa: PTH123 - only whether it can be
                pass
    except OSError as error:
        msg = f"{AUTHORITY} names {file}, from which no certificate can be read ({error.strerror or error})."
        raise InputError(msg) from error
    return file

"""Translate ONNX Runtime's exceptions into one clear error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from edgeexit.errors import ModelError

_LONGEST = 400  # characters
_LABEL = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE = re.compile(r"/\S+/onnxruntime/\S+:\d+ ")  # before the signature of the function that refused
_OPERATOR_SET = re.compile(
    r"Opset (\d+) is under development.*official support for domain (\S+) is till opset (\d+)", re.DOTALL
)


@contextmanager
def translate_runtime_errors(what: str) -> Iterator[None]:
    """Turn ONNX Runtime's exceptions into a ModelError."""
    try:
        yield
    except list_runtime_exceptions() as error:
        raise ModelError(f"{what}: {format_runtime_error(error)}") from error


@cache
def list_runtime_exceptions() -> tuple[type[Exception], ...]:
    """Exceptions of ONNX Runtime; some derive from RuntimeError, some from Exception alone."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
    return (*own, RuntimeError, MemoryError, UnicodeDecodeError)  # its own messages may quote what is no text


def format_runtime_error(error: BaseException) -> str:
    """The first line of what it says, without its own source lines and signatures."""
    text = str(error).strip()
    too_new = _OPERATOR_SET.search(text)
    if too_new:
        version, domain, newest = too_new.groups()
        return f"its newest operator set of {domain} is {newest}, the model asks for {version}. Export it for {newest}."
    first = (text.splitlines() or [type(error).__name__])[0]
    return _strip_source(_LABEL.sub("", first))[:_LONGEST]


def _strip_source(text: str) -> str:
    found = _SOURCE.search(text)
    if not found:
        return text
    signature = text[found.end() :]
    depth = 0
    for place, letter in enumerate(signature):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and depth == 0:
            return text[: found.start()] + signature[place + 1 :].removeprefix(" const").strip()
    return text

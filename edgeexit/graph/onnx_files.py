"""ONNX files: of users in any of ONNX's formats, of bundles always in the binary one, whatever their names end in."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
from google.protobuf import json_format, text_format
from google.protobuf.message import DecodeError

UNREADABLE = (
    DecodeError,
    ValueError,
    RecursionError,
    RuntimeError,  # of the parser of textual models, for numbers beyond a float
    json_format.ParseError,
    text_format.ParseError,
    onnx.parser.ParseError,
)
"""Exceptions of the parsers for a file that is not a model, or is damaged."""

_LONGEST = 200  # characters of a parser's message, which may quote the whole file


def load_binary(path: Path) -> onnx.ModelProto:
    """The model in a file of a bundle, its outside weights left outside.

    `onnx.load` alone would choose the format by the file's name, which a damaged manifest may have chosen.

    Raises:
        one of UNREADABLE: it is no model.
    """
    return onnx.load(str(path), format="protobuf", load_external_data=False)


def parse_reason(error: BaseException) -> str:
    """A parser's error message in one line."""
    reason = error.args[0] if error.args and isinstance(error.args[0], bytes) else str(error)
    text = " ".join((reason.decode(errors="replace") if isinstance(reason, bytes) else reason).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."

"""Attributes of local functions, as ONNX Runtime resolves them.

If a call omits an attribute, its default holds; without a default the attribute is absent.
ONNX's inliner forgets the defaults. Nor can all of them be written into the calls: an attribute that a function only passes on may be
missing in one of its calls and given in another, and then falls to the default of what it is handed to, another function or an
operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import onnx

from edgeexit.graph.dataflow import list_inner_graphs

_Key = tuple[str, str, str]


def fill_default_attributes(proto: onnx.ModelProto) -> None:
    """Make every call of a local function give all its attributes: defaults are written in; of what has none there is a copy without it."""
    functions = _Functions(proto)
    functions.resolve(proto.graph.node)
    for function in functions:
        functions.resolve(function.node)


class _Functions:
    """The local functions of a model, and copies of them that lack attributes."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto = proto
        self._by_key = {_make_key(function.name, function): function for function in proto.functions}
        self._copies: dict[tuple[_Key, frozenset[str]], str] = {}

    def __iter__(self) -> Iterator[onnx.FunctionProto]:
        """All, and those that are added meanwhile."""
        index = 0
        while index < len(self._proto.functions):
            yield self._proto.functions[index]
            index += 1

    def resolve(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Resolve the calls among these nodes and in the graphs inside them."""
        for node in _list_nodes(nodes):
            key = _make_key(node.op_type, node)
            if key in self._by_key:
                self._resolve_call(node, key)

    def _resolve_call(self, node: onnx.NodeProto, key: _Key) -> None:
        function = self._by_key[key]
        given = {attribute.name for attribute in node.attribute}
        node.attribute.extend(default for default in function.attribute_proto if default.name not in given)
        missing = frozenset(function.attribute) - given
        if missing:
            node.op_type = self._copy_without_attributes(key, missing)

    def _copy_without_attributes(self, key: _Key, missing: frozenset[str]) -> str:
        """The name of the copy that lacks these attributes."""
        if (key, missing) not in self._copies:
            self._copies[key, missing] = self._copy(key, missing)
        return self._copies[key, missing]

    def _copy(self, key: _Key, missing: frozenset[str]) -> str:
        copy = self._proto.functions.add()
        copy.CopyFrom(self._by_key[key])
        name = copy.name = self._unused_name(key)
        _drop_attributes(copy, missing)
        self._by_key[_make_key(name, copy)] = copy
        return name

    def _unused_name(self, key: _Key) -> str:
        domain, name, overload = key
        number = 1
        while (domain, f"{name}_{number}", overload) in self._by_key:
            number += 1
        return f"{name}_{number}"


def _make_key(name: str, of: onnx.NodeProto | onnx.FunctionProto) -> _Key:
    return of.domain, name, getattr(of, "overload", "")


def _drop_attributes(function: onnx.FunctionProto, attributes: frozenset[str]) -> None:
    """Take the attributes away, and from the function's nodes what refers to them."""
    _keep(function.attribute, [name for name in function.attribute if name not in attributes])
    for node in _list_nodes(function.node):
        _keep(node.attribute, [a for a in node.attribute if a.ref_attr_name not in attributes])


def _keep(field: Any, kept: list[Any]) -> None:
    del field[:]
    field.extend(kept)


def _list_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Iterate over nodes and all nodes inside their graphs."""
    for node in nodes:
        yield node
        for graph in list_inner_graphs(node):
            yield from _list_nodes(graph.node)

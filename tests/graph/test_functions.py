"""Local functions: their attributes mean to edgeexit what they mean to ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.support.onnx_writer import CLASSES, Writer, check

WIDTH = 8
IMPORTS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def call(kind: str, x: str, y: str, slope: float | str | None) -> onnx.NodeProto:
    """A node with a slope; a name passes on the attribute of the function around it."""
    domain = "" if kind == "LeakyRelu" else "own"
    own: dict[str, Any] = {"alpha": slope} if isinstance(slope, float) else {}
    node = helper.make_node(kind, [x], [y], domain=domain, **own)
    if isinstance(slope, str):
        node.attribute.add(name="alpha", ref_attr_name=slope, type=onnx.AttributeProto.FLOAT)
    return node


def function(name: str, calls: list[tuple[str, float | str | None]], default: float | None) -> onnx.FunctionProto:
    """One that applies these in turn, and has an attribute `alpha`."""
    nodes = [call(kind, f"t{i}", f"t{i + 1}", slope) for i, (kind, slope) in enumerate(calls)]
    made = helper.make_function("own", name, ["t0"], [f"t{len(calls)}"], nodes, IMPORTS)
    if default is None:
        made.attribute.append("alpha")
    else:
        made.attribute_proto.append(helper.make_attribute("alpha", default))
    return made


def network(path: Path, functions: list[onnx.FunctionProto], first: float | None, second: float | None) -> Path:
    """Two exits; each calls the last function."""
    w = Writer()
    a = w.op("MatMul", "x", w.weight(WIDTH, WIDTH))
    for slope, x, logits in ((first, a, "z1"), (second, w.op("MatMul", a, w.weight(WIDTH, WIDTH)), "z2")):
        own: dict[str, Any] = {} if slope is None else {"alpha": slope}
        w.op("MatMul", w.op(functions[-1].name, x, domain="own", **own), w.weight(WIDTH, CLASSES), out=logits)
    return w.save(path, {"x": ["n", WIDTH]}, ["z1", "z2"], functions=functions)


def samples() -> dict[str, Any]:
    return {"x": np.random.default_rng(0).standard_normal((3, WIDTH)).astype(np.float32)}


@pytest.mark.parametrize("given_slope", [None, 0.1])
def test_a_local_function_keeps_its_default(given_slope: float | None, tmp_path: Path) -> None:
    """Where the calling node does not say otherwise, also when another function calls it."""
    leaky = function("Leaky", [("LeakyRelu", "alpha")], 0.7)
    outer = function("Outer", [("Leaky", given_slope)], 0.3)

    check(network(tmp_path / "m.onnx", [leaky, outer], None, 0.5), samples(), ["z1", "z2"])


@pytest.mark.parametrize("default", [None, 0.3])
def test_an_attribute_passed_on_but_not_given_takes_the_default_of_the_inner_function(
    default: float | None, tmp_path: Path
) -> None:
    """A function's own, and beside it in the same body the operator's, in one call and not in the other."""
    leaky = function("Leaky", [("LeakyRelu", "alpha")], 0.7)
    outer = function("Outer", [("Leaky", "alpha"), ("LeakyRelu", "alpha")], default)

    check(network(tmp_path / "m.onnx", [leaky, outer], None, 0.5), samples(), ["z1", "z2"])


slopes = st.none() | st.sampled_from([0.1, 0.4])
handed = slopes | st.just("alpha")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_functions_that_call_functions_are_what_onnx_runtime_makes_of_them(data: st.DataObject, tmp_path: Path) -> None:
    """Three deep, attributes given, passed on and left out in all combinations."""
    functions: list[onnx.FunctionProto] = []
    for name in ("A", "B", "C"):
        kinds = st.sampled_from(["LeakyRelu", *(f.name for f in functions)])
        calls = data.draw(st.lists(st.tuples(kinds, handed), min_size=1, max_size=3))
        functions.append(function(name, calls, data.draw(slopes)))

    path = network(tmp_path / "m.onnx", functions, data.draw(slopes), data.draw(slopes))

    check(path, samples(), ["z1", "z2"])

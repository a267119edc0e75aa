"""Run a model once to learn what shape inference cannot tell: the dtype and shape of tensors inside it, and whether its batch is free."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx

from edgeexit.backends.base import Array, Settings
from edgeexit.backends.example_inputs import (
    REACHES,
    UNLIKE_SEEDS,
    Values,
    make_diverse_inputs,
    make_inputs,
    select_rows,
)
from edgeexit.backends.onnxruntime.errors import translate_runtime_errors
from edgeexit.backends.onnxruntime.sessions import open_session
from edgeexit.backends.stopping import enforce_run_limit, run_options
from edgeexit.compiler.constant_branches import find_constant_conditions, take_branches
from edgeexit.errors import ModelError
from edgeexit.graph.cost import find_uncounted_tensors
from edgeexit.graph.dataflow import Flow
from edgeexit.graph.exits import infer_output_specs
from edgeexit.graph.model import BATCH, DTYPES, Dim, Network, TensorSpec
from edgeexit.graph.split import explain_data_dependent_shapes

if TYPE_CHECKING:
    import onnxruntime as ort


_Run: TypeAlias = Callable[[Values], dict[str, Array]]

# Ends of loops, powers and what is neither: where a branch for large batches may begin.
_BATCHES = (2, 3, 4, 5, 8, 16, 33)
_INVARIANCE_SAMPLES = 17  # samples, few of them distinct: what is dealt out over a batch, such as the places of an expert, then runs short
_FATAL_ONLY = 4  # ONNX Runtime's log severity


def add_output_shapes(net: Network, examples: Values | None) -> Network:
    """The same network, outputs whose shape neither the file nor inference knows declared as a run on examples or random inputs shows them.

    Raises:
        ModelError: it does not run.
    """
    outputs = infer_output_specs(net)
    unknown = [o.name for o in outputs if _is_unknown(o)]
    if not unknown:
        return net
    first, more = _run_at_one_and_three(net, unknown, examples)
    specs = _infer_specs(unknown, first, more)
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    del proto.graph.output[:]
    proto.graph.output.extend(specs[o.name].proto() if o.name in specs else o for o in outputs)
    return replace(net, proto=proto)


def add_run_shapes(net: Network, examples: Values | None) -> Network:
    """The same network with the shapes that its costs are counted from and that inference does not know, as a run shows them."""
    unknown = find_uncounted_tensors(net)
    if not unknown:
        return net
    try:
        values = open_model(net, list(unknown), quiet=True)(make_inputs(net.inputs, examples, 0))
    except ModelError:  # the costs stay unknown
        return net
    return replace(net, run_shapes={name: value.shape for name, value in values.items()})


def _is_unknown(output: onnx.ValueInfoProto) -> bool:
    if output.type.WhichOneof("value") not in (None, "tensor_type"):
        return False  # a sequence or a map, whose shape is not needed
    kind = output.type.tensor_type
    return not kind.HasField("shape") or any(not d.dim_value for d in kind.shape.dim[1:])


def replace_constant_branches(net: Network, examples: Values | None) -> Network:
    """The same network, every `If` whose condition is the same for all inputs replaced by the branch it takes.

    Where it asks for the size of the batch, that is fixed at 1: a batch gives what its samples give one by one.
    """
    names = list(find_constant_conditions(net))
    if not names:
        return net
    alone, *together = _run_at_batches(net, names, examples)
    if any(not np.array_equal(alone[n], values[n]) for values in together for n in names):
        return replace_constant_branches(fix_batch(net), examples)
    known = {n: bool(alone[n].all()) for n in names if alone[n].size == 1}
    if not known:
        return net
    copy = onnx.ModelProto()
    copy.CopyFrom(net.proto)
    resolved = replace(net, proto=copy)
    take_branches(resolved, known)
    return replace_constant_branches(resolved, examples)


def _run_at_batches(net: Network, names: list[str], examples: Values | None) -> list[Values]:
    """Values for one sample and, where the batch is free and they run, for several: a condition may ask for the size of the batch."""
    found = [_run(net, names, examples, 1)]
    for batch in _BATCHES if net.dynamic_batch else ():
        with suppress(ModelError):
            found.append(_run(net, names, examples, batch))
    return found


def fix_batch(net: Network) -> Network:
    """The same network, its batch fixed at 1."""
    inputs = tuple(TensorSpec(s.name, s.dtype, s.shape_at_1) for s in net.inputs)
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    for value, spec in zip(proto.graph.input, inputs, strict=True):
        value.CopyFrom(spec.proto())
    for value in proto.graph.output:
        for dim in value.type.tensor_type.shape.dim[:1]:
            dim.Clear()
            dim.dim_value = 1
    return replace(net, proto=proto, inputs=inputs, dynamic_batch=False)


def settle_batch(
    net: Network, names: Collection[str], examples: Values | None
) -> tuple[Network, dict[str, TensorSpec]]:
    """The network, its batch fixed at 1 where a free one does not work (a reshape to a fixed size, say), and what its tensors are.

    Args:
        net: a network.
        names: tensors inside it whose dtype and shape are asked for.
        examples: inputs that it takes, [n, ...] by name; None takes random ones.

    Raises:
        ModelError: a tensor is no dense tensor, or its shape depends on the values of the input.
    """
    if net.dynamic_batch:
        specs = _probe_free_batch(net, names, examples)
        if specs is not None:
            return net, specs
        net = fix_batch(net)
    return net, _probe_tensors(net, names, examples)


def _probe_free_batch(net: Network, names: Collection[str], examples: Values | None) -> dict[str, TensorSpec] | None:
    """Dtype and shape of tensors of a network whose batch may be free; None where it may not.

    A decision that the values of an input take, over an `If` or the turns of a `Loop`, is one for all samples of a batch. The outputs and
    the tensors must hold, row by row, what each sample gives alone: only then may rows of samples that left be dropped from them.
    Positions in the batch, as `MaxPool` gives them to `MaxUnpool`, or sums over the samples before, mean something in the whole batch only.
    """
    flow, outputs = net.flow(), [o.name for o in net.proto.graph.output]
    if not flow.decisions.isdisjoint(flow.ancestors(outputs)):
        return None
    try:
        run = open_model(net, sorted({*names, *outputs}), quiet=True)
        batch = make_inputs(net.inputs, examples, 0, 3)
        alone, together = [run(select_rows(batch, [i])) for i in range(3)], run(batch)
        specs = _infer_specs(sorted(names), alone[0], together)
        if not (_has_batch_rows(specs.values()) and _is_same_alone(together, alone, _TOLERANCE)):
            return None
        order = np.random.default_rng(0).integers(3, size=_INVARIANCE_SAMPLES).tolist()
        if not _is_same_alone(run(select_rows(batch, order)), [alone[i] for i in order], _TOLERANCE):
            return None
        for unlike, each in _run_diverse_inputs(run, net, REACHES[-1:] if flow.data_dependent else REACHES):
            if _list_data_dependent(names, [*alone, *each]) or not _is_same_alone(run(unlike), each, _ROUGH):
                return None
    except ModelError:
        return None
    return specs


# Of the largest value: tells samples that see each other from arithmetic in another order, float16 included.
_TOLERANCE = 1e-2
_ROUGH = 5e-2  # for samples unlike each other, whose largest values int8 rounds by a step or two the other way
_SMALL = 1e-3  # of the largest value of all samples: below it the values of a sample are noise


def _run_diverse_inputs(run: _Run, net: Network, reaches: Sequence[int]) -> Iterator[tuple[Values, Sequence[Values]]]:
    """Unlike samples and what each gives alone, with the widest integers that the network takes; none where it takes no such samples."""
    for seed in UNLIKE_SEEDS:
        for reach in reaches:
            batch = make_diverse_inputs(net.inputs, seed, reach)
            with suppress(ModelError):
                alone = [run(select_rows(batch, [i])) for i in range(3)]
                yield batch, alone
                break


def _is_same_alone(together: Values, alone: Sequence[Values], tolerance: float) -> bool:
    return all(_has_same_rows(values, [row[name] for row in alone], tolerance) for name, values in together.items())


def _has_same_rows(together: Array, alone: list[Array], tolerance: float) -> bool:
    singles = [np.atleast_1d(row) for row in alone]
    if together.ndim == 0 or any(single.shape[1:] != together.shape[1:] for single in singles):
        return False
    apart = np.concatenate(singles)
    if apart.shape != together.shape:
        return False
    if _is_exact(apart.dtype):
        return np.array_equal(together, apart)
    return np.array_equal(together, apart) or _is_within(together, apart, tolerance)


def _is_within(found: Array, expected: Array, tolerance: float) -> bool:
    """Whether each row differs by no more than this share of its own largest value; NaN and infinities where expected."""
    one, other = (
        np.reshape(values, (len(values), -1)).astype(np.result_type(values, np.float16)) for values in (found, expected)
    )
    sizes = np.where(np.isfinite(other), np.abs(other), 0).max(axis=1)
    limits = tolerance * np.maximum(sizes, _SMALL * sizes.max())
    with np.errstate(all="ignore"):  # infinity less infinity
        within = np.abs(one - other) <= limits[:, None]
    return bool((within | (one == other) | (np.isnan(one) & np.isnan(other))).all())


def _is_exact(dtype: np.dtype[Any]) -> bool:
    """Whether values are places, labels or decisions; those of 8 bits may be rounded numbers."""
    return dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize > 1)


def _has_batch_rows(specs: Iterable[TensorSpec]) -> bool:
    """Whether every tensor has one row per sample, so that rows of samples that left can be dropped."""
    return all(spec.shape[:1] == (BATCH,) and "?" not in spec.shape for spec in specs)


def _probe_tensors(net: Network, names: Iterable[str], examples: Values | None) -> dict[str, TensorSpec]:
    """Dtype and shape of tensors of a model whose batch is 1."""
    wanted = sorted(set(names))
    run = open_model(net, wanted, quiet=True)
    with explain_missing_examples(examples):
        first, second = run(make_inputs(net.inputs, examples, 0)), run(make_inputs(net.inputs, examples, 1))
    others = [second, *(row for _, alone in _run_diverse_inputs(run, net, REACHES[-1:]) for row in alone)]
    if data_dependent := _list_data_dependent(wanted, [first, *others]):
        raise ModelError(explain_data_dependent_shapes(data_dependent))
    return _infer_specs(wanted, first, first)


def _list_data_dependent(names: Iterable[str], alone: Sequence[Values]) -> list[str]:
    """Tensors of which single samples give different shapes."""
    return [n for n in names if any(alone[0][n].shape != other[n].shape for other in alone)]


def _infer_specs(names: Iterable[str], one: Values, three: Values) -> dict[str, TensorSpec]:
    return {n: TensorSpec(n, str(one[n].dtype), _infer_shape(one[n].shape, three[n].shape)) for n in names}


def _infer_shape(one: tuple[int, ...], three: tuple[int, ...]) -> tuple[Dim, ...]:
    if len(one) != len(three):  # as `Squeeze` of a single sample gives it: the batch will be fixed at 1
        return one
    if one == three:
        return one
    if one[1:] == three[1:] and (one[0], three[0]) == (1, 3):
        return (BATCH, *one[1:])
    return tuple(a if a == b else "?" for a, b in zip(one, three, strict=True))


def _run_at_one_and_three(net: Network, names: list[str], examples: Values | None) -> tuple[Values, Values]:
    """Values for one sample and for three; for one twice where three do not run, because the batch will then be fixed at 1."""
    first = _run(net, names, examples, 1)
    if net.dynamic_batch:
        with suppress(ModelError):
            return first, _run(net, names, examples, 3)
    return first, first


def _run(net: Network, names: list[str], examples: Values | None, batch: int) -> Values:
    run = open_model(net, names)
    with explain_missing_examples(examples):
        return run(make_inputs(net.inputs, examples, 0, batch))


@contextmanager
def explain_missing_examples(examples: Values | None) -> Iterator[None]:
    """Run a network without representative inputs; a failure may be due to the random inputs."""
    try:
        yield
    except ModelError as error:
        if examples is not None:
            raise
        msg = (
            f"{error} It was run on random inputs: if the model only accepts certain values, pass representative"
            f" inputs (inputs=, --data)."
        )
        raise ModelError(msg) from error


def open_model(
    net: Network, names: list[str], *, quiet: bool = False
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """A function from inputs by name to the values of any tensors of a model by name; `quiet` for inputs that it may well refuse.

    Raises:
        ModelError: ONNX Runtime cannot take or run the model, or a tensor is a sequence, a map, or has a dtype that NumPy does not support.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    _keep_only(proto.graph, Flow.from_graph(proto.graph, []).ancestors(names))
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(proto.SerializeToString(), Settings(), batch_1=False, folder=net.folder)
    _refuse_strange(session)
    options = run_options()
    options.log_severity_level = _FATAL_ONLY if quiet else options.log_severity_level
    return bind_session(session, names, options)


def bind_session(session: ort.InferenceSession, names: Sequence[str], options: ort.RunOptions) -> _Run:
    """The run of a session: inputs by name in, of which it takes those it has, the named outputs out, within the limit on time."""
    taken = {i.name for i in session.get_inputs()}

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        with enforce_run_limit(), translate_runtime_errors("ONNX Runtime cannot run the model"):
            values = session.run(names, {n: x for n, x in inputs.items() if n in taken}, options)
        return dict(zip(names, values, strict=True))

    return run


def _refuse_strange(session: ort.InferenceSession) -> None:
    """Raise ModelError where what it gives cannot lie in a buffer between stages."""
    strange = [
        f"{o.name!r} ({_parse_element_type(o.type)})"
        for o in session.get_outputs()
        if _parse_element_type(o.type) not in DTYPES
    ]
    if strange:
        msg = (
            f"{', '.join(strange)} is a boundary tensor; boundary tensors must be dense and of dtype {', '.join(sorted(DTYPES))}:"
            " cast it to one of them before that, or move the exit."
        )
        raise ModelError(msg)


def _parse_element_type(kind: str) -> str:
    """NumPy's name of the elements of a type as ONNX Runtime writes it; that type where it is no tensor."""
    name = kind.removeprefix("tensor(").removesuffix(")") if kind.startswith("tensor(") else kind
    return {"float": "float32", "double": "float64"}.get(name, name)


def _keep_only(graph: onnx.GraphProto, kept: Collection[int]) -> None:
    """Drop the nodes that are not needed: they may be what the runtime stumbles over."""
    for index in reversed(range(len(graph.node))):
        if index not in kept:
            del graph.node[index]

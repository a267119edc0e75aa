"""Splitting by reachability: the invariants that make stages the network and nothing but the network."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeexit.criteria import CRITERIA
from edgeexit.graph import (
    Network,
    Stage,
    TensorSpec,
    add_scores,
    build_stage_model,
    find_exits,
    fuse,
    read_model,
    split,
)
from edgeexit.graph.dataflow import Flow, list_inner_graphs, list_node_reads
from edgeexit.graph.scores import ScoredExit
from tests.support.examples import at_most
from tests.support.random_networks import RandomNetwork, random_networks

quick = settings(max_examples=at_most(40), suppress_health_check=[HealthCheck.too_slow])


def taken_apart(network: RandomNetwork, criterion: str) -> tuple[Network, tuple[ScoredExit, ...], tuple[Stage, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        net = read_model(network.save(Path(folder)))
    scored_net, scored = add_scores(net, find_exits(net, network.logits), CRITERIA[criterion])
    return scored_net, scored, split(scored_net, scored)


@quick
@given(network=random_networks(), criterion=st.sampled_from(["entropy", "margin", "running_mean", "patience"]))
def test_every_node_that_depends_on_an_input_is_in_exactly_one_stage(network: RandomNetwork, criterion: str) -> None:
    """Stages part the nodes that the exits need; only constants and shape arithmetic may be in two."""
    net, exits, stages = taken_apart(network, criterion)
    flow = Flow.from_graph(net.proto.graph, network.inputs)
    needed = flow.ancestors([t for e in exits for t in (e.logits, e.score)])

    held = [i for s in stages for i in s.nodes if flow.varies[i]]

    assert sorted(i for i in needed if flow.varies[i]) == sorted(held)


@quick
@given(network=random_networks())
def test_a_stage_holds_only_what_its_exit_needs(network: RandomNetwork) -> None:
    """No head is run by a stage that does not need it, and no constant is kept that the stage does not read."""
    net, exits, stages = taken_apart(network, "entropy")
    flow = Flow.from_graph(net.proto.graph, network.inputs)

    for stage, exit in zip(stages, exits, strict=True):
        assert set(stage.nodes) <= flow.ancestors([exit.logits, exit.score])
        read = {t for i in stage.nodes for t in flow.reads[i]}
        idle = [i for i in stage.nodes if not flow.varies[i] and read.isdisjoint(net.proto.graph.node[i].output)]
        assert not idle


@quick
@given(network=random_networks())
def test_boundary_tensors_are_those_that_cross(network: RandomNetwork) -> None:
    """A stage reads inputs, its own tensors, or tensors that an earlier stage declares; no tensor is passed on unread."""
    net, _, stages = taken_apart(network, "running_mean")
    flow = Flow.from_graph(net.proto.graph, network.inputs)
    weights = {t.name for t in net.proto.graph.initializer}

    handed: set[str] = set()
    for stage in stages:
        own = {name for i in stage.nodes for name in net.proto.graph.node[i].output}
        read = {t for i in stage.nodes for t in flow.reads[i]} | {stage.logits, stage.score}
        assert read - own - weights == set(stage.inputs) | set(stage.boundaries_in)
        assert set(stage.boundaries_in) <= handed
        handed |= set(stage.boundaries_out)

    assert handed == {t for s in stages for t in s.boundaries_in}


@quick
@given(network=random_networks())
def test_weights_go_with_the_stage_that_reads_them(network: RandomNetwork) -> None:
    """A stage's file has every weight that its nodes read, and no other; the fused mode has each in the branches that read it."""
    net, _, stages = taken_apart(network, "entropy")
    weights = {t.name for t in net.proto.graph.initializer}
    specs = {name: TensorSpec(name, "float32", (1, 1)) for s in stages for name in (*s.outputs, *s.boundaries_in)}

    for stage in stages:
        graph = build_stage_model(net, stage, specs).graph
        assert {t.name for t in graph.initializer} == {
            n for node in graph.node for n in list_node_reads(node)
        } & weights

    for graph in nested(fuse(net, stages, specs).graph):
        read = {o.name for o in graph.output} | {name for node in graph.node for name in node.input}
        read |= {name for node in graph.node if not decides(node) for name in list_node_reads(node)}
        assert {t.name for t in graph.initializer} <= read, "a weight that only a later stage reads belongs there"


def decides(node: onnx.NodeProto) -> bool:
    """Whether it is the fused mode's own `If`, not one of the network."""
    return node.op_type == "If" and "/decide " in node.name


def nested(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """The graph and the stages inside it; graphs of the network's own nodes are left out."""
    inner = [g for node in graph.node if decides(node) for g in list_inner_graphs(node)]
    return [graph, *(g for part in inner for g in nested(part))]

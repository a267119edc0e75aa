"""Which precision each node of a network computes in, where its stages, or heads and trunk, have several.

A node belongs to the stage of the first exit that needs it, as in `edgeexit.graph.split`. What a later part of another precision reads
crosses in float32: it is brought back to it in the stage that made it, as the tensor `<name>/float32`. Two neighbouring stages in int8
hand over integers, and two in float16 halves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from edgeexit.graph.exits import Exit
from edgeexit.graph.model import Network
from edgeexit.stage_choices import find_heads_name, for_stage

Inside: TypeAlias = Callable[[onnx.NodeProto], bool]
"""Whether a node is to be converted."""

_FLOAT32 = "/float32"


def is_any_node(node: onnx.NodeProto) -> bool:  # noqa: ARG001 - every node is
    """The whole network."""
    return True


def make_float32_name(tensor: str) -> str:
    """The name of a tensor after it was brought back to float32."""
    return f"{tensor}{_FLOAT32}"


@dataclass(frozen=True)
class PrecisionPlaces:
    """The places of several precisions in one network.

    Attributes:
        precisions: by tensor, that of the node that makes it; float32 for what is not in it, such as what no input changes.
        stages: by tensor, the stage that makes it, from 1.
    """

    precisions: Mapping[str, str]
    stages: Mapping[str, int]

    @classmethod
    def find(cls, net: Network, exits: Sequence[Exit], precision: str) -> PrecisionPlaces:
        """The places in a network before it is split.

        Args:
            net: the network, in float32.
            exits: its exits.
            precision: one name a stage, joined as in `edgeexit.stage_choices`.
        """
        flow, nodes = net.flow(), net.proto.graph.node
        ends = [[end for end in (e.logits, e.score) if end is not None] for e in exits]
        heads = find_heads_name(precision)
        precisions: dict[str, str] = {}
        stages: dict[str, int] = {}
        for stage, held in enumerate(flow.partition(ends), 1):
            later = flow.ancestors(end for after in ends[stage:] for end in after)
            for i in held:
                if flow.varies[i]:
                    in_head = heads is not None and stage < len(exits) and i not in later
                    own = heads if in_head and heads is not None else for_stage(precision, stage)
                    precisions |= dict.fromkeys(nodes[i].output, own)
                    stages |= dict.fromkeys(nodes[i].output, stage)
        return cls(precisions, stages)

    def make_test(self, precision: str) -> Inside:
        """A test whether a node of the network, also after conversions, computes in a precision."""
        return lambda node: self.precisions.get(node.output[0]) == precision

    def find_carried(self, net: Network) -> dict[str, int]:
        """What a converted network brings back to float32, by name, and the stage that does it: that of what it was made from."""
        made = (name for node in net.proto.graph.node for name in node.output)
        pairs = ((name, name.removesuffix(_FLOAT32)) for name in made if name.endswith(_FLOAT32))
        return {name: self.stages[source] for name, source in pairs if source in self.stages}

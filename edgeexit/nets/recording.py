"""One run of a module as a graph of operators: what each tensor was computed from, and what that cost.

with Recording(inputs) as recording:
    module(*inputs)
recording.find_node(tensor) ─► its operator ─► ancestors, multiply-accumulates (MACs) up to it, whether everything passes it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Layout: TypeAlias = Literal["map", "tokens", "sequence"]


@dataclass(frozen=True)
class Node:
    """One operator: those whose results it read, its cost, and what its result looks like where its kind tells.

    Attributes:
        parents: the operators that it read from.
        macs: multiply-accumulates; 0 for what has none.
        layout: of the result; None where the operator does not tell.
        channels: how many the result has, where the layout is known.
    """

    parents: tuple[int, ...]
    macs: int = 0
    layout: Layout | None = None
    channels: int = 0


@contextmanager
def use_plain_kernels() -> Iterator[None]:
    """No kernel in the body that computes a whole layer of a transformer and calls none of its parts."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call] # of torch
    """Records every operator that runs in the body. All tensors are kept until it is forgotten, so that each stays itself."""

    def __init__(self, inputs: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # of torch
        self.nodes: list[Node] = []
        self.ancestors: list[int] = []  # of each node, as the bits of a number
        self._kept: list[Tensor] = []
        self._made: dict[int, int] = {}
        self._written: dict[int, int] = {}
        self._costly = 0  # the nodes that cost anything, as bits
        for x in inputs:
            self.add(Node(()), [x])
        self.inputs = len(self.nodes)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read, made_before = _list_tensors((args, kwargs)), len(self.nodes)
        result = func(*args, **kwargs)
        made = _list_tensors(result)
        self.add(_describe(func, args, kwargs, result, self._find_nodes(read)), made)
        if func._schema.is_mutable:  # noqa: SLF001 - the only place where torch says it
            for x in made or read[:1]:
                self._written[x.untyped_storage().data_ptr()] = made_before
        return result

    def add(self, node: Node, made: Sequence[Tensor]) -> None:
        """An operator, and the tensors that it made."""
        index = len(self.nodes)
        self.nodes.append(node)
        self._costly |= (1 << index) if node.macs else 0
        bits = 1 << index
        for parent in node.parents:
            bits |= self.ancestors[parent]
        self.ancestors.append(bits)
        self._made |= {id(x): index for x in made}
        self._kept += made

    def add_recurrence(self, output: Tensor) -> None:
        """Say of what an RNN returned that it is a sequence: its operators do not tell."""
        self.add(Node(self._find_nodes([output]), 0, "sequence", output.shape[-1]), [output])

    def find_node(self, tensor: Tensor) -> int | None:
        """The operator that made a tensor; None where none was seen."""
        return self._made.get(id(tensor))

    def find_needed(self, indices: Iterable[int]) -> set[int]:
        """These operators and all that any of them needs."""
        bits = 0
        for index in indices:
            bits |= self.ancestors[index]
        return {i for i in range(len(self.nodes)) if bits >> i & 1}

    def count_macs(self, *indices: int) -> int:
        """Multiply-accumulates of these operators and all that any of them needs, each counted once."""
        return sum(self.nodes[i].macs for i in self.find_needed(indices))

    def find_layout(self, index: int) -> Node | None:
        """The latest operator before and with this one whose kind tells how its result is laid out."""
        bits = self.ancestors[index]
        return next((self.nodes[i] for i in range(index, -1, -1) if bits >> i & 1 and self.nodes[i].layout), None)

    def list_edges(self, last: int) -> list[tuple[int, int]]:
        """Which operator reads from which, of those that lie between the inputs and `last`."""
        from_inputs = (1 << self.inputs) - 1
        needed = self.ancestors[last]
        relevant = {i for i in range(last + 1) if needed >> i & 1 and self.ancestors[i] & from_inputs}
        return [(parent, i) for i in sorted(relevant) for parent in self.nodes[i].parents if parent in relevant]

    def is_cut(self, index: int, edges: Sequence[tuple[int, int]]) -> bool:
        """Whether everything passes this operator on its way from the inputs to the last.

        What costs nothing, such as a mask made from an input, may pass beside it to where its own result is read too.
        """
        after = [(start, end) for start, end in edges if end > index and not self.ancestors[start] >> index & 1]
        return all(
            not self.ancestors[start] & self._costly
            and (self.ancestors[end] >> index & 1 or not self.ancestors[end] & self._costly)
            for start, end in after
        )

    def _find_nodes(self, tensors: Iterable[Tensor]) -> tuple[int, ...]:
        """What made each, or wrote into its memory since."""
        made = {max(self._made.get(id(x), -1), self._written.get(x.untyped_storage().data_ptr(), -1)) for x in tensors}
        return tuple(sorted(made - {-1}))


def _list_tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor) and x.layout == torch.strided and not x.is_nested]


_MAPS = ("convolution", "batch_norm", "native_group_norm")
_TOKENS = ("native_layer_norm", "addmm", "mm", "embedding")


def _describe(func: Any, args: Any, kwargs: Any, result: Any, parents: tuple[int, ...]) -> Node:
    name = func.overloadpacket.__name__
    macs = _count_macs(func.overloadpacket, name, args, kwargs, result)
    first = next(iter(_list_tensors(result)), None)
    if first is not None and first.ndim > 1:
        if any(kind in name for kind in _MAPS):
            return Node(parents, macs, "map", first.shape[1])
        if name in _TOKENS:
            return Node(parents, macs, "tokens", first.shape[-1])
    return Node(parents, macs)


def _count_macs(packet: Any, name: str, args: Any, kwargs: Any, result: Any) -> int:
    if name == "_scaled_dot_product_flash_attention_for_cpu":
        query, key, value = args[:3]
        return int(query.numel() * key.shape[-2] + query.shape[:-1].numel() * key.shape[-2] * value.shape[-1])
    if name in ("mkldnn_rnn_layer", "_cudnn_rnn"):
        return int(sum(w.numel() for w in _list_tensors(args[1:5]) if w.ndim == 2)) * int(args[0].shape[:-1].numel())
    formula = flop_registry.get(packet)
    return int(formula(*args, **kwargs, out_val=result)) // 2 if formula is not None else 0

"""What each exit of a network costs, counted by what its outputs are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.nets.example import Example, wrap_by_position
from edgeexit.nets.outputs import ExitTensors, run_exits
from edgeexit.nets.recording import Node, Recording, use_plain_kernels
from edgeexit.nets.state import evaluation_mode, restore_buffers
from edgeexit.nets.users_code import translate_user_errors


@dataclass(frozen=True)
class ExitCosts:
    """What the exits of a network cost for one sample; one number per exit, first exit first.

    Attributes:
        names: of the exits.
        reach_macs: multiply-accumulates of convolutions and matrix products up to this exit: its own, and those of all earlier exits
            with their heads. What an input that leaves here has paid.
        reach_parameters: weights read for them, each counted once.
        alone_macs: multiply-accumulates of this exit by itself, without what only other exits need.
    """

    names: tuple[str, ...]
    reach_macs: tuple[int, ...]
    reach_parameters: tuple[int, ...]
    alone_macs: tuple[int, ...]


def exit_costs(module: nn.Module, example: Example) -> ExitCosts:
    """Count what each exit costs, by running the module once and following what its logits and its own score are computed from.

    Counted are convolutions, matrix products, attention and recurrent layers, as `edgeexit compile` counts them in a file; a product
    is one multiply-accumulate, also for operations of other papers' "FLOPs". Latency is measured and not derived from them.
    The module's mode, buffers and random numbers stay as they were.

    Args:
        module: forward returns every exit, in any of the forms of `edgeexit.nets.outputs`.
        example: an input [batch, ...], a tuple of inputs, or a dict of inputs by the names of forward's parameters; only the first
            sample of the batch is run.

    Example:
        >>> import torch
        >>> from edgeexit.nets import build
        >>> from edgeexit.nets.costs import exit_costs
        >>> costs = exit_costs(build("lenet"), torch.zeros(1, 1, 28, 28))
        >>> costs.reach_macs
        (220150, 1247720)
        >>> costs.reach_parameters, costs.alone_macs[1]
        ((7000, 74694), 1140070)

    Raises:
        ModelError: forward fails, or returns no exits.
    """
    by_position, inputs = wrap_by_position(module, example)
    first = {name: x[:1] for name, x in inputs.items()}
    with (
        evaluation_mode(module),
        restore_buffers(module),
        torch.random.fork_rng(),
        torch.no_grad(),
        use_plain_kernels(),
    ):
        recording = Recording(first.values())
        parameters = _add_parameters(recording, module)
        with translate_user_errors("forward failed on the example"), recording:
            exits = run_exits(by_position, *first.values())
    made = [_find_operators(recording, e) for e in exits]
    so_far = [[i for operators in made[: k + 1] for i in operators] for k in range(len(made))]
    return ExitCosts(
        tuple(e.name for e in exits),
        tuple(recording.count_macs(*operators) for operators in so_far),
        tuple(_count_parameters(recording, operators, parameters) for operators in so_far),
        tuple(recording.count_macs(*operators) for operators in made),
    )


def _add_parameters(recording: Recording, module: nn.Module) -> dict[int, int]:
    """Make every parameter known to the recording; how many weights each has, by its node."""
    sizes: dict[int, int] = {}
    for parameter in module.parameters():
        sizes[len(recording.nodes)] = parameter.numel()
        recording.add(Node(()), [parameter])
    return sizes


def _find_operators(recording: Recording, e: ExitTensors) -> list[int]:
    """What made the exit's logits and its score."""
    tensors: list[Tensor] = [t for t in (e.logits, e.score) if t is not None]
    found = [recording.find_node(t) for t in tensors]
    if None in found:
        msg = f"exit {e.name!r} is computed by nothing: forward returns a tensor that was there before it began"
        raise ModelError(msg)
    return [i for i in found if i is not None]


def _count_parameters(recording: Recording, operators: Sequence[int], parameters: Mapping[int, int]) -> int:
    needed = recording.find_needed(operators)
    return sum(size for node, size in parameters.items() if node in needed)

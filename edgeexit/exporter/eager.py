"""Eager execution of forward, which the file is made from and compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.nets.outputs import ExitTensors, run_exits
from edgeexit.nets.state import restore_buffers
from edgeexit.nets.users_code import translate_user_errors

FIXED_BATCH = "If the graph depends on the batch size, ask for a batch of 1 (dynamic_batch=False, --batch-1)."

DECIDES = "forward must compute every exit and return it, with no `if` on values; edgeexit decides where to stop when it runs."
_ONE_VALUE = re.compile(r"cannot be converted to Scalar|Boolean value of Tensor|only one element tensors")
"""What torch says where several samples are asked for one number or one truth value."""


def run_eager_exits(
    module: nn.Module, inputs: Mapping[str, Tensor], names: Sequence[str] | None, *, on: str = "the example"
) -> list[ExitTensors]:
    """The exits that forward returns or marks for these inputs. Every call starts from the same buffers.

    Raises:
        ModelError: forward fails, in the user's own file and line, or returns something else.
    """
    shapes = ", ".join(f"{name} {list(x.shape)} {x.dtype}" for name, x in inputs.items())
    hint = f" {FIXED_BATCH}" if any(len(x) > 1 for x in inputs.values()) else ""
    try:
        with restore_buffers(module), translate_user_errors(f"forward failed on {on} ({shapes})"):
            return run_exits(module, *inputs.values(), names=names)
    except ModelError as error:
        if error.__cause__ is None:  # ours, of the form
            raise
        remedy = f" {DECIDES}" if _ONE_VALUE.search(str(error)) else hint
        raise ModelError(f"{error}.{remedy}") from error.__cause__

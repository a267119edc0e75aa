"""What forward itself returns, which the file is made from and compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.nets.outputs import Exit, run_exits
from edgeexit.nets.targets import users_code

FIXED_BATCH = "If the graph depends on the batch size, ask for a batch of 1 (dynamic_batch=False, --batch-1)."


def eager_exits(module: nn.Module, inputs: Mapping[str, Tensor], names: Sequence[str] | None) -> list[Exit]:
    """The exits that forward returns or marks for these inputs.

    Raises:
        ModelError: forward fails, in the user's own file and line, or returns something else.
    """
    shapes = ", ".join(f"{name} {list(x.shape)} {x.dtype}" for name, x in inputs.items())
    hint = f" {FIXED_BATCH}" if any(len(x) > 1 for x in inputs.values()) else ""
    try:
        with users_code(f"forward failed on the example ({shapes})"):
            return run_exits(module, *inputs.values(), names=names)
    except ModelError as error:
        if error.__cause__ is None:  # ours, of the form
            raise
        raise ModelError(f"{error}.{hint}") from error.__cause__

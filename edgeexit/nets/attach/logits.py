"""The logits in what a classifier's forward returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor

from edgeexit.errors import ModelError
from edgeexit.nets.forms import convert_to_form, describe_structure, is_logits, is_logits_list
from edgeexit.nets.outputs import extract_single_exit

Read: TypeAlias = Callable[[Any], Any]
"""Takes the logits out of what forward returns."""


def read_logits(returned: Any, read: Read | None) -> Tensor:
    """The logits [batch, classes], from `read` or from any form of one exit: a tensor, a dict or an output with `logits`, (logits,).

    Raises:
        ModelError: there are none, or several.
    """
    given = returned if read is None else read(returned)
    form = convert_to_form(given, lambda _: None)
    found = extract_single_exit(form)
    logits = None if found is form else found[0]
    if isinstance(logits, Tensor) and is_logits(logits) and logits.is_floating_point():
        return logits
    raise ModelError(_explain(given))


def _explain(given: Any) -> str:
    if is_logits_list(given):
        return f"the module returns {len(given)} exits already: export it as it is, or read its last: read=lambda returned: returned[-1]"
    return (
        f"forward returned {describe_structure(given)}; exits are added to a classifier that returns float logits [batch, classes >= 2]. "
        "Say where they are: read=lambda returned: returned[0]"
    )

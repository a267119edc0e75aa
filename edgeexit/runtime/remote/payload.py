"""What goes up to a remote stage: the tensors between the stages or the network's input, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexit.choices import check_choice
from edgeexit.runtime.remote.wire import WIRES

BOUNDARY, INPUT, AUTO = "boundary", "input", "auto"
SENDS = (AUTO, BOUNDARY, INPUT)
"""What may be sent."""


@dataclass(frozen=True)
class RemotePayload:
    """What is sent to a remote stage.

    Attributes:
        send: `boundary`, the tensors that the stage reads; `input`, the network's own input, from which the server runs the stages before
            too, as `edgeexit serve` does; `auto`: whichever is answered sooner, by a few requests when the bundle is loaded.
        wire: `float32`; or `float16` or `int8` (one scale per sample and tensor), in which float32 tensors take a half or a quarter of the
            bytes and lose that precision. `edgeexit serve` takes them; a server of another kind needs a model with such inputs.

    Example:
        >>> import edgeexit
        >>> edgeexit.RemotePayload(send="auto", wire="float16").send
        'auto'
    """

    send: str = BOUNDARY
    wire: str = "float32"

    def __post_init__(self) -> None:
        """Check the values."""
        check_choice("send", self.send, SENDS)
        check_choice("wire", self.wire, WIRES)

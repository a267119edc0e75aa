"""What it costs on this device to reach an exit: the network up to there and one head, exported and run in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends import Settings
from edgeexit.backends.onnxruntime.sessions import make_binder, open_session
from edgeexit.exporter import export
from edgeexit.graph import Exit, Network, build_backbone_model, find_exits, read_model
from edgeexit.measure.timing import Call, time_interleaved
from edgeexit.nets.attach import NetworkWithExits
from edgeexit.nets.example import Example
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.scratch import make_scratch_folder

_BLOCK_S = 0.005  # short, for many pairs of blocks in little time
_WARMUP_S = 0.2


def time_exits(
    network: NetworkWithExits,
    example: Example,
    *,
    seconds: float,
    threads: int = 1,
    progress: Progress = show_nothing,
) -> NDArray[np.float64]:
    """Median seconds straight to each exit, without any other head, [exits]; the last is the network as it was without exits.

    All are timed in turn, in short blocks, so that what slows the machine slows all alike.

    Args:
        network: the network; its weights do not matter.
        example: an input [1, ...], a tuple or a dict of inputs.
        seconds: wall time of all together.
        threads: worker threads.
        progress: watches the time.
    """
    with make_scratch_folder() as folder:
        export(network, example, folder / "model.onnx")
        net = read_model(folder / "model.onnx")
        calls: dict[str, Call] = {
            str(k): _open_call(net, exit, folder, threads) for k, exit in enumerate(find_exits(net))
        }
        timed = time_interleaved(calls, seconds=seconds, block_s=_BLOCK_S, warmup_s=_WARMUP_S, progress=progress)
    return np.array([timed[name].median_s for name in calls])


def _open_call(net: Network, exit: Exit, folder: Path, threads: int) -> Call:
    """The network straight to this exit as a function that runs it on the same input each time."""
    model = build_backbone_model(net, exit, batch=1)
    session = open_session(model.SerializeToString(), Settings(threads=threads), batch_1=True, folder=folder)
    read, draws = {i.name for i in session.get_inputs()}, np.random.default_rng(0)
    buffers = {s.name: draws.random(s.shape_at_1).astype(s.dtype) for s in net.inputs if s.name in read}
    run: Callable[[], None] = make_binder([session])(
        0, buffers | {exit.logits: np.empty((1, exit.classes), np.float32)}
    )
    return lambda _: run()

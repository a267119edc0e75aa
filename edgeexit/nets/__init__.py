"""Multi-exit networks of the papers as torch modules, one file each, and the parts that they are made of.

    net = edgeexit.nets.build("lenet")               every exit: forward returns a list of logits, first exit first
    plain = edgeexit.nets.build("lenet", exits=False)  the plain network: same trunk, same parameter names, one exit

    net = edgeexit.nets.build("lenet", shape=(3, 32, 32), classes=100)  for other samples than the paper's

blocks (residual) ─► Chain ◄─ heads, at places (placement)      the parts, for a network of one's own

A new network of this project is a module of this folder with one factory under `@register`, imported below.
"""

from __future__ import annotations

from edgeexit.errors import MissingExtra

try:
    import torch as _torch  # noqa: F401 - so that a missing torch is one clear message
except ImportError as error:
    raise MissingExtra("torch", "torch") from error

from edgeexit.nets import branchynet as branchynet
from edgeexit.nets import cascade as cascade
from edgeexit.nets import cascade_cnn as cascade_cnn
from edgeexit.nets import densenet as densenet
from edgeexit.nets import eenet as eenet
from edgeexit.nets import msdnet as msdnet
from edgeexit.nets import signal as signal
from edgeexit.nets import vit as vit
from edgeexit.nets.chain import Chain, build_chain
from edgeexit.nets.heads import HEADS, head
from edgeexit.nets.placement import place_exits
from edgeexit.nets.policy import WithPolicy
from edgeexit.nets.registry import NETS, Net, build, find_network, register

__all__ = [
    "HEADS",
    "NETS",
    "Chain",
    "Net",
    "WithPolicy",
    "build",
    "build_chain",
    "find_network",
    "head",
    "place_exits",
    "register",
]

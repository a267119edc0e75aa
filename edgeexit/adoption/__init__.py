"""Early exits for a classifier that has none, from its weights to a measured gain.

    adopt_exits(module, parts, out)      all of it
    find_places(module, ...)             only where exits would pay on this device

survey ─► candidates ─► timing (of each, in ONNX Runtime) ─► choice ─► heads ─► export ─► compile ─► calibrate ─► bench ─► result
"""

from __future__ import annotations

from edgeexit.errors import MissingExtra

try:
    import torch as _torch  # noqa: F401 - so that a missing torch is one clear message
except ImportError as error:
    raise MissingExtra("torch", "torch") from error

from edgeexit.adoption.flow import AdoptionPlan, adopt_exits
from edgeexit.adoption.places import PlaceSearch, PlacesFound, find_places
from edgeexit.adoption.result import AdoptionResult

__all__ = ["AdoptionPlan", "AdoptionResult", "PlaceSearch", "PlacesFound", "adopt_exits", "find_places"]

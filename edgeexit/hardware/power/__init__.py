"""Power meters: siblings of one base, with the absence of one as an object and a fake for tests."""

from __future__ import annotations

from edgeexit.hardware.power.base import (
    Capability,
    Channel,
    FakePowerMeter,
    NoPowerMeter,
    PowerMeter,
    PowerReading,
    RejectedMeter,
)
from edgeexit.hardware.power.find import ADAPTERS, find_power_meter, find_power_meters

__all__ = [
    "ADAPTERS",
    "Capability",
    "Channel",
    "FakePowerMeter",
    "NoPowerMeter",
    "PowerMeter",
    "PowerReading",
    "RejectedMeter",
    "find_power_meter",
    "find_power_meters",
]

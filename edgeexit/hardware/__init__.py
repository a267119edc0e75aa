"""The machine: what it is, how it is clocked, what it draws.

    device_key()           a stable name for calibrations and engine caches
    device_facts()         the static facts behind it
    snapshot()             its state now: clocks, temperatures, throttle counters, load
    judge(before, after)   whether a measurement between two snapshots can be believed
    current_profile()      what is known of it beforehand: devices/<board>.toml
    data_dir(kind)         the TOML files that travel with edgeexit

Everything that reads the kernel's files takes `root`, so that the tree of any board can be tested on any machine.
"""

from __future__ import annotations

from edgeexit.hardware.identity import device_facts
from edgeexit.hardware.keys import device_key
from edgeexit.hardware.profiles import DeviceProfile, current_profile, find_profile, load_profiles
from edgeexit.hardware.state import DeviceState, snapshot, state_from_json
from edgeexit.hardware.validity import Validity, foreign_cores, judge, verdict
from edgeexit.util.resources import data_dir, read_toml

__all__ = [
    "DeviceProfile",
    "DeviceState",
    "Validity",
    "current_profile",
    "data_dir",
    "device_facts",
    "device_key",
    "find_profile",
    "foreign_cores",
    "judge",
    "load_profiles",
    "read_toml",
    "snapshot",
    "state_from_json",
    "verdict",
]

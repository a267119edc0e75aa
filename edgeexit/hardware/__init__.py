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

from edgeexit.hardware.identity import read_device_facts
from edgeexit.hardware.keys import find_device_key
from edgeexit.hardware.profiles import DeviceProfile, find_current_profile, find_profile, load_profiles
from edgeexit.hardware.state import DeviceState, parse_state, read_device_state
from edgeexit.hardware.validity import Validity, combine_findings, count_foreign_cores, judge
from edgeexit.util.resources import find_data_dir, read_toml

__all__ = [
    "DeviceProfile",
    "DeviceState",
    "Validity",
    "combine_findings",
    "count_foreign_cores",
    "find_current_profile",
    "find_data_dir",
    "find_device_key",
    "find_profile",
    "judge",
    "load_profiles",
    "parse_state",
    "read_device_facts",
    "read_device_state",
    "read_toml",
]

"""Calibrate a bundle again with recent data, and go back where the new thresholds fail a check.

python recalibrate.py model.eexit recent.npz "mean<=0.9x, agreement>=0.99" --check ./check.sh

Thresholds that meet the target become active, and a service that calls `Runner.reload` now and then takes them. Then the command of
--check is run, with the bundle in $EDGEEXIT_BUNDLE; where it fails, the thresholds of before are active again.

Ends with 0: the target is met and the check passed; 1: the thresholds of before are in force; 2 or 3: something is wrong with the input
or the machine, and nothing has changed. But the first calibration of a bundle has none to go back to: it stays where its check fails, and
the end is 2. A pinned calibration (`edgeexit calibrations use NAME --pin`) stays active. Of the nightly ones that are not active, the
newest are kept.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from datetime import datetime, timezone

from edgeexit import Bundle, EdgeExitError

PREFIX = "night-"


def calibrate(bundle: str, data: str, target: str, seconds: str | None) -> tuple[str, int]:
    """Name of the new calibration and the exit code of `edgeexit calibrate`."""
    name = f"{PREFIX}{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
    words = ["calibrate", bundle, "--data", data, "--target", target, "--name", name, "--strict"]
    words += [] if seconds is None else ["--seconds", seconds]
    return name, subprocess.run([sys.executable, "-m", "edgeexit", *words], check=False).returncode


def check_or_go_back(bundle: str, name: str, command: list[str]) -> int:
    """Run the check where the calibration is active; 1 where it failed and the one before is active again."""
    opened = Bundle.open(bundle)
    key = opened.find_calibration(name).key
    active = opened.active(key)
    if active is None or active.name != name:
        print(f"{active and active.name} stays active: it is pinned.")
        return 0
    failed = command and subprocess.run(command, env={**os.environ, "EDGEEXIT_BUNDLE": bundle}, check=False).returncode
    if not failed:
        return 0
    back = opened.roll_back(key).active(key)
    print(f"the check of {name} ended with {failed}: {back and back.name} is active again.")
    return 1


def remove_old(bundle: str, keep: int) -> None:
    """Remove nightly calibrations that are not active, but for the newest."""
    opened = Bundle.open(bundle)
    active = {entry.name for entry in opened.manifest.calibrations.values()}
    nightly = [r.name for r in opened.history if r.name.startswith(PREFIX) and r.name not in active]
    for name in nightly[: max(0, len(nightly) - keep)]:
        opened = opened.remove_calibration(name)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bundle", "data", "target"):
        parser.add_argument(name)
    parser.add_argument("--check", nargs=argparse.REMAINDER, default=[], help="a command and its arguments; comes last")
    parser.add_argument("--seconds", help="as of edgeexit calibrate")
    parser.add_argument("--keep", type=int, default=14, help="nightly calibrations to keep beside the active one")
    arguments = parser.parse_args()
    name, code = calibrate(arguments.bundle, arguments.data, arguments.target, arguments.seconds)
    try:
        if code == 0:
            code = check_or_go_back(arguments.bundle, name, arguments.check)
        if code <= 1:
            remove_old(arguments.bundle, arguments.keep)
    except EdgeExitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())

"""The vendor's own command-line tools, where only they know: `nvpmodel` on a Jetson, `vcgencmd` on a Raspberry Pi."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from edgeexit.hardware.identity import ROOT

_PLACES = ("usr/bin", "usr/sbin", "opt/vc/bin", "bin")
_TIMEOUT_S = 5.0


def find_tool(root: Path, name: str) -> str | None:
    """The path of a tool under `root`, or None. The machine's own root also searches PATH."""
    candidates = (root / place / name for place in _PLACES)
    found = next((str(path) for path in candidates if os.access(path, os.X_OK) and path.is_file()), None)
    return found or (shutil.which(name) if root == ROOT else None)


def run_tool(root: Path, name: str, *arguments: str) -> str | None:
    """Output of the tool, or None when it is missing, fails or hangs."""
    tool = find_tool(root, name)
    if tool is None:
        return None
    try:
        done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

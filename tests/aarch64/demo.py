"""`edgeexit demo` with fewer processes and moments of timing, since each process starts ten to twenty times as slowly under emulation.

python -m tests.aarch64.demo --target "accuracy>=0.95" --json

Every step is the command's own: the modes timed in a process, calibration, measurement in fresh processes, beside them the one that watches
the machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from edgeexit.cli.app import app
from edgeexit.compiler import compilation, mode_timing
from tests.support.brief_defaults import change_default, make_choices_brief, shorten_defaults
from tests.support.papers import shorten_suites

MODES_S = 0.1


def main() -> None:
    """Run the command with the words that this one was given."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        shorten_defaults(patch)
        make_choices_brief(patch)
        shorten_suites(patch, Path(folder))
        patch.setattr(mode_timing, "SECONDS", MODES_S)
        change_default(patch, compilation.compile_model, "seconds", MODES_S)
        app(["demo", *sys.argv[1:]], prog_name="edgeexit")


if __name__ == "__main__":
    main()

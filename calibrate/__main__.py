"""`python -m calibrate BUNDLE ...` from a clone: the same as `edgeexit calibrate`."""

import sys

from edgeexit.cli.app import main

sys.argv[1:1] = ["calibrate"]
main()

"""`python -m edgeexit` is `edgeexit`."""

from edgeexit.cli.app import main

main()

"""`python -m edgeexit`: the same as `edgeexit`, for launchers that start modules (torchrun)."""

from __future__ import annotations

from edgeexit.cli.app import main

if __name__ == "__main__":
    main()

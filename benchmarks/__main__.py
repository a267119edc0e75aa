"""`python -m benchmarks` lists the benchmarks; `python -m benchmarks NAME [options]` runs one."""

import runpy
import sys
from pathlib import Path

from edgeexit.errors import EdgeExitError

HERE = Path(__file__).parent
SCRIPTS = {path.stem: path for path in sorted(HERE.glob("*/*.py")) if not path.stem.startswith("_")}

if len(sys.argv) > 1 and sys.argv[1] in SCRIPTS:
    sys.argv = sys.argv[1:]
    try:
        runpy.run_path(str(SCRIPTS[sys.argv[0]]), run_name="__main__")
    except EdgeExitError as error:
        sys.exit(f"error: {error}")
else:
    print("python -m benchmarks NAME [--help]\n")
    for name, path in SCRIPTS.items():
        print(f"  {name:16} {path.read_text(encoding='utf-8').split(chr(10))[0].strip(chr(34))}")
    sys.exit(len(sys.argv) > 1)

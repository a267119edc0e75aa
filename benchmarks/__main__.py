"""`python -m benchmarks` lists the benchmarks; `python -m benchmarks NAME [options]` runs one."""

import runpy
import sys
from functools import partial
from pathlib import Path

from edgeexit.cli.failures import run_guarded

HERE = Path(__file__).parent
PAPERS = HERE / "papers"  # a program of its own: python -m benchmarks.papers
SCRIPTS = {
    path.stem: path for path in sorted(HERE.glob("*/*.py")) if not path.stem.startswith("_") and path.parent != PAPERS
}

if len(sys.argv) > 1 and sys.argv[1] in SCRIPTS:
    sys.argv = sys.argv[1:]
    script = str(SCRIPTS[sys.argv[0]])
    sys.exit(run_guarded(partial(runpy.run_path, script, run_name="__main__")))
else:
    print("python -m benchmarks NAME [--help]\n")
    for name, path in SCRIPTS.items():
        print(f"  {name:16} {path.read_text(encoding='utf-8').split(chr(10))[0].strip(chr(34))}")
    print(
        "\npython -m benchmarks.papers [PAPER [PART]]\n\n  experiments of five papers, each beside what its paper prints"
    )
    sys.exit(len(sys.argv) > 1)

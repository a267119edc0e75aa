"""Attack everything that reads a file with damaged ones: no crash, no hang, no traceback.

    python -m tests.fuzz --seconds 1200 [--seed 0] [--target read_damaged_result] [--case open_damaged_file:1234]

Targets are those of `tests.fuzz.targets.TARGETS`; without `--target`, each gets its turn.
Cases run in a worker process that says which one it is in; when it dies or stands still, that case is a finding and a new worker goes
on behind it. A finding is printed with the command that repeats it. Ends with 1 when there is any.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

HANG_S = 180.0  # by the clock: a worker at low priority beside busy programs may take a minute to import what it needs
_HANG_CPU_S = 60.0  # of CPU: what has had less, and could run, waits for a processor
_MANY = 1_000_000_000
_MEMORY = 8 << 30  # bytes of address space of a worker: what asks for more is refused, as on a small board


def main() -> None:
    """Read the options; run one case, a worker or the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--rounds", type=int, default=_MANY, help="at most so many cases of each target")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--target", action="append", choices=TARGETS, help="attack only this; repeatable")
    parser.add_argument("--case", help="run one case, TARGET:NUMBER, and show its traceback")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    targets = tuple(arguments.target or TARGETS)
    if arguments.case:
        target, _, number = arguments.case.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            seeds(Path(folder))
            TARGETS[target](random.Random(int(number)), Path(folder))
    elif arguments.worker:
        work(arguments.seed, arguments.seconds, arguments.rounds, targets)
    else:
        _, findings = attack(arguments.seed, arguments.seconds, targets, rounds=arguments.rounds)
        sys.exit(bool(findings))


def work(first: int, seconds: float, rounds: int, targets: Sequence[str]) -> None:
    """Run cases from `first` on; one line before each and one for each finding."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeds(folder)
        for number in range(first, first + rounds):
            if time.monotonic() >= end:
                break
            for target in targets:
                print(f"case {target}:{number}", flush=True)
                try:
                    TARGETS[target](random.Random(number), folder)
                except Exception:
                    last = traceback.format_exc().strip().splitlines()
                    print(f"finding {target}:{number} {' | '.join(last[-6:])}", flush=True)


def attack(
    first: int, seconds: float, targets: Sequence[str] = tuple(TARGETS), *, rounds: int = _MANY
) -> tuple[Counter[str], list[str]]:
    """Keep a worker running for `seconds` or so many rounds; how many cases of each target there were, and the findings."""
    end = time.monotonic() + seconds
    findings: list[str] = []
    cases: Counter[str] = Counter()
    number = first
    while (left_s := end - time.monotonic()) > 0 and number < first + rounds:
        limits = ["--seconds", str(left_s), "--rounds", str(first + rounds - number)]
        number = _watch(number, limits, targets, findings, cases) + 1
    print(f"{sum(cases.values())} cases ({', '.join(f'{n} {t}' for t, n in cases.items())}), {len(findings)} findings")
    for finding in findings:
        print(f"  {finding[:600]}\n    python -m tests.fuzz --case {finding.split()[0]}")
    return cases, findings


def _watch(first: int, limits: Sequence[str], targets: Sequence[str], findings: list[str], cases: Counter[str]) -> int:
    """Run one worker until it ends; the number of its last case."""
    command = [sys.executable, "-m", "tests.fuzz", "--worker", "--seed", str(first), *limits]
    command += [word for target in targets for word in ("--target", target)]
    case = f"start:{first}"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
        lines: Queue[str] = Queue()
        Thread(target=_read, args=(worker, lines), daemon=True).start()
        used_s = 0.0
        while True:
            try:
                line = lines.get(timeout=HANG_S)
            except Empty:
                if _waits_for_processor(worker.pid, used_s):
                    continue
                worker.kill()
                findings.append(f"{case} stood still for {HANG_S:.0f} s")
                return int(case.partition(":")[2])
            if not line:
                break
            _, used_s = _state(worker.pid)
            kind, _, rest = line.strip().partition(" ")
            if kind == "case":
                case = rest
                cases[case.partition(":")[0]] += 1
            elif kind == "finding":
                findings.append(rest)
    if worker.returncode != 0:
        findings.append(f"{case} ended the process with {worker.returncode}")
    return int(case.partition(":")[2])


def _waits_for_processor(number: int, used_s: float) -> bool:
    """Whether a process could run and has had little CPU time since it had used `used_s`: the machine is busy, and this is no hang."""
    state, now_s = _state(number)
    return state == "R" and now_s - used_s < _HANG_CPU_S


def _state(number: int) -> tuple[str, float]:
    """A process's state as the kernel's letter, and the CPU seconds that it has used; nothing where there is no /proc."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return "", 0.0
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read(worker: subprocess.Popen[str], lines: Queue[str]) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        lines.put(line)
    lines.put("")


if __name__ == "__main__":
    main()

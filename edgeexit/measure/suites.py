"""Suites: how long, how often and what to measure. Each is a TOML file of `benchmarks/suites/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexit.errors import InputError, did_you_mean
from edgeexit.hardware import find_data_dir, read_toml
from edgeexit.util.documents import parse_document

_START_S = 1.5
"""Seconds that a process takes to start, load a bundle and force every exit: about right for small networks."""


@dataclass(frozen=True)
class Suite:
    """One suite.

    Attributes:
        name: name of its file, without the suffix.
        description: one sentence.
        processes: fresh processes, one after the other.
        seconds: seconds of timing in each, all variants together.
        warmup_s: seconds of warm-up with the natural trace before the timing, in each process, after every exit was forced ten times.
        samples: number of samples of the data set, at most, drawn by the seed; 0 for all.
        trace: length of the sequence of inputs that is timed, drawn with replacement.
        cooldown_s: at most this long before each process, until the machine is as cool as at the start.
        paced_s: seconds of paced requests per variant and process; 0 for none unless a rate is asked for.
        cold: inferences with flushed caches per variant; 0 for none.
        energy_trials: windows of every kind of inference for energy; 0 for none.
        cache: whether to simulate caches where counters do not open, and to sweep thresholds. Counters and sizes are always reported.
    """

    name: str
    description: str
    processes: int
    seconds: float
    warmup_s: float
    samples: int
    trace: int
    cooldown_s: float
    paced_s: float
    cold: int
    energy_trials: int
    cache: bool

    def expected_s(self, *, paced: bool = False) -> tuple[float, float]:
        """Least and most time that the processes take, in seconds: the most where each must wait for the machine to cool.

        Args:
            paced: whether requests at a fixed rate are asked for.
        """
        paced_s = 2 * (self.paced_s or self.seconds) if paced else 0.0
        least_s = self.processes * (_START_S + self.warmup_s + self.seconds + paced_s)
        return least_s, least_s + self.processes * self.cooldown_s


def list_suites() -> list[str]:
    """Names of the suites that are shipped."""
    return sorted(path.stem for path in find_data_dir("suites").glob("*.toml"))


def load_suite(name: str) -> Suite:
    """The suite of that name, or of a TOML file with the same keys.

    Args:
        name: a preset, such as `quick`, or the path of a `.toml` file.

    Raises:
        InputError: there is none, or its file is faulty; all faults in one message.
    """
    path = Path(name) if name.endswith(".toml") else _find_shipped(name)
    suite = parse_document(Suite, {**read_toml(path), "name": path.stem}, str(path))
    positive = {"processes": suite.processes, "seconds": suite.seconds, "trace": suite.trace}
    wrong = [f"{key} is {value}" for key, value in positive.items() if value <= 0]
    if wrong:
        msg = f"{path}: must be more than 0: {', '.join(wrong)}."
        raise InputError(msg)
    return suite


def _find_shipped(name: str) -> Path:
    names = list_suites()
    if name not in names:
        msg = f"no preset named {name!r}.{did_you_mean(name, names)} Presets: {', '.join(names)}, or a .toml file with the same keys."
        raise InputError(msg)
    return find_data_dir("suites") / f"{name}.toml"

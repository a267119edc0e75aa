"""What a bundle answers on the machine that runs this: every exit's logits and scores, and where each input leaves.

python -m tests.aarch64.answers QUESTIONS.npz ANSWERS.npz BUNDLE...
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeexit
from edgeexit.runtime import CalibrationWarning


def collect_answers(
    bundle: Path, inputs: NDArray[np.float32], thresholds: NDArray[Any] | None
) -> dict[str, NDArray[Any]]:
    """Scores and logits of every exit; with thresholds also the exits taken and the labels, staged and fused."""
    found: dict[str, NDArray[Any]] = {}
    for mode in ("staged", "fused"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CalibrationWarning)
            runner = edgeexit.load(bundle, mode=mode)
        with runner:
            if mode == "staged":
                scores, found["logits"] = runner.replay(inputs)
                found["scores"] = runner.criterion.sign * scores
            if thresholds is not None:
                runner.thresholds = [float(t) for t in thresholds]
                answers = runner.run_many(inputs)
                found |= {f"exits {mode}": answers.exits, f"labels {mode}": answers.labels}
    return found


def main() -> None:
    """Answer for every bundle; names in the file begin with that of the bundle."""
    questions, answers, *bundles = map(Path, sys.argv[1:])
    with np.load(questions) as asked:
        given: Mapping[str, NDArray[Any]] = dict(asked)
    found = {
        f"{bundle.stem} {what}": values
        for bundle in bundles
        for what, values in collect_answers(bundle, given["inputs"], given[bundle.stem]).items()
    }
    np.savez(answers, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

"""The same answers: staged, fused and the original model on every test sample.

    python -m benchmarks same_answers [--case lenet-mnist] [--backend mnn]

The original is the ONNX file as it was trained and exported, run whole by ONNX Runtime, its criterion by the NumPy reference. Same
answers: logits within the rounding of the backend (1e-4 of the largest logit of the sample; 5e-4 for MNN), and the same exit and label
unless a score lies as near to its threshold.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.common import find_case, make_parser, open_case, open_other_mode, print_table, record
from edgeexit.compiler.tolerances import TOLERANCES, name_arithmetic
from edgeexit.hardware import read_device_state
from edgeexit.runtime import Runner
from edgeexit.util import units
from edgeexit.util.samples import split_samples


def run_original(model: Path, runner: Runner, samples: list[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits [n, N, classes] and inner scores [n, N] of every exit, of the model as it was exported."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    logits = np.stack([np.stack(session.run(None, {name: x}))[:, 0] for x in samples]).astype(np.float32)
    score = runner.criterion.score
    assert score is not None, "a learned criterion has scores of its own"
    flat = score(logits.reshape(-1, logits.shape[-1]))
    return logits, np.asarray(runner.criterion.sign * flat.reshape(logits.shape[:2]), np.float32)


def compare(
    runner: Runner, samples: list[Any], logits: NDArray[np.float32], scores: NDArray[np.float32]
) -> dict[str, Any]:
    """How one mode's answers differ from the original's."""
    limit = TOLERANCES[name_arithmetic("float32", runner.settings.backend)].rounding
    thresholds = np.array([*runner.inner_thresholds, -np.inf], np.float32)
    expected = (scores >= thresholds).argmax(axis=1)
    border = (np.abs(scores[:, :-1] - thresholds[:-1]) <= limit).any(axis=1)
    worst, other_exit, other_label, excused = 0.0, 0, 0, 0
    for i, sample in enumerate(samples):
        answer = runner(sample)
        theirs = logits[i, answer.exit - 1]
        worst = max(worst, float(np.abs(answer.logits - theirs).max() / np.abs(theirs).max()))
        same = answer.exit == expected[i] + 1
        excused += int(not same and border[i])
        other_exit += int(not same and not border[i])
        other_label += int(same and answer.label != int(theirs.argmax()))
    good = worst <= limit and other_exit == 0 and other_label == 0
    return {"samples": len(samples), "largest_logit_error": worst, "other_exit": other_exit, "other_label": other_label,
            "on_the_border": excused, "same_answers": good}  # fmt: skip


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = make_parser(__doc__)
    parser.add_argument("--backend", default="onnxruntime", help="what runs the bundle")
    arguments = parser.parse_args()
    case, before = find_case(arguments.case), read_device_state()
    with tempfile.TemporaryDirectory() as scratch:
        runner = open_case(case, Path(scratch), arguments)
        data = case.test_data()
        samples = split_samples(data.inputs)
        logits, scores = run_original(case.model, runner, samples)
        found = {
            mode: compare(open_other_mode(runner, mode, arguments.backend), samples, logits, scores)
            for mode in ("staged", "fused")
        }
        answers = [runner(x) for x in samples]
        labels = data.labels
        assert labels is not None
        accuracy = float(np.mean([a.label == y for a, y in zip(answers, labels, strict=True)]))
        shares = np.bincount([a.exit - 1 for a in answers], minlength=runner.exits) / len(answers)
        alone = (logits.argmax(axis=-1) == labels[:, None]).mean(axis=0)
        rows = [
            (mode, str(f["samples"]), f"{f['largest_logit_error']:.1e}", str(f["other_exit"]), str(f["other_label"]),
             str(f["on_the_border"]), "yes" if f["same_answers"] else "NO")
            for mode, f in found.items()
        ]  # fmt: skip
        columns = (
            "",
            "samples",
            "largest logit error",
            "other exit",
            "other label",
            "excused at the border",
            "same answers",
        )
        note = (
            f"Accuracy {units.percent(accuracy)} with {units.percent(shares[0], 1)} leaving at exit 1; of the exits alone "
            f"{', '.join(units.percent(a) for a in alone)}."
        )
        print_table(f"{case.name}, {case.test}, {arguments.backend}", columns, rows, note)
        policy = {"thresholds": runner.thresholds, "accuracy": accuracy, "exit_shares": shares.tolist()}
        other = "" if arguments.backend == "onnxruntime" else f"-{arguments.backend}"
        record(
            f"same_answers{other}", case, arguments, {**policy, "exits_alone": alone.tolist(), "modes": found}, before
        )


if __name__ == "__main__":
    main()

"""Write small files of every kind with a checkout of an earlier version, for tests/old_files.

    git worktree add --detach OLD COMMIT
    PYTHONPATH=OLD python scripts/make_old_files.py OLD tests/old_files/LABEL

It uses nothing of this checkout, so that it runs with any version: a network, data, a bundle with a calibration, the bundle's
answers, two results, the recipes and presets of that version. A test reads all of them with today's code.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES, FEATURES, WIDTH, EXITS = 4, 8, 12, 3
TRAINED_ON = 40


def draw_samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points around four centres, some of them nearer to another one."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=count)
    centres = np.random.default_rng(0).standard_normal((CLASSES, FEATURES))
    return (centres[labels] + rng.standard_normal((count, FEATURES)) * 0.7).astype(np.float32), labels


def write_model(path: Path) -> None:
    """Three random layers with a head after each, fitted by least squares; it says what it was trained on."""
    from edgeexit.data.dataset import Dataset
    from edgeexit.data.fingerprint import KEY, fingerprint

    rng = np.random.default_rng(1)
    x, y = draw_samples(400, 2)
    wanted = 4 * np.eye(CLASSES, dtype=np.float32)[y]
    nodes, weights, name, hidden = [], [], "x", x
    for k in range(1, EXITS + 1):
        layer = rng.standard_normal((hidden.shape[1], WIDTH)).astype(np.float32) / 2
        hidden = np.maximum(hidden @ layer, 0)
        seen = hidden * (np.arange(WIDTH) < 4 * k)  # so that later exits know more
        head = np.linalg.lstsq(seen, wanted, rcond=None)[0].astype(np.float32)
        weights += [numpy_helper.from_array(layer, f"w{k}"), numpy_helper.from_array(head, f"h{k}")]
        nodes += [
            helper.make_node("MatMul", [name, f"w{k}"], [f"m{k}"], name=f"matmul{k}"),
            helper.make_node("Relu", [f"m{k}"], [f"r{k}"], name=f"relu{k}"),
            helper.make_node("MatMul", [f"r{k}", f"h{k}"], [f"z{k}"], name=f"head{k}"),
        ]
        name = f"r{k}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES])]
    outputs = [
        helper.make_tensor_value_info(f"z{k}", TensorProto.FLOAT, ["batch", CLASSES]) for k in range(1, EXITS + 1)
    ]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    trained_on = fingerprint(Dataset("small:train", x[:TRAINED_ON], y[:TRAINED_ON]))
    helper.set_model_props(model, {KEY: trained_on.as_text()})
    onnx.save(model, path)


def run_edgeexit(*words: object) -> str:
    """What a command prints; calibrate and bench may end with 1, for a verdict that depends on the machine."""
    command = [sys.executable, "-m", "edgeexit", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def record_answers(bundle: Path, x: np.ndarray, path: Path) -> None:
    """The calibrated thresholds, and what the bundle answers with them and from every exit."""
    import edgeexit

    with edgeexit.load(bundle, mode="staged") as runner:
        found = {"thresholds": list(runner.thresholds), "answers": [], "forced": []}
        for i in range(len(x)):
            answer = runner(x[i : i + 1])
            found["answers"].append({"label": int(answer.label), "exit": answer.exit})
            row = [runner.forced(x[i : i + 1], exit=k + 1).logits for k in range(EXITS)]
            found["forced"].append([[round(float(v), 5) for v in logits] for logits in row])
    path.write_text(json.dumps(found) + "\n")


def write_calibrated_bundle(out: Path) -> None:
    """model.onnx, data.npz, bundle.eexit with an active calibration, its document and, where versions have it, its archive."""
    write_model(out / "model.onnx")
    x, y = draw_samples(100, 3)
    np.savez_compressed(out / "data.npz", x=x.round(3), y=y.astype(np.int8))
    run_edgeexit("compile", "model.onnx", "-o", "bundle.eexit", "--seconds", 0)
    options = ("--data", "data.npz", "--target", "drop<=2", "--mode", "staged", "--seconds", 0.1)
    (out / "calibration.json").write_text(run_edgeexit("calibrate", "bundle.eexit", *options, "--json"))
    if find_spec("edgeexit.cli.cmd_calibrations"):
        run_edgeexit("calibrations", "use", "bundle.eexit", "cal-1")  # also where a busy machine left it undecided
        run_edgeexit("calibrations", "export", "bundle.eexit", "cal-1", "-o", "calibration.eexitcal")
    record_answers(out / "bundle.eexit", x[:8].round(3), out / "answers.json")


def write_results(out: Path) -> None:
    """Two results of the preset quick, without their raw samples."""
    for name, seed in (("result", 0), ("again", 1)):
        options = ("--data", "data.npz", "--preset", "quick", "--mode", "staged", "--seed", seed)
        run_edgeexit("bench", "bundle.eexit", *options, "-o", f"{name}.json")
    for raw in (*out.glob("result*.npz"), *out.glob("again*.npz")):
        raw.unlink()


def copy_settings(checkout: Path, out: Path) -> None:
    """Recipes of calibrations, presets of benchmarks and recipes of training that this version shipped."""
    for source, kind in (
        ("calibrate/recipes/camera-30fps.toml", "recipe"),
        ("benchmarks/suites/quick.toml", "suite"),
        ("edgeexit/training/recipes/lenet-digits.toml", "training"),
    ):
        shutil.copy(checkout / source, out / f"{kind}.toml")


def main() -> None:
    """Write all files of the checkout that PYTHONPATH names."""
    checkout, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    import edgeexit

    if not Path(edgeexit.__file__).is_relative_to(checkout):
        sys.exit(f"edgeexit is imported from {edgeexit.__file__}: set PYTHONPATH={checkout}")
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)  # commands import the package from their folder first, and paths are written as given
    write_calibrated_bundle(out)
    write_results(out)
    copy_settings(checkout, out)


if __name__ == "__main__":
    main()

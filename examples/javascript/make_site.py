"""Write the page of this folder, ONNX Runtime Web and a bundle into one folder that any web server can serve, without a network.

python examples/javascript/make_site.py digits.eexit -o site
python -m http.server --directory site --bind 127.0.0.1

The fused graph becomes one file with its weights: ONNX Runtime Web 1.30 takes weights from outside for a model's main graph, and not for
what stands inside an `If`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import onnx

HERE = Path(__file__).resolve().parent
RUNTIME = HERE / "node_modules" / "onnxruntime-web" / "dist"
PAGE = ("index.html", "web.mjs", "bundle.mjs", "digits.mjs")
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def write_site(bundle: Path, site: Path) -> None:
    """Write the folder: the page, `ort/` with ONNX Runtime Web, and `bundle/` with what the page reads of a bundle."""
    (site / "ort").mkdir(parents=True)
    for name in PAGE:
        shutil.copy(HERE / name, site / name)
    for name in RUNTIME_FILES:
        shutil.copy(RUNTIME / name, site / "ort" / name)
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    stages = [stage["file"] for stage in manifest["stages"]]
    calibrations = [entry["file"] for entry in manifest["calibrations"].values()]
    weights = [name for name in manifest["files"] if name.endswith(".bin")]
    for name in ("manifest.json", *stages, *calibrations, *weights):
        target = site / "bundle" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(bundle / name, target)
    onnx.save(onnx.load(bundle / manifest["fused"]), site / "bundle" / manifest["fused"])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of a calibrated bundle")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write; must not exist")
    arguments = parser.parse_args()
    if not RUNTIME.is_dir():
        parser.error("onnxruntime-web is not installed: run `make examples` first")
    if arguments.output.exists():
        parser.error(f"{arguments.output} exists")
    write_site(arguments.bundle, arguments.output)


if __name__ == "__main__":
    main()

"""The wheel: what is in it, that it alone is enough, and that a Jetson can install what it needs."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from edgeexit.runtime import load_quietly
from edgeexit.util.resources import read_toml
from tests.test_demo import check_demo

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"  # as pip and build call it
    subprocess.run([sys.executable, "-c", build, out], cwd=ROOT, check=True, capture_output=True)
    [path] = out.glob("*.whl")
    return path


def test_the_wheel_ships_one_package_and_its_data(wheel: Path) -> None:
    """Only edgeexit/ lands in site-packages; profiles, recipes, suites, schemas and the demo travel inside it."""
    names = zipfile.ZipFile(wheel).namelist()

    assert {"edgeexit"} == {n.split("/")[0] for n in names if ".dist-info/" not in n}
    for kind in ("devices", "recipes", "suites"):
        assert [n for n in names if n.startswith(f"edgeexit/_data/{kind}/") and n.endswith(".toml")], kind
    assert "edgeexit/_data/schemas/bench-1.schema.json" in names
    assert "edgeexit/assets/demo/lenet-digits.onnx" in names
    assert "edgeexit/py.typed" in names


def test_the_wheel_is_small(wheel: Path) -> None:
    """It holds code, text and a demo network, no data sets and no build leftovers."""
    assert wheel.stat().st_size < 3_000_000


@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_a_jetson_can_install_the_base(wheel: Path, python: str) -> None:
    """JetPack 6 (Python 3.10) and JetPack 7 (3.12) on aarch64 find wheels for everything, and torch is not among it."""
    report = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--quiet",
            "--ignore-installed",
            "--only-binary=:all:",
            "--report=-",
        ]
        + [f"--platform=manylinux_2_{glibc}_aarch64" for glibc in (28, 27, 26, 24, 17)]
        + [
            "--platform=manylinux2014_aarch64",
            f"--python-version={python}",
            "--implementation=cp",
            "--target=unused",
            str(wheel),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    found = {item["metadata"]["name"].lower() for item in json.loads(report.stdout)["install"]}

    assert {"edgeexit", "numpy", "onnx", "onnxruntime", "typer"} <= found
    assert not found & {"torch", "openvino", "mnn", "tensorrt", "matplotlib"}


def test_the_tensorrt_extra_asks_for_what_its_backend_imports() -> None:
    """`cuda.bindings`, and the distribution of that name whose version is told: both came with cuda-python 12.8."""
    extra = read_toml(ROOT / "pyproject.toml")["project"]["optional-dependencies"]["tensorrt"]
    [found] = [r.specifier for r in map(Requirement, extra) if r.name == "cuda-python"]

    assert ["12.8.0", "13.0.0"] == list(found.filter(["12.4.0", "12.6.2.post1", "12.8.0", "13.0.0"]))


def link_requirements(wheel: Distribution, folder: Path) -> set[str]:
    """Link the packages that a distribution needs, without extras, from this environment into a folder; their names."""
    found: dict[str, Distribution] = {}
    waiting = [wheel]
    while waiting:
        for need in map(Requirement, waiting.pop().requires or ()):
            if need.name not in found and (need.marker is None or need.marker.evaluate({"extra": ""})):
                found[need.name] = distribution(need.name)
                waiting.append(found[need.name])
    for dist in found.values():
        for top in {file.parts[0] for file in dist.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(str(dist.locate_file(top)))
    return {*found}


BRIEFLY = """
from edgeexit.__main__ import main
from edgeexit.calibration import procedure
from edgeexit.compiler import compilation

procedure.calibrate.__kwdefaults__["seconds"], compilation.compile_model.__kwdefaults__["seconds"] = 0.2, 0.1
main()
"""


def make_suite_brief(packages: Path) -> None:
    """Fewer and shorter processes for whoever measures with the installed package."""
    suite = packages / "edgeexit/_data/suites/quick.toml"
    text = suite.read_text(encoding="utf-8")
    brief = text.replace("processes = 5", "processes = 1").replace("seconds = 1.0", "seconds = 0.1")
    assert brief != text
    suite.write_text(brief, encoding="utf-8")


def test_the_wheel_alone_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    """In an empty environment, from an empty folder, with what the wheel requires alone: one JSON object whose figures fit together.

    Its measurements are brief; everything else is what `edgeexit demo` does, and the command itself starts.
    """
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(env / "bin/python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)], check=True)
    [packages] = env.glob("lib/python*/site-packages")
    [installed] = Distribution.discover(name="edgeexit", path=[str(packages)])
    required = link_requirements(installed, packages)
    subprocess.run([*pip, "check"], check=True, stdout=subprocess.DEVNULL)  # of the versions asked for, none missing

    make_suite_brief(packages)
    version = subprocess.check_output([str(env / "bin/edgeexit"), "--version"], cwd=tmp_path, text=True)
    command = [str(env / "bin/python"), "-c", BRIEFLY, "demo", "--json", "--keep", "demo.eexit"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert f"edgeexit {installed.version}" == version.strip()
    assert {"numpy", "onnx", "onnxruntime", "typer"} <= required
    assert "torch" not in required
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    check_demo(result)
    with load_quietly(tmp_path / "demo.eexit") as runner:  # on a busy machine its target was undecided
        assert runner.thresholds == pytest.approx([*map(float, result["thresholds"])])

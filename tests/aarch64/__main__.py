"""Make the folder in which a Raspberry Pi 5 is emulated: a Python for aarch64 with its wheels, run by qemu-user.

    python -m tests.aarch64 .venv-aarch64

apt finds the packages of Debian for arm64 with lists, state and cache of its own below the folder, so nothing is installed and no rights
are needed; pip finds wheels for aarch64 in the versions of constraints.txt. qemu looks for absolute paths below the folder first: the
files of the kernel that lie there (`tests.hardware.boards`) are those of a Raspberry Pi 5. `FOLDER/python` runs, with a real aarch64
NumPy, ONNX and ONNX Runtime. Where it cannot be had, one line says why and the exit code is 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.aarch64.emulation import make_board_files, write_python

SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
DEBIAN = ("python3", "libstdc++6", "libgomp1")
WHEELS = ("numpy", "onnx", "onnxruntime", "typer", "pytest", "hypothesis")
PLATFORMS = ("manylinux_2_34", "manylinux_2_31", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
LIMIT_S = 300
"""Time limit of each step, in seconds."""


def main() -> None:
    """Read the folder, fill it."""
    folder = Path(sys.argv[1]).absolute()
    try:
        make_folder(folder)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(f"aarch64 cannot be emulated here: {error}")


def make_folder(folder: Path) -> None:
    """Download, unpack, write the files of the board and `python`.

    Raises:
        OSError: a tool is missing, or this is no Debian on x86-64.
        SubprocessError: a download failed or took longer than `LIMIT_S`.
    """
    if os.uname().machine != "x86_64" or not SOURCES.exists():
        msg = "it takes x86-64 and the package sources of Debian"
        raise OSError(msg)
    root = folder / "root"
    unpack_debian(folder, root)
    version = next((root / "usr/bin").glob("python3.*")).name.removeprefix("python")
    install_wheels(root / "opt/site", version)
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":  # bytecode of one version serves both machines
        run([sys.executable, "-m", "compileall", "-q", str(root / "opt/site"), str(root / f"usr/lib/python{version}")])
    make_board_files(root)
    write_python(folder / "python", root, folder / "usr/bin/qemu-aarch64-static", version)


def unpack_debian(folder: Path, root: Path) -> None:
    """Python for arm64 under `root`, qemu for this machine under `folder`."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / "apt" / part).mkdir(parents=True, exist_ok=True)
    (folder / "apt/status").touch()
    configuration = folder / "apt.conf"
    configuration.write_text(
        'APT::Architecture "arm64"; APT::Architectures { "arm64"; "amd64"; }; APT::Sandbox::User "root";\n'
        f'Dir::State "{folder}/apt/state"; Dir::State::status "{folder}/apt/status"; Dir::Cache "{folder}/apt/cache";\n'
        f'Dir::Etc::sourcelist "{SOURCES}"; Dir::Etc::sourceparts "/dev/null"; Acquire::Languages "none";\n'
    )
    apt = ["env", f"APT_CONFIG={configuration}", "apt-get", "-qq"]
    run([*apt, "update"])
    run([*apt, "install", "-y", "--download-only", "--no-install-recommends", *DEBIAN, "qemu-user-static:amd64"])
    for archive in sorted((folder / "apt/cache/archives").glob("*.deb")):
        if archive.name.startswith("qemu-"):
            unpack = f"dpkg-deb --fsys-tarfile '{archive}' | tar -x -C '{folder}' ./usr/bin/qemu-aarch64-static"
            run(["bash", "-o", "pipefail", "-c", unpack])
        else:
            run(["dpkg-deb", "-x", str(archive), str(root)])
    shutil.rmtree(folder / "apt")


def install_wheels(site: Path, version: str) -> None:
    """The packages of the base install and what runs tests, for this Python on aarch64."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    python = ["--python-version", version, "--implementation", "cp", "--abi", f"cp{version.replace('.', '')}"]
    kinds = [
        "--abi",
        "abi3",
        "--abi",
        "none",
        *(word for one in PLATFORMS for word in ("--platform", f"{one}_aarch64")),
    ]
    where = ["--only-binary=:all:", "--constraint", str(CONSTRAINTS), "--target", str(site)]
    run([*pip, *python, *kinds, *where, *WHEELS])


def run(command: Sequence[str]) -> None:
    """A step; what it says stands in the error where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        msg = f"{' '.join(command[:4])} ... ended with {done.returncode}: {' '.join(said)}"
        raise OSError(msg)


if __name__ == "__main__":
    main()

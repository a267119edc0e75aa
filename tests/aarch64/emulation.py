"""An emulated Raspberry Pi 5: the files of its kernel, and the Python that runs on it."""

from __future__ import annotations

from pathlib import Path

from tests.hardware.boards import plant, raspberry_pi

CPUS = "sys/devices/system/cpu"
CORES = range(4)
CACHES = (("1", "Data", "64K", 4, 256), ("1", "Instruction", "64K", 4, 256), ("2", "Unified", "512K", 8, 1024),
          ("3", "Unified", "2048K", 16, 2048))  # fmt: skip
"""Level, kind, size, ways, sets of each cache of a Cortex-A76 in the BCM2712; the last is shared by all cores."""


def make_board_files(root: Path) -> None:
    """What a Raspberry Pi 5 shows below /proc and /sys, as far as edgeexit and ONNX Runtime read it."""
    plant(root, raspberry_pi(5))
    plant(root, {f"{CPUS}/possible": "0-3", f"{CPUS}/kernel_max": 3})
    for core in CORES:
        folder = f"{CPUS}/cpu{core}"
        topology = {"physical_package_id": 0, "core_id": core, "core_siblings_list": "0-3", "package_cpus_list": "0-3",
                    "cluster_cpus_list": "0-3", "thread_siblings_list": core}  # fmt: skip
        clocks = {"cpuinfo_max_freq": 2400000, "cpuinfo_min_freq": 1500000, "scaling_cur_freq": 2400000,
                  "scaling_min_freq": 1500000, "scaling_max_freq": 2400000, "scaling_governor": "ondemand"}  # fmt: skip
        plant(root / folder / "topology", topology)
        plant(root / folder / "cpufreq", clocks)
        for index, (level, kind, size, ways, sets) in enumerate(CACHES):
            shared = "0-3" if level == "3" else core
            cache = {"level": level, "type": kind, "size": size, "ways_of_associativity": ways, "number_of_sets": sets,
                     "coherency_line_size": 64, "shared_cpu_list": shared}  # fmt: skip
            plant(root / folder / f"cache/index{index}", cache)


def write_python(path: Path, root: Path, qemu: Path, version: str) -> None:
    """A command that is a Python on that board. It is `sys.executable` there too, so that child processes are emulated as well."""
    path.write_text(
        "#!/bin/bash\n"
        f'export PYTHONPATH="$PWD:{root}/opt/site" PYTHONHOME="{root}/usr" QEMU_CPU=cortex-a76\n'
        f'exec "{qemu}" -L "{root}" -0 "{path}" "{root}/usr/bin/python{version}" "$@"\n'
    )
    path.chmod(0o755)

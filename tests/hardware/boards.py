"""Modelled file trees of every board that edgeexit knows: what the kernel shows there, as far as edgeexit reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Tree = Mapping[str, object]
"""Path under the root -> content. Bytes are written as they are, everything else as text with the kernel's final newline."""


def plant(root: Path, tree: Tree) -> Path:
    """Write the files of `tree` under `root`; returns `root`."""
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    return root


def script(root: Path, name: str, output: str) -> Path:
    """A tool under `root` that prints `output`."""
    path = root / "usr/bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
    path.chmod(0o755)
    return root


def compatible(*strings: str) -> Tree:
    """A device tree's `compatible` property."""
    return {"proc/device-tree/compatible": "\0".join((*strings, "")).encode()}


def cpu_arm(implementer: str = "0x41", part: str = "0xd42", cores: int = 6) -> Tree:
    one = f"BogoMIPS\t: 62.50\nFeatures\t: fp asimd aes sha2 asimddp\nCPU implementer\t: {implementer}\nCPU part\t: {part}\n"
    return {
        "proc/cpuinfo": "\n".join(f"processor\t: {i}\n{one}" for i in range(cores)),
        "sys/devices/system/cpu/present": f"0-{cores - 1}",
        "sys/devices/system/cpu/online": f"0-{cores - 1}",
        "proc/stat": "cpu  100 0 100 1000 0 0 0 0 0 0",
        "proc/loadavg": "0.10 0.10 0.10 1/200 1",
    }


def hwmon_ina3221(bus: str, number: int, rails: Mapping[int, tuple[str, int, int]]) -> Tree:
    """A JetPack 5+ chip: channel -> (label, mV, mA), with the files around them that are no rails."""
    folder = f"sys/bus/i2c/drivers/ina3221/{bus}/hwmon/hwmon{number}"
    tree: dict[str, object] = {
        f"{folder}/name": "ina3221",
        f"{folder}/in7_label": "sum of shunt voltages",
        f"{folder}/in7_input": 9999,
    }
    for c, (label, millivolt, milliampere) in rails.items():
        tree |= {
            f"{folder}/in{c}_label": label,
            f"{folder}/in{c}_input": millivolt,
            f"{folder}/curr{c}_input": milliampere,
            f"{folder}/in{c + 3}_input": milliampere * 5,
        }
    return tree | {f"{folder}/curr4_input": sum(mA for _, _, mA in rails.values())}


def iio_ina3221x(bus: str, number: int, rails: Mapping[int, tuple[str, int, int]]) -> Tree:
    """A JetPack 4 chip: channel -> (label, mV, mA)."""
    folder = f"sys/bus/i2c/drivers/ina3221x/{bus}/iio:device{number}"
    tree: dict[str, object] = {}
    for c, (label, millivolt, milliampere) in rails.items():
        tree |= {
            f"{folder}/rail_name_{c}": label,
            f"{folder}/in_voltage{c}_input": millivolt,
            f"{folder}/in_current{c}_input": milliampere,
            f"{folder}/in_power{c}_input": millivolt * milliampere // 1000,
        }
    return tree


def jetson_state(
    gpu: str, power_mode: int = 0, names: tuple[str, ...] = ("MAXN",), oc: tuple[int, int, int] = (0, 0, 0)
) -> Tree:
    """Clocks, temperatures, over-current counters and power mode of a Jetson."""
    policy, devfreq = "sys/devices/system/cpu/cpufreq/policy0", f"sys/class/devfreq/{gpu}"
    modes = "\n".join(f"< POWER_MODEL ID={i} NAME={name} >\nCPU_ONLINE CORE_0 1" for i, name in enumerate(names))
    oc_folder = "sys/class/hwmon/hwmon5"
    return {
        f"{policy}/scaling_cur_freq": 1510400,
        f"{policy}/scaling_min_freq": 729600,
        f"{policy}/scaling_max_freq": 1510400,
        f"{policy}/scaling_governor": "schedutil",
        f"{devfreq}/cur_freq": 306000000,
        f"{devfreq}/min_freq": 306000000,
        f"{devfreq}/max_freq": 1020000000,
        f"{devfreq}/governor": "nvhost_podgov",
        "sys/kernel/nvpmodel_clk_cap/emc": 3199000000,
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": 48500,
        "sys/class/thermal/thermal_zone1/type": "cv0-thermal",
        "sys/class/thermal/cooling_device0/type": "pwm-fan",
        "sys/class/thermal/cooling_device0/cur_state": 2,
        "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0",
        "sys/class/thermal/cooling_device1/cur_state": 0,
        f"{oc_folder}/name": "soctherm_oc",
        **{f"{oc_folder}/oc{i + 1}_event_cnt": count for i, count in enumerate(oc)},
        "var/lib/nvpmodel/status": f"pmode:{power_mode:04d}",
        "etc/nvpmodel.conf": modes,
    }


def jetson_nano_jp4() -> Tree:
    rails = {0: ("POM_5V_IN", 5000, 600), 1: ("POM_5V_GPU", 5000, 120), 2: ("POM_5V_CPU", 5000, 200)}
    board = compatible("nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210")
    return {**board, **cpu_arm(part="0xd07", cores=4), **iio_ina3221x("6-0040", 0, rails)}


def jetson_tx2_jp4() -> Tree:
    low = {0: ("VDD_SYS_GPU", 19200, 30), 1: ("VDD_SYS_SOC", 19200, 40), 2: ("VDD_4V0_WIFI", 4800, 10)}
    high = {0: ("VDD_IN", 19200, 200), 1: ("VDD_SYS_CPU", 19200, 50), 2: ("VDD_SYS_DDR", 4800, 100)}
    chips = {**iio_ina3221x("0-0040", 0, low), **iio_ina3221x("0-0041", 1, high)}
    return {**compatible("nvidia,p2771-0000", "nvidia,quill", "nvidia,tegra186"), **cpu_arm(part="0xd07"), **chips}


XAVIER_NX_RAILS = {"VDD_IN": (5000, 1000), "VDD_CPU_GPU_CV": (5000, 300), "VDD_SOC": (5000, 200)}


def jetson_xavier_nx_jp4() -> Tree:
    chip = iio_ina3221x("7-0040", 0, {c: (name, *va) for c, (name, va) in enumerate(XAVIER_NX_RAILS.items())})
    return {
        **compatible("nvidia,p3509-0000+p3668-0001", "nvidia,p3668-0001", "nvidia,tegra194"),
        **cpu_arm("0x4e", "0x004"),
        **chip,
    }


def jetson_xavier_nx_jp5() -> Tree:
    chip = hwmon_ina3221("7-0040", 4, {c + 1: (name, *va) for c, (name, va) in enumerate(XAVIER_NX_RAILS.items())})
    return {
        **compatible("nvidia,p3509-0000+p3668-0001", "nvidia,p3668-0001", "nvidia,tegra194"),
        **cpu_arm("0x4e", "0x004"),
        **chip,
    }


def jetson_agx_xavier() -> Tree:
    low = {1: ("GPU", 19000, 10), 2: ("CPU", 19000, 20), 3: ("SOC", 19000, 30)}
    high = {1: ("CV", 19000, 0), 2: ("VDDRQ", 19000, 5), 3: ("SYS5V", 19000, 100)}
    chips = {**hwmon_ina3221("1-0040", 2, low), **hwmon_ina3221("1-0041", 3, high)}
    return {**compatible("nvidia,p2972-0000", "nvidia,tegra194"), **cpu_arm("0x4e", "0x004", 8), **chips}


def jetson_orin_nano(super_mode: bool = False, oc: tuple[int, int, int] = (0, 0, 0)) -> Tree:
    rails = {1: ("VDD_IN", 4984, 1056), 2: ("VDD_CPU_GPU_CV", 4984, 232), 3: ("VDD_SOC", 4984, 280)}
    suffix = "-super" if super_mode else ""
    board = compatible(f"nvidia,p3768-0000+p3767-0005{suffix}", f"nvidia,p3767-0005{suffix}", "nvidia,tegra234")
    state = jetson_state("17000000.gpu", 1, ("15W", "25W", "MAXN_SUPER"), oc)
    return {**board, **cpu_arm(), **hwmon_ina3221("1-0040", 1, rails), **state}


def jetson_orin_nx() -> Tree:
    rails = {1: ("VDD_IN", 5000, 1200), 2: ("VDD_CPU_GPU_CV", 5000, 400), 3: ("VDD_SOC", 5000, 300)}
    board = compatible("nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234")
    return {**board, **cpu_arm(cores=8), **hwmon_ina3221("1-0040", 3, rails), **jetson_state("17000000.gpu")}


def jetson_agx_orin() -> Tree:
    low = {1: ("VDD_GPU_SOC", 19688, 160), 2: ("VDD_CPU_CV", 19688, 40), 3: ("VIN_SYS_5V0", 4960, 600)}
    high = {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 4960, 220), 3: ("NC", 0, 0)}
    board = compatible("nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234")
    chips = {**hwmon_ina3221("1-0040", 1, low), **hwmon_ina3221("1-0041", 2, high)}
    return {**board, **cpu_arm(cores=12), **chips, **jetson_state("17000000.gpu")}


def jetson_thor(vin_uw: int = 23_520_000, gpu_ma: int = -20) -> Tree:
    rails = {1: ("VDD_GPU", 19600, gpu_ma), 2: ("VDD_CPU_SOC_MSS", 19600, 200), 3: ("VIN_SYS_5V0", 5000, 1300)}
    folder = "sys/bus/i2c/drivers/ina238/2-0044/hwmon/hwmon1"
    ina238 = {f"{folder}/name": "ina238", f"{folder}/power1_input": vin_uw, f"{folder}/in1_input": 20000}
    board = compatible("nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264")
    return {
        **board,
        **cpu_arm(part="0xd83", cores=14),
        **hwmon_ina3221("2-0040", 3, rails),
        **ina238,
        **jetson_state("gpu-gpc-0"),
    }


def cpu_x86(
    vendor: str = "GenuineIntel", model: str = "Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", flags: str = "fpu avx2"
) -> Tree:
    return {
        "proc/cpuinfo": f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: {model}\nflags\t\t: {flags}\n",
        "sys/devices/system/cpu/present": "0-7",
        "sys/devices/system/cpu/online": "0-7",
    }


def rapl_zone(zone: str, name: str, energy_uj: int, range_uj: int = 262143328850) -> Tree:
    folder = f"sys/class/powercap/{zone}"
    return {f"{folder}/name": name, f"{folder}/energy_uj": energy_uj, f"{folder}/max_energy_range_uj": range_uj}


def pc_intel() -> Tree:
    """One package with core and uncore inside it, psys, and the mmio copy of the package."""
    return {
        **cpu_x86(),
        "sys/class/powercap/intel-rapl/enabled": 1,
        **rapl_zone("intel-rapl:0", "package-0", 5_000_000),
        **rapl_zone("intel-rapl:0:0", "core", 3_000_000),
        **rapl_zone("intel-rapl:0:1", "uncore", 500_000),
        **rapl_zone("intel-rapl:1", "psys", 9_000_000),
        **rapl_zone("intel-rapl-mmio:0", "package-0", 5_000_000),
    }


def server_two_dies(vendor: str) -> Tree:
    return {
        **cpu_x86(vendor=vendor),
        **rapl_zone("intel-rapl:0", "package-0-die-0", 1_000_000),
        **rapl_zone("intel-rapl:1", "package-0-die-1", 2_000_000),
    }


PMIC = """\
        3V7_WL_SW_A current(0)=0.05000000A
         3V3_SYS_A current(1)=0.10000000A
          VDD_CORE_A current(7)=2.00000000A
         3V7_WL_SW_V volt(8)=3.70000000V
          3V3_SYS_V volt(9)=3.30000000V
          VDD_CORE_V volt(15)=0.75000000V
           EXT5V_V volt(24)=5.13000000V
            BATT_V volt(25)=0.00000000V"""


def raspberry_pi(model: int) -> Tree:
    board = compatible(f"raspberrypi,{model}-model-b", "brcm,bcm2712" if model == 5 else "brcm,bcm2711")
    zone = {"sys/class/thermal/thermal_zone0/type": "cpu-thermal", "sys/class/thermal/thermal_zone0/temp": 51000}
    return {
        **board,
        **cpu_arm(part="0xd0b", cores=4),
        **zone,
        "proc/device-tree/model": f"Raspberry Pi {model} Model B Rev 1.0\0".encode(),
    }


JETSONS = {
    "jetson-nano": (jetson_nano_jp4, 3.0),
    "jetson-tx2": (jetson_tx2_jp4, 3.84),
    "jetson-xavier-nx/jp4": (jetson_xavier_nx_jp4, 5.0),
    "jetson-xavier-nx/jp5": (jetson_xavier_nx_jp5, 5.0),
    "jetson-agx-xavier": (jetson_agx_xavier, 0.19 + 0.38 + 0.57 + 0.0 + 0.095 + 1.9),
    "jetson-orin-nano": (jetson_orin_nano, 5.263104),
    "jetson-orin-nx": (jetson_orin_nx, 6.0),
    "jetson-agx-orin": (jetson_agx_orin, 3.15008 + 0.78752 + 2.976),
    "jetson-thor": (jetson_thor, 23.52),
}
"""Every Jetson: its tree, and the total that its rails add up to, W."""

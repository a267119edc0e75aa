from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeexit.errors import InputError
from edgeexit.hardware import find_current_profile, find_data_dir, find_profile, load_profiles
from edgeexit.hardware.profiles import read_profile

from . import boards
from .boards import plant

BOARDS = {
    "jetson-nano": boards.jetson_nano_jp4(),
    "jetson-tx2": boards.jetson_tx2_jp4(),
    "jetson-xavier-nx": boards.jetson_xavier_nx_jp5(),
    "jetson-agx-xavier": boards.jetson_agx_xavier(),
    "jetson-orin-nano": boards.jetson_orin_nano(),
    "jetson-orin-nx": boards.jetson_orin_nx(),
    "jetson-agx-orin": boards.jetson_agx_orin(),
    "jetson-thor": boards.jetson_thor(),
    "rpi4": boards.raspberry_pi(4),
    "rpi5": boards.raspberry_pi(5),
}


@pytest.mark.parametrize("name", BOARDS)
def test_every_board_is_recognised_by_its_device_tree(name: str, tmp_path: Path) -> None:
    """By `compatible`, whatever the architecture of the machine that reads it."""
    profile = find_current_profile(plant(tmp_path, BOARDS[name]), arch="x86_64")

    assert profile is not None
    assert name == profile.name


def test_a_module_in_super_mode_is_the_same_module(tmp_path: Path) -> None:
    """JetPack 6.2 appends -super to the compatible strings."""
    profile = find_current_profile(plant(tmp_path, boards.jetson_orin_nano(super_mode=True)))

    assert profile is not None
    assert "jetson-orin-nano" == profile.name


def test_a_carrier_board_of_another_maker_does_not_hide_the_module(tmp_path: Path) -> None:
    """The first string is the carrier's, which no profile knows; the module's own comes after it."""
    plant(tmp_path, boards.compatible("acme,carrier-one", "nvidia,p3767-0003", "nvidia,tegra234"))
    profile = find_current_profile(tmp_path)

    assert profile is not None
    assert "jetson-orin-nano" == profile.name


@pytest.mark.parametrize(
    ("strings", "name"),
    [
        (("acme,board", "nvidia,tegra234"), "jetson-orin-other"),
        (("nvidia,p4071-0000+p3834-0005", "nvidia,p3834-0005", "nvidia,tegra264"), "jetson-thor-other"),
        (("acme,board", "nvidia,tegra264"), "jetson-thor-other"),
    ],
)
def test_a_module_that_no_profile_knows_is_known_by_its_chip(
    strings: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    """TensorRT is the default there; numbers that differ between modules, such as cores, are not claimed."""
    profile = find_current_profile(plant(tmp_path, boards.compatible(*strings)))

    assert profile is not None
    assert (name, "tensorrt", None) == (profile.name, profile.defaults.backend, profile.cpu.cores)
    assert profile.gpu is not None
    assert profile.gpu.cuda_cores is None


@pytest.mark.parametrize(("arch", "name"), [("x86_64", "x86-64"), ("aarch64", "aarch64")])
def test_a_machine_without_a_device_tree_is_known_by_its_architecture(arch: str, name: str, tmp_path: Path) -> None:
    """A generic profile whose caches are read from the machine."""
    profile = find_current_profile(tmp_path, arch)

    assert profile is not None
    assert name == profile.name
    assert () == profile.cache


def test_a_driver_for_discrete_gpus_comes_before_the_architecture(tmp_path: Path) -> None:
    """The GPU is what will run the network."""
    plant(tmp_path, {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.10"})
    profile = find_current_profile(tmp_path, "x86_64")

    assert profile is not None
    assert "nvidia-gpu" == profile.name


def test_a_machine_that_no_profile_knows_has_none(tmp_path: Path) -> None:
    """Nothing is guessed."""
    assert find_current_profile(tmp_path, "riscv64") is None


def test_every_profile_says_where_its_values_come_from() -> None:
    """Each table has a source, and each cache one of its own."""
    for profile in load_profiles().values():
        sources = [
            t.source for t in (profile.recognise, profile.cpu, profile.power, profile.software, profile.defaults)
        ]
        sources += [cache.source for cache in profile.cache]
        sources += [
            t.source for t in (profile.gpu, profile.dla, profile.tensorrt, profile.power_modes) if t is not None
        ]

        assert all(source.strip() for source in sources), profile.name


def test_boards_whose_jetpack_is_too_old_say_so() -> None:
    """They have sensors and geometry, and the profile says that TensorRT does not run there."""
    for name in ("jetson-nano", "jetson-tx2", "jetson-xavier-nx", "jetson-agx-xavier"):
        profile = find_profile(name)

        assert not profile.software.tensorrt
        assert "too old" in profile.software.note
        assert "onnxruntime" == profile.defaults.backend
        assert profile.power.rails


def test_every_jetson_and_pi_has_caches_that_can_be_simulated() -> None:
    """First-level instruction and data cache and a unified last level."""
    for name in BOARDS:
        kinds = {(c.level, c.kind) for c in find_profile(name).cache}

        assert {(1, "instruction"), (1, "data"), (2, "unified")} <= kinds


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """And with all that exist."""
    with pytest.raises(InputError, match="Did you mean 'jetson-orin-nano'") as caught:
        find_profile("jetson-orin-nan")

    assert "rpi5" in str(caught.value)


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A copy of a good profile, to be damaged."""
    return Path(shutil.copy(find_data_dir("devices") / "jetson-orin-nano.toml", tmp_path / "jetson-orin-nano.toml"))


def test_all_faults_of_a_file_come_in_one_message(faulty: Path) -> None:
    """An unknown key with the nearest known one, a wrong type, a missing source."""
    text = faulty.read_text()
    text = text.replace("cores = 6", 'cores = "six"').replace("step_w = 0.04", "stepw = 0.04")
    faulty.write_text(text.replace('[dla]\nengines = 0\nsource = "Jetson Orin Nano data sheet"', "[dla]\nengines = 0"))

    with pytest.raises(InputError) as caught:
        read_profile(faulty)

    message = str(caught.value)
    assert "3 faults" in message
    assert "Did you mean 'step_w'" in message
    assert "cpu.cores" in message
    assert "dla.source is missing" in message


def test_a_total_must_name_rails_that_are_there(faulty: Path) -> None:
    """A typing error in a total would make it a sum of something else."""
    faulty.write_text(faulty.read_text().replace('total = ["VDD_IN"]', 'total = ["VDD_I"]'))

    with pytest.raises(InputError, match="Did you mean 'VDD_IN'"):
        read_profile(faulty)


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("optimization_level = 3", "optimization_level = 6", "level is 6, not 0 to 5"),
        ("aux_streams = 0", "aux_streams = -1", "aux_streams is -1"),
        ("workspace_share = 0.25", "workspace_share = 25", "workspace_share is 25"),
        ("workspace_share = 0.25", "dla_core = 0", "dla_core is 0, and dla.engines 0"),
        ("aux_streams = 0", 'tactic_sources = ["jit_convolution"]', "Did you mean 'jit_convolutions'"),
        ("[tensorrt]\n", "[tensorrrt]\n", "Did you mean 'tensorrt'"),
    ],
)
def test_how_engines_are_built_is_checked(faulty: Path, good: str, bad: str, told: str) -> None:
    """What TensorRT would refuse on the board is refused where the file is read."""
    faulty.write_text(faulty.read_text().replace(good, bad))

    with pytest.raises(InputError, match=told):
        read_profile(faulty)


def test_boards_that_run_tensorrt_say_how_engines_are_built() -> None:
    """Without auxiliary streams, which conditional graphs refuse; where CPU and GPU share the memory, with part of it."""
    for profile in load_profiles().values():
        assert profile.software.tensorrt == (profile.tensorrt is not None)
        if profile.tensorrt is not None:
            assert 0 == profile.tensorrt.aux_streams
            assert (profile.name != "nvidia-gpu") == (profile.tensorrt.workspace_share is not None)


def test_words_outside_the_lists_are_refused(faulty: Path) -> None:
    """Roles, meters, backends, precisions."""
    text = faulty.read_text().replace('role = "soc"', 'role = "sock"').replace('meter = "ina3221"', 'meter = "ina3222"')
    faulty.write_text(text)

    with pytest.raises(InputError) as caught:
        read_profile(faulty)

    assert "2 faults" in str(caught.value)
    assert "Did you mean 'soc'" in str(caught.value)


def test_a_cache_must_be_made_of_its_ways(faulty: Path) -> None:
    """64 KiB of 5 ways of 64-byte lines is not a whole number of sets."""
    faulty.write_text(faulty.read_text().replace("ways = 4", "ways = 5", 1))

    with pytest.raises(InputError, match=r"cache\[0\]"):
        read_profile(faulty)


def test_a_profile_of_a_newer_edgeexit_is_refused_with_the_remedy(faulty: Path) -> None:
    """Schemas are read for ever, newer ones refused."""
    faulty.write_text(faulty.read_text().replace("edgeexit.device/1", "edgeexit.device/2"))

    with pytest.raises(InputError, match="newer edgeexit"):
        read_profile(faulty)


def test_a_file_that_is_not_toml_is_reported_by_its_line(tmp_path: Path) -> None:
    """And every file's faults come together."""
    (tmp_path / "one.toml").write_text("schema = \n")
    (tmp_path / "two.toml").write_text("name == 2\n")

    with pytest.raises(InputError) as caught:
        load_profiles(tmp_path)

    assert "one.toml" in str(caught.value)
    assert "two.toml" in str(caught.value)
    assert "line 1" in str(caught.value)

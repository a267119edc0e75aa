"""`edgeexit devices`: the boards that edgeexit knows, one of them in full, and which of them this machine is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeexit.cli.common import Json, emit
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.hardware.profiles import DeviceProfile, TensorRt


def devices_command(
    name: Annotated[str | None, typer.Argument(help="A device; without one, all are listed.")] = None,
    as_json: Json = False,
) -> None:
    """List the device profiles, or show one: caches, power rails, power modes, defaults, each with its source.

    Example: edgeexit devices jetson-orin-nano
    """
    from edgeexit.hardware import find_current_profile, find_device_key, find_profile, load_profiles

    current = find_current_profile()
    this = {"key": find_device_key(), "profile": current.name if current else None}
    if name is None:
        profiles = load_profiles()
        document = {"schema": "edgeexit.devices/1", "this": this, "devices": [asdict(p) for p in profiles.values()]}
        emit(document, lambda: _print_list(profiles, current), as_json=as_json)
    else:
        profile = find_profile(name)
        emit(
            {"schema": "edgeexit.devices/1", "this": this, "devices": [asdict(profile)]},
            lambda: _print_one(profile),
            as_json=as_json,
        )


def _print_list(profiles: dict[str, DeviceProfile], current: DeviceProfile | None) -> None:
    from edgeexit.cli.printing import print_result, print_tables
    from edgeexit.hardware import find_device_key, read_device_facts, read_device_state
    from edgeexit.report.table import Table
    from edgeexit.util.units import format_count

    rows = [
        (p.name, p.power.meter, p.defaults.backend, f"{p.title} ← this machine" if p is current else p.title)
        for p in profiles.values()
    ]
    print_tables([Table("Device profiles", ("device", "power meter", "backend", "what"), tuple(rows))])
    facts = read_device_facts()
    machine = facts.get("board") or facts["cpu"]
    print_result(f"This machine: {machine}, {format_count(int(facts['cores']), 'core')}, key {find_device_key()}")
    usable = read_device_state().usable_cpus
    if usable is not None and usable < int(facts["cores"]):
        print_result(f"This process may use {usable:g} of them, by its CPU affinity or the limit of its control group.")
    if current is None:
        print_result("No profile fits it; measurements work all the same, power needs a profile or --power-log.")


def _print_one(profile: DeviceProfile) -> None:
    from edgeexit.cli.printing import print_tables
    from edgeexit.report.table import Table

    rows = tuple(_make_rows(profile))
    print_tables([Table(profile.title, ("what", "value", "source"), rows, profile.software.note)])


def _make_rows(profile: DeviceProfile) -> list[tuple[str, str, str]]:
    """Name, value and source of everything the profile says."""
    rows = [
        ("recognised by", _format_recognition(profile), profile.recognise.source),
        ("CPU", _format_cpu(profile), profile.cpu.source),
    ]
    rows += [(f"L{c.level} {c.kind} cache", _format_cache(c), c.source) for c in profile.cache]
    if profile.gpu is not None:
        rows.append(
            (
                "GPU",
                _join(profile.gpu.architecture, profile.gpu.compute_capability, profile.gpu.cuda_cores),
                profile.gpu.source,
            )
        )
    if profile.dla is not None:
        rows.append(("DLA", str(profile.dla.engines), profile.dla.source))
    rows.append(("power", _format_power(profile), profile.power.source))
    if profile.power_modes is not None:
        rows.append(("power modes", ", ".join(profile.power_modes.names), profile.power_modes.source))
    jetpack = ", ".join(profile.software.jetpack)
    tensorrt = "yes" if profile.software.tensorrt else "no"
    rows.append(
        (
            "software",
            (f"JetPack {jetpack}; " if jetpack else "") + f"TensorRT backend: {tensorrt}",
            profile.software.source,
        )
    )
    if profile.tensorrt is not None:
        rows.append(("TensorRT", _format_tensorrt(profile.tensorrt), profile.tensorrt.source))
    rows.append(("defaults", f"{profile.defaults.backend}, {profile.defaults.precision}", profile.defaults.source))
    return rows


def _format_recognition(profile: DeviceProfile) -> str:
    return "\n".join(profile.recognise.compatible) or profile.recognise.arch or "an NVIDIA driver for discrete GPUs"


def _format_cpu(profile: DeviceProfile) -> str:
    from edgeexit.util.units import format_count

    return _join(
        profile.cpu.model, profile.cpu.arch, format_count(profile.cpu.cores, "core") if profile.cpu.cores else None
    )


def _format_cache(cache: Any) -> str:
    from edgeexit.util.units import bytes_

    return f"{bytes_(cache.size_bytes)}, {cache.ways} ways, {cache.line_bytes}-byte lines, shared by {cache.shared_by}"


def _format_power(profile: DeviceProfile) -> str:
    power = profile.power
    total = f"total ({power.scope}) = {' + '.join(power.total)}" if power.total else f"no total; scope: {power.scope}"
    rails = "\n".join(f"{rail.label}: {rail.role}" for rail in power.rails)
    step = f"step {power.step_w:g} W" if power.step_w else ""
    return "\n".join(part for part in (power.meter, total, rails, step) if part)


def _format_tensorrt(table: TensorRt) -> str:
    share = (
        f"{units.compact_percent(table.workspace_share, 0)} of the memory"
        if table.workspace_share is not None
        else "TensorRT's own"
    )
    lines = [
        f"optimisation level {table.optimization_level}, {table.aux_streams} auxiliary streams",
        f"most scratch of a stage: {share}",
        f"tactic sources: {' + '.join(table.tactic_sources) if table.tactic_sources is not None else 'the default ones'}",
        f"stages on {'the GPU' if table.dla_core is None else f'DLA {table.dla_core}'}",
    ]
    return "\n".join(lines)


def _join(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part is not None)

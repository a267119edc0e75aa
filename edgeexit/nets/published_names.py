"""Names of weights in published checkpoints, as those of edgeexit's own networks: the layers are the same, and are called otherwise.

msdnet    kalviny/MSDNet-PyTorch, for CIFAR (its first convolution for ImageNet is another one)
eenet     eksuas/eenets.pytorch, the 6n+2 networks with exits of the kind `pool`; the repository saves whole models, of which the
          state_dict is needed. The confidence of the last exit, which always answers, is left out
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

State: TypeAlias = "dict[str, Any]"
"""Weights by name."""


def rename_msdnet(state: Mapping[str, Any]) -> State | None:
    """Weights of MSDNet-PyTorch under the names of `msdnet`; None where they are of something else."""
    names = {_strip(name): value for name, value in state.items()}
    count = len({name.split(".")[1] for name in names if name.startswith("classifier.")})
    if not count or not any(".conv_normal." in name for name in names):
        return None
    return {_rename_msdnet(name, names, count): value for name, value in names.items()}


def _strip(name: str) -> str:
    """Without the prefix of DataParallel."""
    return name.removeprefix("module.")


def _rename_msdnet(name: str, names: Mapping[str, Any], exits: int) -> str:
    layer = re.fullmatch(r"(blocks\.\d+\.\d+)\.layers\.(\d+)\.conv_(normal|down)\.net\.(\d+)\.(\w+)", name)
    if layer is not None:
        place, scale, kind, index, end = layer.groups()
        # The finest scale that goes out has a finer one only where that is dropped here.
        first = 0 if f"{place}.layers.0.conv_down.net.0.weight" in names else 1
        side = f"same.{scale}" if kind == "normal" else f"finer.{int(scale) - first}"
        return f"{place}.{side}.{int(index) // 3}.{int(index) % 3}.{end}"
    found = re.fullmatch(r"(blocks\.\d+\.\d+)\.(?:layers|m)\.(\d+)\.net\.(\d+\.\w+)", name)
    if found is not None:
        return f"{found[1]}.scales.{found[2]}.{found[3]}"
    head = re.fullmatch(r"classifier\.(\d+)\.(?:m\.(\d+)\.net\.(\d+)|linear)\.(\w+)", name)
    if head is None:
        return name
    exit, convolution, index, end = head.groups()
    place = "last" if int(exit) == exits - 1 else f"heads.{int(exit) + 1}"
    return f"{place}.classify.{end}" if index is None else f"{place}.features.{int(convolution) + 1}.{index}.{end}"


def rename_eenet(state: Mapping[str, Any]) -> State | None:
    """Weights of eenets.pytorch under the names of `eenet`; None where they are of something else."""
    names = {_strip(name): value for name, value in state.items()}
    stages = [re.match(r"stages\.(\d+)\.(\d+)\.conv1\.", name) for name in names]
    blocks = sorted({(int(found[1]), int(found[2])) for found in stages if found is not None})
    if not blocks or not any(name.startswith("exits.0.confidence.") for name in names):
        return None
    renamed = {_rename_eenet(name, blocks): value for name, value in names.items()}
    return {name: value for name, value in renamed.items() if name}


def _rename_eenet(name: str, blocks: list[tuple[int, int]]) -> str:
    """The name; empty for the second names of the last stage's layers, and for the confidence of the last exit."""
    if name.startswith(("layers.", "confidence.")):
        return ""
    part = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(.+)", name)
    if part is not None:
        place = (int(part[1]), int(part[2]))
        if place not in blocks:
            return f"blocks.0.0.{part[3]}"  # the stem
        number = blocks.index(place)
        return f"blocks.{number}{'' if number else '.1'}.{part[3].replace('downsample.', 'shortcut.')}"
    head = re.fullmatch(r"exits\.(\d+)\.(classifier|confidence)\.0\.(\w+)", name)
    if head is not None:
        after = sum(stage <= int(head[1]) for stage, _ in blocks)
        return f"heads.{after}.{'classify' if head[2] == 'classifier' else 'confidence'}.{head[3]}"
    return re.sub(r"^classifier\.0\.", "last.classify.", name)


NAME_MAPS: dict[str, Callable[[Mapping[str, Any]], State | None]] = {
    "kalviny/MSDNet-PyTorch": rename_msdnet,
    "eksuas/eenets.pytorch": rename_eenet,
}
"""By repository."""

"""Stand-ins for checkouts of published repositories: small networks with the same interfaces and names of weights, written here.

What `edgeexit export RECIPE.toml` needs of a repository is what it imports, how that is called, what its weights are called and what its
forward returns; layers are as few as show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.exporter.image_standins import (
    ARCHITECTURES,
    AUX,
    EENET,
    FLOPS,
    MSDNET_NETWORK,
    PARTS,
    RANET,
    SDN,
    SDN_VGG,
    ZTW,
    ZTW_RESNET,
)
from tests.exporter.text_standins import BERT, CONFIGURATION, DEEBERT, ELASTICBERT, PABEE

MSDNET = {
    "data": "cifar100",
    "nBlocks": 4,
    "nScales": 3,
    "nChannels": 8,
    "growthRate": 4,
    "grFactor": (1, 2, 4),
    "bnFactor": (1, 2, 4),
    "base": 2,
    "step": 1,
    "stepmode": "even",
}
"""What the stand-in of MSDNet is trained with, but for what its recipe says."""

STANDINS: dict[str, dict[str, str]] = {
    "msdnet": {"models/__init__.py": "", "models/parts.py": PARTS, "models/msdnet.py": MSDNET_NETWORK},
    "ranet": {"models/__init__.py": "", "models/parts.py": PARTS, "models/RANet.py": RANET},
    "sdn": {
        "network_architectures.py": ARCHITECTURES.format(name="ResNet_SDN"),
        "architectures/SDNs/ResNet_SDN.py": SDN,
        "aux_funcs.py": AUX,
    },
    "sdn-vgg16": {
        "network_architectures.py": ARCHITECTURES.format(name="VGG_SDN"),
        "architectures/SDNs/VGG_SDN.py": SDN_VGG,
        "aux_funcs.py": AUX,
    },
    "eenet": {"eenet.py": EENET, "flops_counter.py": FLOPS},
    "deebert": {
        "transformers/__init__.py": "",
        "transformers/configuration_bert.py": CONFIGURATION.format(name="BertConfig"),
        "transformers/modeling_bert.py": BERT,
        "transformers/modeling_highway_bert.py": DEEBERT,
    },
    "pabee": {
        "pabee/configuration_bert.py": CONFIGURATION.format(name="BertConfig"),
        "pabee/bert.py": BERT,
        "pabee/modeling_bert.py": PABEE,
    },
    "elasticbert": {
        "finetune-dynamic/models/configuration_elasticbert.py": CONFIGURATION.format(name="ElasticBertConfig"),
        "finetune-dynamic/models/bert.py": BERT,
        "finetune-dynamic/models/modeling_elasticbert_entropy.py": ELASTICBERT,
    },
    "zero-time-waste": {
        "ztw_cv/architectures/__init__.py": "",
        "ztw_cv/architectures/resnets.py": ZTW_RESNET,
        "ztw_cv/architectures/early_exits/__init__.py": "",
        "ztw_cv/architectures/early_exits/ztw.py": ZTW,
    },
}
"""Files by path, of each recipe's repository."""


def write_standin(name: str, folder: Path) -> Path:
    """Write the checkout that a recipe needs; its folder."""
    for path, source in STANDINS[name].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(source)
    return folder


def save_checkpoint(name: str, options: Mapping[str, Any], checkout: Path, path: Path) -> None:
    """Write a checkpoint of a stand-in, nested and with the prefix that DataParallel gives it."""
    import torch

    from edgeexit.exporter.published import open_published, read_repository

    torch.manual_seed(1)
    with open_published(read_repository(f"{name}.toml"), checkout, None, options) as made:
        inner = getattr(made.module, "module", made.module)
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in inner.state_dict().items()}}, path)

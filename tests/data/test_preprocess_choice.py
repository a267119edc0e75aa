"""A preprocessing that came with the checkpoint is found, and is not contradicted in silence."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeexit.data import Preprocess, read_preprocess
from edgeexit.data.preprocess_choice import choose_preprocess, find_stated_preprocess
from edgeexit.errors import InputError

TIMM = {"input_size": [3, 224, 224], "crop_pct": 0.875, "interpolation": "bicubic", "mean": [0.5], "std": [0.5]}
HUGGING_FACE = {"do_resize": True, "size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("config.json", {"pretrained_cfg": TIMM}),
        ("preprocessor_config.json", HUGGING_FACE),
        ("preprocess.json", {"size": 32, "mean": 0.5, "std": 0.5}),
    ],
)
def test_a_file_beside_the_checkpoint_is_read(name: str, document: dict[str, object], tmp_path: Path) -> None:
    """Of timm, of Hugging Face, or ours."""
    (tmp_path / name).write_text(json.dumps(document))

    found = choose_preprocess(None, find_stated_preprocess(tmp_path / "net.pt", {}))

    assert found == read_preprocess(tmp_path / name)


def test_a_table_in_the_checkpoint_or_on_the_module_is_read(tmp_path: Path) -> None:
    """As timm's modules have it."""
    module, checkpoint = SimpleNamespace(pretrained_cfg=TIMM), {"preprocess": {"mean": 0.5, "std": 0.5}}

    stated = find_stated_preprocess(tmp_path / "net.pt", {"the network": module, "net.pt": checkpoint})

    assert ["pretrained_cfg of the network", "preprocess of net.pt"] == list(stated)
    assert (224, 224) == getattr(choose_preprocess(None, stated), "size", None)


def test_configurations_of_other_things_are_left_alone(tmp_path: Path) -> None:
    """A `config.json` beside the weights is often the network's own."""
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 64, "model_type": "bert"}))

    assert choose_preprocess(None, find_stated_preprocess(tmp_path / "net.pt", {"net.pt": {"epoch": 3}})) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("unit", "mean is 0 in --preprocess and 0.5 in config; std is 1 in --preprocess and 0.5 in config"),
        ("mean=0.5,std=0.25", "std is 0.25 in --preprocess and 0.5 in config"),
        ("mean=127.5,std=127.5,scale=1", "scale is 1 in --preprocess and 0.00392157 in config"),
        ("size=192,resize=192,mean=0.5,std=0.5", "size is 192, 192 in --preprocess and 224, 224 in config"),
        ("channels=bgr,mean=0.5,std=0.5", "channels is bgr in --preprocess and rgb in config"),
    ],
)
def test_contradictions_are_refused(given: str, said: str) -> None:
    """With both values, and how to end it."""
    with pytest.raises(InputError, match="Leave out --preprocess") as raised:
        choose_preprocess(read_preprocess(given), {"config": TIMM})
    assert said in str(raised.value)


def test_what_only_one_states_is_no_contradiction() -> None:
    """Pictures that have the size already need no resizing."""
    given = Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5,))

    assert given is choose_preprocess(given, {"config": TIMM})


def test_the_users_word_counts_where_the_other_cannot_be_read() -> None:
    """Without it, what cannot be read is named."""
    strange = {**TIMM, "crop_mode": "border"}

    assert Preprocess() == choose_preprocess(Preprocess(), {"config": strange})
    with pytest.raises(InputError, match=r"config cannot be used: .*border"):
        choose_preprocess(None, {"config": strange})

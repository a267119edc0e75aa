"""Names of classes come from lists, mappings and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeexit.data import DataWarning, make_dataset, read_class_names
from edgeexit.errors import InputError
from tests.data.test_forms import NAMES, X, network


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("cat\ndog\nhorse\n", "names.txt"),
        ('["cat", "dog", "horse"]', "names.json"),
        ('{"id2label": {"1": "dog", "0": "cat", "2": "horse"}}', "config.json"),
        ('{"label_names": ["cat", "dog", "horse"]}', "timm.json"),
        ('{"dog": 1, "cat": 0, "horse": 2}', "class_to_idx.json"),
        ('{"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "horse"]}', "keras.json"),
        ("0 cat\n1 dog\n2 horse\n", "numbered.txt"),
        ("id,name\n0,cat\n1,dog\n2,horse\n", "titles.csv"),
        ("['cat', 'dog', 'horse']", "printed.txt"),
    ],
)
def test_class_names_are_read_from_files(content: str, name: str, tmp_path: Path) -> None:
    """One a line, or JSON as Hugging Face and timm write it."""
    (tmp_path / name).write_text(content)

    assert NAMES == read_class_names(tmp_path / name) == read_class_names("cat,dog, horse")


def test_lists_may_hold_a_name_twice_but_no_data_can_mean_it(tmp_path: Path) -> None:
    """As the names of ImageNet do; text with that name would be one of two classes."""
    names = read_class_names(["crane", "dog", "crane"])

    assert names == ("crane", "dog", "crane")
    with pytest.warns(DataWarning, match="no samples of"):
        assert [1, 1, 1, 1] == make_dataset("d", X, np.array(["dog"] * 4), network(class_names=names)).y.tolist()
    with pytest.raises(InputError, match="several classes of the name crane"):
        make_dataset("d", X, np.array(["crane"] * 4), network(class_names=names))


def test_class_names_may_be_a_mapping() -> None:
    """`id2label` of a configuration, or `class_to_idx` of an image folder."""
    assert (
        NAMES
        == read_class_names({0: "cat", 2: "horse", 1: "dog"})
        == read_class_names({"horse": 2, "cat": 0, "dog": 1})
    )


@pytest.mark.parametrize(
    ("given_names", "fault"),
    [
        ("cat,cat", "'cat' twice"),
        ("cat,,dog", "an empty name"),
        ("cat", "1 class name"),
        (3, "must be a list"),
        ("no.txt", "cannot read"),
    ],
)
def test_class_names_with_faults_are_refused(given_names: Any, fault: str) -> None:
    """Each says what is wrong."""
    with pytest.raises(InputError, match=fault):
        read_class_names(given_names)

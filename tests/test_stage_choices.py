"""A backend or a precision for each stage, as text."""

from __future__ import annotations

from itertools import product

import pytest

from edgeexit.choices import PRECISIONS
from edgeexit.errors import InputError
from edgeexit.stage_choices import PerStage, StageChoice, find_heads_name, for_stage, is_mixed, list_distinct_names


def _read(given: PerStage | None, *, heads: bool = True) -> StageChoice:
    return StageChoice.read("precision", given, PRECISIONS, heads=heads)


@pytest.mark.parametrize("names", list(product(PRECISIONS, repeat=3)))
def test_every_form_of_a_choice_gives_the_same_text(names: tuple[str, ...]) -> None:
    """Numbers on the command line, a dict from Python, and the text that is kept in settings and manifests."""
    single = ",".join(f"{k}={name}" for k, name in enumerate(names, 1))
    usual = f"{names[0]},2={names[1]},3={names[2]}"

    text = _read(single).resolve(3, "float32")

    assert text == _read(usual).resolve(3, "float32") == _read(dict(enumerate(names, 1))).resolve(3, "float32")
    assert text == _read(text).resolve(3, "float32")
    assert names == tuple(for_stage(text, k) for k in (1, 2, 3))
    assert is_mixed(text) == (len(set(names)) > 1)
    assert set(names) == set(list_distinct_names(text))


def test_stages_that_are_not_named_take_the_default() -> None:
    """That of the choice, else that of the network."""
    assert "float32+float32+int8" == _read("3=int8").resolve(3, "float32")
    assert "float16+int8+float16" == _read("float16,2=int8").resolve(3, "float32")
    assert "float32" == _read(None).resolve(3, "float32")
    assert _read(None).is_default


@pytest.mark.parametrize("given", ["int8,heads=float32", {1: "int8", 2: "int8", "heads": "float32"}])
def test_heads_can_have_a_precision_of_their_own(given: PerStage) -> None:
    """It stands behind those of the stages, and goes where it is the same as all of them."""
    text = _read(given).resolve(2, "float32")
    assert "int8+heads-float32" == text == _read(text).resolve(2, "float32")
    assert "float32" == find_heads_name(text)
    assert "float32" == _read("float32,heads=float32").resolve(2, "float32")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("float61", "no precision named 'float61'. Did you mean"),
        ("float32,2=float61", "no precision named 'float61'"),
        ("1=int8,1=float32", "twice"),
        ("int8,float32", "twice"),
        ("second=int8", "cannot read the precision 'second=int8'"),
        ("", "cannot read"),
        ("int8,", "cannot read the precision 'int8,'"),
        ("2=", "cannot read"),
        ({"second": "int8"}, "cannot read"),
        ({True: "int8"}, "cannot read"),
        ({2: 8}, "cannot read"),
        (8, "cannot read"),
    ],
)
def test_what_cannot_be_read_is_refused(given: object, message: str) -> None:
    """With what was given and an example."""
    with pytest.raises(InputError, match=message):
        _read(given)  # type: ignore[arg-type]  # as users may


@pytest.mark.parametrize("given", ["4=int8", "0=int8", "float32+int8", {-1: "int8"}])
def test_stages_that_the_network_does_not_have_are_refused(given: PerStage) -> None:
    """Numbers beyond its stages, or as many names as another network has stages."""
    with pytest.raises(InputError, match="this network has the stages 1 to 3"):
        _read(given).resolve(3, "float32")


def test_a_backend_is_chosen_for_whole_stages() -> None:
    """Only precisions tell heads apart."""
    with pytest.raises(InputError, match="chosen for whole stages"):
        _read("heads=int8", heads=False)

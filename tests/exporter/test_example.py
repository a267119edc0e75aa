"""The example gives the inputs by the names of forward's parameters; what does not fit is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import InputError, ModelError
from edgeexit.exporter import export
from tests.exporter.networks import Net


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.a, self.b = nn.Embedding(10, 6), nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, tokens: Tensor, image: Tensor) -> list[Tensor]:
        early = self.embed(tokens).mean(1)
        return [self.a(early), self.b(early + image.flatten(1))]


@pytest.mark.parametrize("as_dict", [True, False])
def test_several_inputs_keep_the_names_of_forward(tmp_path: Path, as_dict: bool) -> None:
    """Given in order or by name; whole numbers stay whole numbers."""
    tokens, image = torch.randint(10, (2, 5)), torch.zeros(2, 1, 2, 3)
    example: Any = {"image": image, "tokens": tokens} if as_dict else (tokens, image)

    exported = export(TwoInputs(), example, tmp_path / "m.onnx")

    assert {"tokens": (None, 5), "image": (None, 1, 2, 3)} == exported.inputs


@pytest.mark.parametrize(
    ("example", "fault"),
    [
        ({"tokens": torch.zeros(2, 5), "picture": torch.zeros(2, 6)}, "no input named 'picture'"),
        ({"image": torch.zeros(2, 6)}, "an example is missing before 'image'"),
        ((torch.zeros(2, 5), torch.zeros(3, 6)), "same batch"),
        ((torch.zeros(2, 5),) * 3, "3 inputs and forward takes 2"),
        (torch.zeros(()), "same batch"),
        ((torch.zeros(2, 5), torch.zeros(2, 6)), "forward failed on the example"),
    ],
)
def test_an_example_that_does_not_fit_is_one_message(tmp_path: Path, example: Any, fault: str) -> None:
    """What forward takes and what it was given."""
    with pytest.raises(ModelError) as caught:
        export(TwoInputs(), example, tmp_path / "m.onnx")

    assert fault in str(caught.value)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"module": lambda x: x}, "module must be a torch.nn.Module"),
        ({"example": "abc"}, "example input 'x' must be a tensor, .* not 'abc'"),
        ({"example": torch.zeros(1, 6, dtype=torch.bfloat16)}, "example input 'x' is bfloat16"),
        ({"names": "ab"}, "names must be a list of names"),
    ],
)
def test_arguments_of_another_kind_are_refused_in_words(tmp_path: Path, arguments: Any, fault: str) -> None:
    """Before anything is run; one text is no list of names."""
    given = {"module": Net(lambda z, h: z[:2]), "example": torch.zeros(1, 6), **arguments}

    with pytest.raises(InputError, match=fault):
        export(path=tmp_path / "m.onnx", **given)

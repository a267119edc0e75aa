"""The example gives the inputs by the names of forward's parameters; what does not fit raises a clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import InputError, ModelError
from edgeexit.exporter import cascade, export
from tests.exporter.networks import Net, run


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
        ({"metadata": {"seed": 5}}, "metadata must be text by name, which 'seed': 5 is not"),
        ({"metadata": {5: "seed"}}, "metadata must be text by name, which 5: 'seed' is not"),
        ({"metadata": ["seed"]}, "metadata must be a dict of text by name"),
        ({"metadata": {"edgeexit.exits": "[]"}}, "metadata 'edgeexit.exits' says where the exits are"),
    ],
)
def test_arguments_of_another_kind_raise_a_clear_error(tmp_path: Path, arguments: Any, fault: str) -> None:
    """Before anything is run; one text is no list of names."""
    given = {"module": Net(lambda z, h: z[:2]), "example": torch.zeros(1, 6), **arguments}

    with pytest.raises(InputError, match=fault):
        export(path=tmp_path / "m.onnx", **given)
    assert [] == list(tmp_path.iterdir())


class Optional(nn.Module):
    """Takes what it can do without between its two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TwoInputs()

    def forward(self, tokens: Tensor, cache: Any = None, image: Any = None, scale: float = 1.0) -> Any:
        assert cache is None
        return self.net(tokens, scale * image)


def test_what_forward_can_do_without_may_be_left_out_before_other_inputs(tmp_path: Path) -> None:
    """Those after it are given by name, and keep forward's order."""
    example = {"image": torch.zeros(2, 1, 2, 3), "tokens": torch.randint(10, (2, 5))}
    exported = export(Optional(), example, tmp_path / "m.onnx")

    assert {"tokens": (None, 5), "image": (None, 1, 2, 3)} == exported.inputs
    assert exported.largest_difference < 1e-5


class Holds(nn.Module):
    """A network inside, whose inputs are what a subclass makes of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(lambda z, h: z)


class ByName(Holds):
    """Takes `x` by position and `shift` by keyword only."""

    def forward(self, x: Tensor, *, shift: Tensor) -> Any:
        return self.net(x - shift)


class OnlyByName(Holds):
    def forward(self, *, x: Tensor, shift: Tensor) -> Any:
        return self.net(x - shift)


class AnyName(Holds):
    def forward(self, **inputs: Tensor) -> Any:
        return self.net(inputs["x"] - inputs["shift"])


@pytest.mark.parametrize("kind", [ByName, OnlyByName, AnyName])
def test_inputs_that_forward_takes_by_keyword_are_given_by_name(tmp_path: Path, kind: type[Holds]) -> None:
    """Their order is that of forward's parameters, or of the example where forward takes any; weights keep their names."""
    module = kind()
    x, shift = torch.randn(3, 6), torch.randn(3, 6)

    exported = export(module, {"x": x, "shift": shift}, tmp_path / "m.onnx")

    assert ["x", "shift"] == list(exported.inputs)
    assert "net.trunk.0.weight" in {w.name for w in onnx.load(exported.path).graph.initializer}
    with torch.no_grad():
        np.testing.assert_allclose(
            module(x=x, shift=shift)[2], run(exported.path, x.numpy(), shift.numpy())[2], atol=1e-5
        )


@pytest.mark.parametrize(
    ("kind", "example", "fault"),
    [
        (
            OnlyByName,
            torch.zeros(1, 6),
            "forward takes no input by position. Give what it takes by name as a dict: {'x': tensor",
        ),
        (AnyName, torch.zeros(1, 6), "Give what it takes by name as a dict: {'x': tensor"),
        (
            ByName,
            (torch.zeros(1, 6),) * 2,
            "forward takes 1: x. Give what it takes by name as a dict: {'shift': tensor",
        ),
        (OnlyByName, {"y": torch.zeros(1, 6)}, "no input named 'y'; it takes x, shift"),
        (AnyName, {5: torch.zeros(1, 6)}, "no input named 5; it takes names that are text"),
        (ByName, {"x": torch.zeros(1, 6)}, "missing 1 required keyword-only argument: 'shift'"),
    ],
)
def test_a_forward_that_takes_names_says_which(tmp_path: Path, kind: type[Holds], example: Any, fault: str) -> None:
    """And that they are given in a dict."""
    with pytest.raises(ModelError) as caught:
        export(kind(), example, tmp_path / "m.onnx")

    assert fault in str(caught.value)


class FirstAndMore(Holds):
    def forward(self, input: Tensor, *more: Tensor) -> Any:
        return self.net(input + more[0] * more[1])


def test_inputs_beyond_those_that_have_names_get_names_of_their_own(tmp_path: Path) -> None:
    """Also where forward calls its first `input`."""
    exported = export(FirstAndMore(), (torch.zeros(1, 6),) * 3, tmp_path / "m.onnx")

    assert ["input", "input2", "input3"] == list(exported.inputs)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("made", "what"),
    [
        (lambda: torch.jit.trace(nn.Linear(6, 4), torch.zeros(1, 6)), "the module"),  # type: ignore[no-untyped-call]
        (lambda: torch.jit.script(nn.Linear(6, 4)), "the module"),
        (lambda: cascade([nn.Linear(6, 4), torch.jit.script(nn.Linear(6, 4))]), "'classifiers.1' inside the module"),
    ],
    ids=["traced", "scripted", "a part is scripted"],
)
def test_what_torch_jit_made_raises_a_clear_error(tmp_path: Path, made: Callable[[], nn.Module], what: str) -> None:
    """Its Python is gone, and with it what torch exports."""
    with pytest.raises(
        ModelError, match=f"^{what} was made by torch.jit, .* the original module, before scripting or tracing"
    ):
        export(made(), torch.zeros(1, 6), tmp_path / "m.onnx")


def test_what_torch_export_made_raises_a_clear_error(tmp_path: Path) -> None:
    """It has no mode to set, and the shapes that it was exported with."""
    program = torch.export.export(Net(lambda z, h: z), (torch.zeros(2, 6),))

    with pytest.raises(ModelError, match=r"the module was made by torch.export, .* as it was before"):
        export(program.module(), torch.zeros(2, 6), tmp_path / "m.onnx")

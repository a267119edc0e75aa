"""Modules in every shape become ONNX files with named exits that compute what eager computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import InputError, ModelError
from edgeexit.exporter import Exported, cascade, export, mark_exit
from edgeexit.nets.outputs import run_exits

Shape = Callable[[list[Tensor], list[Tensor]], Any]


class Net(nn.Module):
    """Three exits on 6 features, 4 classes; `shape` says in which form forward returns their logits and scores."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(6, 4) for _ in range(3))
        self.scores = nn.ModuleList(nn.Linear(6, 1) for _ in range(3))
        self.shape = shape

    def computed(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Logits and scores of all three."""
        logits, scores = [], []
        for trunk, head, score in zip(self.trunk, self.heads, self.scores, strict=True):
            x = torch.relu(trunk(x))
            logits.append(head(x))
            scores.append(torch.sigmoid(score(x)))
        return logits, scores

    def forward(self, x: Tensor) -> Any:
        return self.shape(*self.computed(x))


def table(path: Path) -> list[dict[str, str | None]]:
    """What the metadata says of the exits."""
    properties = {p.key: p.value for p in onnx.load(path).metadata_props}
    exits: list[dict[str, str | None]] = json.loads(properties["edgeexit.exits"])
    return exits


def run(path: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True))))


FORMS: dict[str, tuple[Shape, list[str], list[bool]]] = {
    "list of logits": (lambda z, h: z, ["exit1", "exit2", "exit3"], [False] * 3),
    "tuple of logits": (lambda z, h: tuple(z), ["exit1", "exit2", "exit3"], [False] * 3),
    "list of pairs": (lambda z, h: list(zip(z, h, strict=True)), ["exit1", "exit2", "exit3"], [True] * 3),
    "pairs and none": (
        lambda z, h: [(z[0], h[0]), (z[1], None), z[2]],
        ["exit1", "exit2", "exit3"],
        [True, False, False],
    ),
    "flat scores": (
        lambda z, h: [(a, b[:, 0]) for a, b in zip(z, h, strict=True)],
        ["exit1", "exit2", "exit3"],
        [True] * 3,
    ),
    "pair of lists": (lambda z, h: (z, h), ["exit1", "exit2", "exit3"], [True] * 3),
    "last without score": (lambda z, h: (z, h[:2]), ["exit1", "exit2", "exit3"], [True, True, False]),
    "two pairs": (lambda z, h: [(z[0], h[0]), (z[1], h[1])], ["exit1", "exit2"], [True, True]),
    "pair of pairs": (lambda z, h: ([z[0], z[1]], [h[0], h[1]]), ["exit1", "exit2"], [True, True]),
    "dict": (
        lambda z, h: {"early": z[0], "mid": (z[1], h[1]), "final": z[2]},
        ["early", "mid", "final"],
        [False, True, False],
    ),
    "dict of lists": (lambda z, h: {"logits": z, "scores": h}, ["exit1", "exit2", "exit3"], [True] * 3),
    "one exit": (lambda z, h: z[2], ["exit1"], [False]),
    "one exit by name": (lambda z, h: {"logits": z[2]}, ["exit1"], [False]),
    "one exit and its score by name": (lambda z, h: {"logits": z[2], "scores": h[2]}, ["exit1"], [True]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_forward_is_read_as_its_exits(form: str) -> None:
    """Names and scores are those that forward returns."""
    shape, names, scored = FORMS[form]

    exits = run_exits(Net(shape), torch.zeros(2, 6))

    assert names == [e.name for e in exits]
    assert scored == [e.score is not None for e in exits]


@pytest.mark.parametrize("form", ["list of logits", "pairs and none", "dict"])
def test_the_file_computes_what_eager_computes(form: str, tmp_path: Path) -> None:
    """Exits in order, each its logits and then its score, named in the metadata."""
    shape, names, scored = FORMS[form]
    module = Net(shape)

    exported = export(module, torch.zeros(1, 6), tmp_path / "m.onnx")

    exits = table(tmp_path / "m.onnx")
    assert names == list(exported.exits) == [e["name"] for e in exits]
    assert scored == [e["score"] is not None for e in exits]
    x = torch.randn(3, 6)
    want = [t for e in run_exits(module.eval(), x) for t in (e.logits, e.score) if t is not None]
    for a, b in zip(want, run(tmp_path / "m.onnx", x.numpy()), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b, atol=1e-5)


class Marked(nn.Module):
    """Exits are only marked; what is returned is the last."""

    def __init__(self, *, mark_last: bool) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 4), nn.Linear(6, 6), nn.Linear(6, 4)
        self.mark_last = mark_last

    def forward(self, x: Tensor) -> Tensor:
        early = mark_exit("early", self.a(x), score=self.a(x).amax(-1))
        assert early.shape[-1] == 4
        last: Tensor = self.c(torch.relu(self.b(x)))
        return mark_exit("last", last) if self.mark_last else last


@pytest.mark.parametrize(("mark_last", "names"), [(True, ["early", "last"]), (False, ["early", "exit2"])])
def test_marked_exits_are_found(tmp_path: Path, mark_last: bool, names: list[str]) -> None:
    """In the order of the marks; what forward returns is the last exit unless it was marked itself."""
    export(Marked(mark_last=mark_last), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert names == [e["name"] for e in table(tmp_path / "m.onnx")]
    assert ["early_score", None] == [e["score"] for e in table(tmp_path / "m.onnx")]


class Says(Net):
    """Marks its first two exits and returns what `shape` makes of all three."""

    def forward(self, x: Tensor) -> Any:
        logits, scores = self.computed(x)
        for name, marked in zip(("early", "mid"), logits, strict=False):
            mark_exit(name, marked)
        return self.shape(logits, scores)


@pytest.mark.parametrize(
    ("shape", "last", "scored"),
    [
        (lambda z, h: z[2], "exit3", False),
        (lambda z, h: (z[2],), "exit3", False),
        (lambda z, h: [(z[2], h[2])], "exit3", True),
        (lambda z, h: {"logits": z[2]}, "exit3", False),
        (lambda z, h: {"logits": z[2], "scores": h[2]}, "exit3", True),
        (lambda z, h: {"final": (z[2], h[2])}, "final", True),
        (lambda z, h: {"one": z[0], "two": z[1], "final": z[2]}, "final", False),
        (lambda z, h: z, "exit3", False),
        (lambda z, h: (z, h), "exit3", True),
        (lambda z, h: None, None, False),
        (lambda z, h: z[1], None, False),
        (lambda z, h: {"logits": z[1]}, None, False),
    ],
)
def test_beside_marks_every_form_is_read(shape: Shape, last: str | None, scored: bool) -> None:
    """What is returned and was not marked is the last exit, in whatever form it comes."""
    exits = run_exits(Says(shape), torch.zeros(2, 6))

    assert ["early", "mid", *([last] if last else [])] == [e.name for e in exits]
    assert scored == (exits[-1].score is not None)


def test_a_marked_exit_may_come_back_with_its_score() -> None:
    """As in a list of all exits and their scores."""
    exits = run_exits(Says(lambda z, h: list(zip(z, h, strict=True))), torch.zeros(2, 6))

    assert [True] * 3 == [e.score is not None for e in exits]


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        (lambda z, h: [z[2], z[2] + 1], "marks early, mid and returns 2 tensors that it did not mark .* mark them too"),
        (lambda z, h: "logits", "forward returned str"),
        (lambda z, h: {"early": z[2]}, "two exits are named 'early'"),
        (lambda z, h: mark_exit(7, z[2]), "exit name 7 must start with a letter"),  # type: ignore[arg-type]
        (lambda z, h: [mark_exit("last", "z")][:0], "exit 'last' is tuple of str"),  # type: ignore[arg-type]
    ],
)
def test_what_has_no_place_beside_marks_is_refused(shape: Shape, fault: str) -> None:
    """Nothing that forward returns is dropped in silence."""
    with pytest.raises(ModelError, match=fault):
        run_exits(Says(shape), torch.zeros(2, 6))


def test_a_mark_changes_nothing_outside_of_edgeexit() -> None:
    """It is the identity when a network is trained or used."""
    z = torch.ones(1, 4)

    assert z is mark_exit("early", z)


def test_independent_classifiers_become_a_cascade(tmp_path: Path) -> None:
    """Exit i is classifier i, whether it returns logits or logits and a score."""
    small, large = nn.Linear(6, 4), Net(lambda z, h: [(z[2], h[2])])
    module = cascade([small, large])

    export(module, torch.zeros(1, 6), tmp_path / "m.onnx", names=["small", "large"])

    assert [None, "large_score"] == [e["score"] for e in table(tmp_path / "m.onnx")]
    x = torch.randn(2, 6)
    np.testing.assert_allclose(small(x).detach().numpy(), run(tmp_path / "m.onnx", x.numpy())[0], atol=1e-5)


def test_a_cascade_of_one_is_refused() -> None:
    """It has nowhere to leave early."""
    with pytest.raises(ModelError, match="two classifiers or more; got 1"):
        cascade([nn.Linear(6, 4)])


def test_names_given_replace_all_others(tmp_path: Path) -> None:
    """And there must be one for every exit."""
    module = Net(lambda z, h: z)

    assert ("a", "b", "c") == export(module, torch.zeros(1, 6), tmp_path / "m.onnx", names=["a", "b", "c"]).exits
    with pytest.raises(ModelError, match=r"2 names were given \(a, b\) for 3 exits"):
        export(module, torch.zeros(1, 6), tmp_path / "m.onnx", names=["a", "b"])


@pytest.mark.parametrize("dynamic", [True, False])
def test_the_batch_is_dynamic_or_one(tmp_path: Path, dynamic: bool) -> None:
    """Dynamic is named `batch`, whatever the example's batch was."""
    example = torch.zeros(7, 6)

    exported = export(Net(lambda z, h: z), example, tmp_path / "m.onnx", dynamic_batch=dynamic)

    graph = onnx.load(tmp_path / "m.onnx").graph
    dims = [tensor.type.tensor_type.shape.dim[0] for tensor in (*graph.input, *graph.output)]
    assert {"batch" if dynamic else 1} == {d.dim_param or d.dim_value for d in dims}
    assert {"x": (None if dynamic else 1, 6)} == exported.inputs


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
    ("shape", "fault"),
    [
        (lambda z, h: "logits", "forward returned str"),
        (lambda z, h: [], "no exit"),
        (lambda z, h: [z[0], "b"], "exit 'exit2' is str"),
        (lambda z, h: [z[0], z[1][:, :3]], "different numbers of classes: exit1: 4, exit2: 3"),
        (lambda z, h: [z[0][:, :1], z[1]], "logits of 'exit1' are"),
        (lambda z, h: [z[0].argmax(-1), z[1]], "logits of 'exit1' are"),
        (lambda z, h: [(z[0], z[1]), (z[1], h[1])], "score of 'exit1' is [2, 4]"),
        (lambda z, h: (z, h[:1]), "3 logits and 1 scores"),
        (lambda z, h: {"a b": z[0], "c": z[1]}, "exit name 'a b'"),
    ],
)
def test_what_is_no_exit_is_one_message(tmp_path: Path, shape: Shape, fault: str) -> None:
    """With the forms that are taken, where the form is wrong."""
    with pytest.raises(ModelError) as caught:
        export(Net(shape), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert fault in str(caught.value)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (lambda z, h: {"x": z[0], "y": z[1]}, "x"),
        (lambda z, h: {"a": (z[0], h[0]), "a_score": z[1]}, "a_score"),
    ],
)
def test_names_that_would_be_two_tensors_are_refused(tmp_path: Path, shape: Shape, name: str) -> None:
    """An exit's and an input's, an exit's and another's score's: a graph knows tensors by name."""
    with pytest.raises(ModelError, match=f"^'{name}' would name two tensors .* Give other names"):
        export(Net(shape), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert [] == list(tmp_path.iterdir())


def test_exits_may_be_called_as_the_tensors_inside(tmp_path: Path) -> None:
    """The exporter names those; a weight of the module is one of them."""
    inside = onnx.load(export(Net(lambda z, h: list(z)), torch.zeros(1, 6), tmp_path / "m.onnx").path).graph
    names = [inside.initializer[0].name, inside.node[0].output[0], "last"]

    exported = export(Net(lambda z, h: list(z)), torch.zeros(1, 6), tmp_path / "named.onnx", names=names)

    assert tuple(names) == exported.exits


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


def test_a_module_in_half_precision_may_differ_by_its_rounding(tmp_path: Path) -> None:
    """Ten roundings of float16 are 1e-2 of the largest logit."""
    torch.manual_seed(0)

    exported = export(Net(lambda z, h: z).half(), torch.zeros(1, 6).half(), tmp_path / "m.onnx")

    assert exported.largest_difference < 1e-2


def masked(z: list[Tensor], h: list[Tensor]) -> list[Tensor]:
    """The first class can never be the answer."""
    return [t.masked_fill(torch.tensor([True, False, False, False]), float("-inf")) for t in z]


def test_classes_that_are_masked_out_agree_by_being_masked(tmp_path: Path) -> None:
    """A logit of -inf has no difference; the others are compared."""
    exported = export(Net(masked), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert exported.largest_difference < 1e-4


def test_logits_that_are_all_infinite_compare_nothing(tmp_path: Path) -> None:
    """Then nobody could say that the file is the network."""
    with pytest.raises(ModelError, match="no finite number on random inputs"):
        export(Net(lambda z, h: [t / 0 for t in z]), torch.zeros(1, 6), tmp_path / "m.onnx")


class Asserts(Net):
    def forward(self, x: Tensor) -> Any:
        assert x.ndim == 4, "images only"
        return super().forward(x)


def test_whatever_forward_raises_is_one_message_with_its_line(tmp_path: Path) -> None:
    """Any exception of a user's code, not only torch's."""
    with pytest.raises(ModelError, match=r"(?s)AssertionError: images only.*test_exporter\.py, line \d+\)"):
        export(Asserts(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")


class LeavesEarlyItself(Net):
    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return logits[:1] if logits[0].amax() > 1e9 else logits


def test_a_forward_that_decides_itself_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """Deciding where to stop is edgeexit's part."""
    with pytest.raises(ModelError, match="forward must compute every exit and return it, with no `if` on values"):
        export(LeavesEarlyItself(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert [] == list(tmp_path.iterdir())


class NeedsBatchOne(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.reshape(1, 6))


def test_a_graph_that_needs_batch_one_can_be_exported_with_batch_one(tmp_path: Path) -> None:
    """Refused with the hint where the batch is to be dynamic."""
    module = NeedsBatchOne(lambda z, h: z)

    with pytest.raises(ModelError, match="dynamic_batch=False"):
        export(module, torch.zeros(1, 6), tmp_path / "m.onnx")
    export(module, torch.zeros(1, 6), tmp_path / "m.onnx", dynamic_batch=False)


@pytest.mark.parametrize("opset", [18, 21])
def test_the_file_has_the_opset_that_was_asked_for(tmp_path: Path, opset: int) -> None:
    """Newer runtimes may want a newer one."""
    exported = export(Net(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx", opset=opset)

    assert opset == exported.opset
    assert [opset] == [o.version for o in onnx.load(tmp_path / "m.onnx").opset_import if o.domain == ""]


@pytest.mark.parametrize("opset", [0, 99])
def test_an_opset_that_torch_cannot_write_is_refused(tmp_path: Path, opset: int) -> None:
    """Torch itself writes another one and says nothing."""
    with pytest.raises(ModelError, match=f"cannot write this module in opset {opset}"):
        export(Net(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx", opset=opset)

    assert [] == list(tmp_path.iterdir())


class FixesTheBatch(Net):
    def forward(self, x: Tensor) -> Any:
        return [z + torch.zeros(1, 4).expand(len(x), 4) for z in super().forward(x)]


def test_a_batch_that_forward_fixes_is_noticed(tmp_path: Path) -> None:
    """Torch bakes it in and says nothing; the message has the remedy."""
    with pytest.raises(ModelError, match=r"is fixed by forward \(`len\(x\)` fixes it, `x\.shape\[0\]` does not\)"):
        export(FixesTheBatch(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert [] == list(tmp_path.iterdir())


def test_dropout_and_batch_norm_are_exported_for_inference_and_left_as_they_were(tmp_path: Path) -> None:
    """The module goes on training where it was."""
    early, late = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.9), nn.Linear(6, 4)), nn.Linear(6, 4)
    module = cascade([early, late]).train()
    module.classifiers[1].eval()

    export(module, torch.zeros(2, 6), tmp_path / "m.onnx")

    assert [True, False] == [c.training for c in module.classifiers]
    assert {"Dropout", "BatchNormalization"} & {n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node} <= {
        "BatchNormalization"
    }


def test_a_failed_export_leaves_the_old_file(tmp_path: Path) -> None:
    """Whole or not at all."""
    export(Net(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()

    with pytest.raises(ModelError):
        export(Net(lambda z, h: []), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert before == (tmp_path / "m.onnx").read_bytes()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """No traceback for a typo in a path."""
    with pytest.raises(InputError, match="cannot write"):
        export(Net(lambda z, h: z), torch.zeros(1, 6), tmp_path / "none" / "m.onnx")


def test_the_file_does_not_tell_where_it_was_made(tmp_path: Path) -> None:
    """No path of this machine, no stack trace of the module."""
    export(Net(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert str(Path(__file__).parent).encode() not in (tmp_path / "m.onnx").read_bytes()


def test_two_exports_of_one_module_are_the_same_file(tmp_path: Path) -> None:
    """So that hashes of bundles can be compared."""
    module = Net(lambda z, h: z)

    first: Exported = export(module, torch.zeros(1, 6), tmp_path / "a.onnx")
    second: Exported = export(module, torch.zeros(1, 6), tmp_path / "b.onnx")

    assert first.path.read_bytes() == second.path.read_bytes()

"""`edgeexit export RECIPE.toml`: the network of a published repository, from the user's checkout and a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from typer.testing import CliRunner

import edgeexit
from edgeexit.cli.app import app
from edgeexit.errors import InputError, ModelError
from edgeexit.exporter.conversion import convert_to_onnx
from edgeexit.exporter.published import Published, list_repositories, open_published, read_repository
from edgeexit.exporter.published.recipe import FOLDER, Derivation
from edgeexit.exporter.published.shapes import derive_option
from tests.exporter.standins import MSDNET, STANDINS, save_checkpoint, write_standin

RANET = {
    "data": "cifar10",
    "nScales": 3,
    "scale_list": (1, 2, 3),
    "grFactor": (4, 2, 1),
    "bnFactor": (4, 2, 1),
    "nChannels": 4,
    "growthRate": 2,
    "nBlocks": 2,
    "block_step": 1,
    "step": 1,
    "stepmode": "lg",
}
BERT = {
    "vocab_size": 50,
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "type_vocab_size": 2,
    "num_labels": 4,
}
TRAINED: dict[str, tuple[dict[str, Any], str, int]] = {
    "msdnet": (MSDNET, "cifar", 4),
    "ranet": (RANET, "cifar", 4),
    "sdn": ({"num_classes": 10, "input_size": 32}, "cifar", 7),
    "sdn-vgg16": ({"num_classes": 10, "input_size": 32, "fc_layers": (512, 512)}, "cifar", 7),
    "eenet": ({"depth": 32, "num_classes": 10, "num_ee": 3}, "", 4),
    "deebert": (BERT, "tokens", 3),
    "pabee": (BERT, "tokens", 3),
    "elasticbert": (BERT | {"num_output_layers": 3, "max_output_layers": 3}, "tokens", 3),
    "zero-time-waste": ({"num_classes": 5}, "cifar", 8),
}
"""By recipe: what the network was trained with, what its inputs are where they are not left to the recipe, how many exits it has."""
INPUTS = {
    "cifar": ["3x32x32"],
    "": [],
    "tokens": ["input_ids=12:int64", "attention_mask=12:int64", "token_type_ids=12:int64"],
}


def typed(*words: object) -> Any:
    """The JSON that a command prints."""
    done = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    assert 0 == done.exit_code, done.output
    return json.loads(done.stdout)


def train(name: str, checkout: Path, path: Path) -> None:
    save_checkpoint(name, TRAINED[name][0], checkout, path)


def feed(kind: str) -> dict[str, Any]:
    """Three samples."""
    rng = np.random.default_rng(0)
    if kind != "tokens":
        return {"": rng.standard_normal((3, 3, 32, 32)).astype(np.float32)}
    ids = rng.integers(0, 50, (3, 12))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": ids % 2}


def test_every_recipe_has_a_stand_in() -> None:
    """What edgeexit brings is tested here."""
    assert set(list_repositories()) == set(STANDINS) == set(TRAINED)


def export_words(name: str, folder: Path) -> list[object]:
    """The command, but for its output."""
    shapes = [word for shape in INPUTS[TRAINED[name][1]] for word in ("--input", shape)]
    return ["export", f"{name}.toml", "--checkout", folder / "repo", "--checkpoint", folder / "model.pth", *shapes]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """By recipe, a folder with a checkout in repo/, a checkpoint and what was exported from it, m.onnx; and what the command printed."""

    @cache
    def export(name: str) -> tuple[Path, Any]:
        folder = tmp_path_factory.mktemp(name)
        train(name, write_standin(name, folder / "repo"), folder / "model.pth")
        return folder, typed(*export_words(name, folder), "-o", folder / "m.onnx")

    return export


@pytest.mark.parametrize("name", TRAINED)
def test_a_checkpoint_is_exported_in_one_line(name: str, exported: Callable[[str], tuple[Path, Any]]) -> None:
    """The shapes tell the options; every exit is an output, as eager torch has it; the criterion travels along."""
    options, kind, exits = TRAINED[name]

    folder, document = exported(name)

    model = folder / "m.onnx"
    assert json.loads(json.dumps(options)).items() <= document["repository"]["options"].items()
    assert exits == len(document["exits"])
    assert "module." == document["weights"]["prefix"]
    recipe = read_repository(f"{name}.toml")
    noted = json.loads({p.key: p.value for p in onnx.load(model).metadata_props}["edgeexit.criterion"])
    rule = recipe.criterion
    own = [] if rule.threshold is None else [rule.convert(rule.threshold)] * (exits - 1)
    assert (rule.name, own) == (noted["name"], list(noted["thresholds"].values()))
    assert recipe.fallback == noted.get("fallback", "last")
    session = ort.InferenceSession(str(model))
    values = session.run(None, {i.name: x for i, x in zip(session.get_inputs(), feed(kind).values(), strict=True)})
    assert all(np.isfinite(value).all() for value in values)


def test_eenet_leaves_at_its_own_threshold_without_a_calibration(
    exported: Callable[[str], tuple[Path, Any]], tmp_path: Path
) -> None:
    """From the checkpoint to the runner with no word on criterion or threshold."""
    bundle = edgeexit.compile(exported("eenet")[0] / "m.onnx", tmp_path / "b.eexit", seconds=0)

    assert ("learned", (0.5, 0.5, 0.5)) == (bundle.manifest.criterion, bundle.manifest.thresholds)


def test_thresholds_are_the_authors_own_numbers(
    exported: Callable[[str], tuple[Path, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patience of 2 is three exits that agree; with another criterion numbers are that criterion's."""
    graphs: list[Any] = []

    def convert_once(*arguments: Any, **options: Any) -> Any:
        """Thresholds are written beside the graph, which is the same each time."""
        if not graphs:
            graphs.append(convert_to_onnx(*arguments, **options))
        return graphs[0]

    monkeypatch.setattr("edgeexit.exporter.convert_to_onnx", convert_once)
    common = export_words("pabee", exported("pabee")[0])

    for words, expected in (
        (["--thresholds", "2"], {"name": "patience", "thresholds": {"exit1": 3.0, "exit2": 3.0}}),
        (
            ["--criterion", "entropy", "--thresholds", "2"],
            {"name": "entropy", "thresholds": {"exit1": 2.0, "exit2": 2.0}},
        ),
    ):
        typed(*common, *words, "-o", tmp_path / "m.onnx")
        noted = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}["edgeexit.criterion"]
        assert expected == json.loads(noted)


def build(name: str, checkout: Path, checkpoint: Path | None, options: Mapping[str, Any] | None = None) -> Published:
    with open_published(read_repository(f"{name}.toml"), checkout, checkpoint, options) as made:
        return made


@pytest.fixture(scope="module")
def msdnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkout in repo/ and a checkpoint."""
    folder = tmp_path_factory.mktemp("msdnet")
    train("msdnet", write_standin("msdnet", folder / "repo"), folder / "model.pth")
    return folder


def test_a_missing_checkout_is_told_with_how_to_get_one(msdnet: Path, tmp_path: Path) -> None:
    """No folder; a folder that is none."""
    with pytest.raises(
        InputError,
        match=r"no folder .*nowhere: MSDNet is built from your checkout.*git clone https://github.com/kalviny",
    ):
        build("msdnet", tmp_path / "nowhere", msdnet / "model.pth")
    with pytest.raises(
        InputError, match=r"has no module 'models', so it is no checkout of the repository. Get it with: git clone"
    ):
        build("msdnet", tmp_path, msdnet / "model.pth")


def test_a_failing_import_is_told_with_its_place(msdnet: Path, tmp_path: Path) -> None:
    """A package that the repository needs; a fault in its code; a name that another version had."""
    checkout = write_standin("msdnet", tmp_path)
    file = checkout / "models/msdnet.py"
    for source, error, told in (
        (
            "import no_such_package\n",
            InputError,
            r"No module named 'no_such_package' \(.*msdnet.py, line 1\).*Install what",
        ),
        ("1 / 0\n", ModelError, r"importing 'models.msdnet' from .* failed: ZeroDivisionError: .*msdnet.py, line 1"),
        ("class MsdNet: pass\n", InputError, "has no 'MSDNet'. Did you mean 'MsdNet'. Is it another version"),
    ):
        file.write_text(source)
        with pytest.raises(error, match=told):
            build("msdnet", checkout, msdnet / "model.pth")


def test_a_checkpoint_that_does_not_fit_names_the_options(msdnet: Path, tmp_path: Path) -> None:
    """Which weights have another shape, what the network was built with, and what to do."""
    with pytest.raises(
        InputError,
        match=r"blocks.* is .* and the module's .*\. The network was built with .*growthRate=5.*--option NAME=VALUE",
    ):
        build("msdnet", msdnet / "repo", msdnet / "model.pth", {"growthRate": 5})
    torch.save({"fc.weight": torch.zeros(10, 4)}, tmp_path / "other.pt")
    with pytest.raises(
        InputError,
        match=r"the checkpoint does not tell base, bnFactor, .* of models.msdnet:MSDNet: it is of another kind",
    ):
        build("msdnet", msdnet / "repo", tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"MSDNet has no option 'grwthRate'. Did you mean 'growthRate'"):
        build("msdnet", msdnet / "repo", msdnet / "model.pth", {"grwthRate": 4})


def test_a_checkout_leaves_nothing_behind(msdnet: Path) -> None:
    """Modules called `models` or `utils` are many; what was imported before is there again, and the path as it was."""
    import sys

    path, before = list(sys.path), dict(sys.modules)
    sys.modules["models"] = before["json"]
    try:
        build("msdnet", msdnet / "repo", msdnet / "model.pth")
        assert sys.modules.pop("models") is before["json"]
    finally:
        sys.modules.pop("models", None)
    assert path == sys.path
    assert not [name for name in sys.modules if name.startswith("models.")]


def test_checkout_is_for_recipes_only(tmp_path: Path) -> None:
    """A network of one's own is found where its file is."""
    done = CliRunner().invoke(app, ["export", "lenet", "--checkout", str(tmp_path), "-o", str(tmp_path / "m.onnx")])

    assert isinstance(done.exception, InputError)
    assert "--checkout is for recipes of published repositories" in str(done.exception)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            ('factory = "models.msdnet:MSDNet"', 'factory = "models.msdnet"'),
            "'models.msdnet' does not say what to import",
        ),
        (
            ('call = "namespace"', 'call = "args"'),
            "call 'args' is none of keywords, namespace, dict and no module:Class",
        ),
        (("bottleneck = true", "bottleneck = true\n[build.unknown]"), "unknown"),
        (
            ('name = "max_softmax"', 'name = "max_softmx"'),
            "no criterion named 'max_softmx'. Did you mean 'max_softmax'",
        ),
        (('name = "max_softmax"', 'name = "max_softmax"\nsign = 2'), "sign must be 1 or -1, not 2"),
        (('schema = "edgeexit.repository/1"', 'schema = "edgeexit.repository/2"'), "newer"),
        (
            ('inputs = ["3x32x32"]', 'inputs = ["3x32x32"]\nfallback = "first"'),
            "fallback must be one of last, most_confident",
        ),
    ],
)
def test_faults_of_a_recipe_are_told(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    """A user may write one for another repository; all faults in one message."""
    text = (FOLDER / "msdnet.toml").read_text()
    assert change[0] in text
    (tmp_path / "mine.toml").write_text(text.replace(*change))

    with pytest.raises(InputError, match=told):
        read_repository(str(tmp_path / "mine.toml"))


def test_an_unknown_recipe_names_the_nearest() -> None:
    """And those that edgeexit brings."""
    with pytest.raises(
        InputError, match=r"no recipe msdnt.toml. Did you mean 'msdnet'\? edgeexit brings deebert.toml, "
    ):
        read_repository("msdnt.toml")


SHAPES = {
    "module.a.0.w": (8, 3),
    "module.a.1.w": (8, 8),
    "module.a.1.b": (8,),
    "module.b.0.0.w": (1,),
    "module.b.0.1.w": (1,),
}


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Derivation(("a.*.w",)), 2),
        (Derivation(("a.*.**",)), 2),
        (Derivation(("b.*.*.w",), times=3, add=2), 8),
        (Derivation(("a.0.w",), axis=1), 3),
        (Derivation(("c.w", "a.0.w"), axis=0, divide=4), 2),
        (Derivation(("c.*.w",)), None),
        (Derivation(("a.*.w",), minus="b.*.*.w", if_zero="a.*.b"), 1),
        (Derivation(("a.*.w",), minus="a.*.b", values={"1": "one", "*": "other"}), "one"),
        (Derivation(("a.*.w",), values={"1": "one", "*": [1, 2]}), (1, 2)),
    ],
)
def test_options_are_read_from_names_and_shapes(how: Derivation, expected: object) -> None:
    """Counts, sizes and what follows from them; a prefix before the names does not matter."""
    assert expected == derive_option(SHAPES, how)

"""A run trains the plain network and then every exit, can be interrupted anywhere, and resumed gives the same weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeexit.data import Dataset, load_data
from edgeexit.errors import InputError
from edgeexit.nets.outputs import ExitTensors
from edgeexit.training import LOSSES, TrainingRecipe, load_recipe, train
from edgeexit.training.checkpoint import Checkpoint
from edgeexit.training.losses import Loss, branchynet
from edgeexit.training.phases import FRESH, OptimizerSettings, ScheduleSettings


@pytest.fixture(scope="module")
def parts() -> dict[str, Dataset]:
    """Few digits, so that an epoch takes a moment."""
    whole = load_data("digits:calibration")
    return {
        "train": whole.take(slice(0, 160)),
        "calibration": whole.take(slice(160, 240)),
        "test": whole.take(slice(240, 320)),
    }


@pytest.fixture(scope="module")
def recipe() -> TrainingRecipe:
    """The demo's recipe, two epochs a phase."""
    return load_recipe("lenet-digits").with_epochs(2)


def slowed(recipe: TrainingRecipe, name: str, **changes: Any) -> TrainingRecipe:
    """One epoch of the phase with a step size of almost nothing, so that its weights stay those of its start."""
    return recipe.with_phase(name, epochs=1, optimizer=OptimizerSettings("adam", rate=1e-9), **changes)


@pytest.fixture(scope="module")
def whole(recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    train(recipe, out, parts=parts)
    return out


def weights(out: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(out / f"{name}.pt", weights_only=True)  # type: ignore[no-any-return]


def same(a: Path, b: Path) -> bool:
    """Whether two runs ended with the same bits."""
    return all(
        weights(a, name).keys() == weights(b, name).keys()
        and all(v.equal(weights(b, name)[k]) for k, v in weights(a, name).items())
        for name in ("joint", "plain", "control")
    )


class Stop:
    """Progress that is interrupted, as by Ctrl-C, at the n-th step."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, what: str, done: int, total: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_run_writes_its_weights_and_metrics(whole: Path, recipe: TrainingRecipe, parts: dict[str, Dataset]) -> None:
    """What was trained, on what, with which seed and versions, how good every exit is."""
    metrics = json.loads((whole / "metrics.json").read_text())

    assert "edgeexit.training/1" == metrics["schema"]
    assert recipe.sha256 == metrics["recipe_sha256"]
    assert {p: d.sha256 for p, d in parts.items()} == {p: d["sha256"] for p, d in metrics["data"].items()}
    assert {"plain": 1, "joint": 2, "control": 1} == {n: len(r["test_accuracy"]) for n, r in metrics["results"].items()}
    assert [2, 2, 2] == [len(h) for h in metrics["history"].values()]
    assert {"joint.pt", "plain.pt", "control.pt", "checkpoint.pt", "metrics.json", "recipe.json"} == {
        p.name for p in whole.iterdir()
    }


def test_the_joint_network_starts_from_the_plain_networks_weights(
    recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """BranchyNet, section IV: trained with a step size of almost nothing, the trunk is still the plain network's."""
    still = slowed(recipe.without_phase("control"), "joint")

    train(still, tmp_path, parts=parts)

    plain, joint = weights(tmp_path, "plain"), weights(tmp_path, "joint")
    assert {k for k in joint if k.startswith("branch.")} == set(joint) - set(plain)
    for k, v in plain.items():
        torch.testing.assert_close(v, joint[k], atol=1e-6, rtol=0)


def test_a_plain_network_that_is_trained_already_is_given_exits(
    whole: Path, recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """Its phase is left out, and its weights are the start."""
    still = slowed(recipe.without_phase("control"), "joint")

    trained = train(still, tmp_path, parts=parts, plain=whole / "plain.pt")

    assert ["joint"] == list(trained.metrics["history"])
    torch.testing.assert_close(
        weights(whole, "plain")["fc2.bias"], weights(tmp_path, "joint")["fc2.bias"], atol=1e-6, rtol=0
    )


def test_other_exits_take_both_plain_networks_of_an_earlier_run(
    whole: Path, recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """Only the joint phase is trained; the comparison with the plain network that trained on is the earlier run's."""
    light = replace(recipe, options={"branches": "light"})

    trained = train(light, tmp_path, parts=parts, plain=whole)

    assert ["joint"] == list(trained.metrics["history"])
    for name in ("plain", "control"):
        torch.testing.assert_close(weights(whole, name), weights(tmp_path, name), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.with_phase("plain", epochs=3), r"plain\.epochs was 2 and is 3"),
        (
            lambda r: r.with_phase("control", optimizer=OptimizerSettings("sgd")),
            r"optimizer\.name was 'adam' and is 'sgd'",
        ),
        (lambda r: r.with_phase("control", batch=7), r"control\.batch was 64 and is 7"),
        (lambda r: replace(r, seed=r.seed + 1), r"seed was \d+ and is \d+"),
    ],
)
def test_the_plain_networks_of_another_recipe_are_refused(
    change: Callable[[TrainingRecipe], TrainingRecipe],
    said: str,
    whole: Path,
    recipe: TrainingRecipe,
    parts: dict[str, Dataset],
    tmp_path: Path,
) -> None:
    """Otherwise exits and plain network would be compared that saw different training."""
    with pytest.raises(InputError, match=said):
        train(change(recipe), tmp_path, parts=parts, plain=whole)


def test_the_loss_sees_float32_where_the_network_runs_in_bfloat16(
    recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A softmax of bfloat16 rounds a sure answer to 1, which then has no gradient."""
    seen: set[torch.dtype] = set()

    def spying() -> Loss:
        def spy(exits: Sequence[ExitTensors], labels: torch.Tensor) -> torch.Tensor:
            seen.update(e.logits.dtype for e in exits)
            return branchynet()(exits, labels)

        return spy

    monkeypatch.setitem(LOSSES, "spy", spying)
    short = replace(recipe.without_phase("control"), precision="bfloat16")
    short = short.with_phase("joint", epochs=1, loss="spy", options={})

    train(short, tmp_path, parts=parts)

    assert {torch.float32} == seen


def test_from_scratch_the_joint_network_has_weights_of_its_own(
    recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """The comparison that the paper makes."""
    scratch = slowed(recipe.without_phase("control"), "joint", start=FRESH)

    train(scratch, tmp_path, parts=parts)

    assert not torch.allclose(
        weights(tmp_path, "plain")["conv1.weight"], weights(tmp_path, "joint")["conv1.weight"], atol=1e-3
    )


@pytest.mark.parametrize("steps", [1, 4, 6, 9, 13, 15, 17])
def test_an_interrupted_run_resumed_gives_what_an_uninterrupted_one_gives(
    steps: int, whole: Path, recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """Bit for bit, in whichever phase and epoch it was interrupted, and twice."""
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, parts=parts, progress=Stop(steps))
    resume = (tmp_path / "checkpoint.pt").exists()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, parts=parts, resume=resume, progress=Stop(4))
    train(recipe, tmp_path, parts=parts, resume=(tmp_path / "checkpoint.pt").exists())

    assert same(whole, tmp_path)


def test_another_seed_gives_another_network(
    whole: Path, recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """And the same seed the same."""
    train(replace(recipe, seed=recipe.seed + 1), tmp_path / "other", parts=parts)
    train(recipe, tmp_path / "again", parts=parts)

    assert not same(whole, tmp_path / "other")
    assert same(whole, tmp_path / "again")


def test_a_folder_with_a_run_is_not_overwritten(whole: Path, recipe: TrainingRecipe, parts: dict[str, Dataset]) -> None:
    """Hours of training are not lost to a repeated command."""
    with pytest.raises(InputError, match=r"already holds a run .* go on with --resume"):
        train(recipe, whole, parts=parts)


def test_a_run_is_resumed_only_by_its_own_recipe(
    whole: Path, recipe: TrainingRecipe, parts: dict[str, Dataset]
) -> None:
    """The message names what differs."""
    with pytest.raises(InputError, match=r"joint\.epochs was 2 and is 3"):
        train(recipe.with_phase("joint", epochs=3), whole, parts=parts, resume=True)


def test_nothing_to_resume_says_so(recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(InputError, match=r"nothing to resume .* leave out --resume"):
        train(recipe, tmp_path, parts=parts, resume=True)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", None])
def test_a_damaged_checkpoint_is_one_message(
    damage: bytes | None, recipe: TrainingRecipe, whole: Path, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """Empty, other, or cut."""
    content = (whole / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(content[: len(content) // 2] if damage is None else damage)

    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged"):
        train(recipe, tmp_path, parts=parts, resume=True)


class Code:
    """What a pickle could hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch ran",))


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tensors and plain values are loaded."""
    monkeypatch.chdir(tmp_path)
    torch.save({"schema": "edgeexit.checkpoint/1", "model": Code()}, tmp_path / "checkpoint.pt")

    with pytest.raises(InputError, match="only tensors are taken: code in a file is never run"):
        Checkpoint.load(tmp_path / "checkpoint.pt")

    assert not (tmp_path / "ran").exists()


def test_the_network_is_made_for_the_shape_and_the_classes_of_the_data(
    recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """Of all parts; whatever its paper trained it on."""
    narrow = {name: Dataset(d.name, d.x[:, :, ::2], d.y % 3) for name, d in parts.items()}

    result = train(recipe, tmp_path, parts=narrow)

    assert (1, 1, 14, 28) == result.example.shape
    assert result.model is not None
    assert [(1, 3)] * 2 == [logits.shape for logits in result.model(result.example)]


def test_labels_beyond_the_classes_of_the_recipe_are_refused(
    recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """The recipe's number counts."""
    with pytest.raises(InputError, match=r"label 9 of sample .* is out of range; the model has 5 classes"):
        train(replace(recipe, options={"classes": 5}), tmp_path / "run", parts=parts)

    assert not (tmp_path / "run").exists()


def test_samples_that_the_network_cannot_take_are_refused(
    recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """What the network takes and what the samples are."""
    flat = {name: Dataset(d.name, d.x.reshape(len(d), -1), d.labels) for name, d in parts.items()}

    with pytest.raises(InputError, match=r"B-LeNet takes samples \[channels, height, width\], not \[784\]"):
        train(recipe, tmp_path, parts=flat)


def test_a_run_that_is_refused_leaves_no_folder(
    recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where the data are missing or do not fit, nor where there are no weights to begin with."""
    monkeypatch.setenv("EDGEEXIT_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "nobody")
    flat = {name: Dataset(d.name, d.x.reshape(len(d), -1), d.labels) for name, d in parts.items()}
    out = tmp_path / "runs" / "new"

    with pytest.raises(InputError):
        train(replace(recipe, data="mnist"), out)
    with pytest.raises(InputError, match="takes"):
        train(recipe, out, parts=flat)
    with pytest.raises(InputError):
        train(recipe, out, parts=parts, plain=tmp_path / "missing.pt")

    assert not out.parent.exists()


def test_a_loss_that_is_no_number_ends_the_run_with_advice(
    recipe: TrainingRecipe, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """The checkpoint of the epoch before it is kept."""
    wild = recipe.with_phase(
        "plain", epochs=30, optimizer=OptimizerSettings("sgd", rate=10.0), schedule=ScheduleSettings("constant")
    )

    with pytest.raises(InputError, match="a lower rate than 10 may train"):
        train(wild, tmp_path, parts=parts)

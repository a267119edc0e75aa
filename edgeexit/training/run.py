"""A recipe carried out: plain network, then every exit from its weights, with a checkpoint after every epoch and the figures at the end.

out/checkpoint.pt     where the run stands; `resume=True` goes on from it and gives what an uninterrupted run gives
out/joint.pt          weights of the network with its exits        (state_dict)
out/plain.pt          weights of the plain network                 (state_dict)
out/control.pt        those of the plain network trained as long as the joint one, where the recipe asks for it
out/metrics.json      schema edgeexit.training/1
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import edgeexit
from edgeexit.data import Fingerprint, TrainingData, check_labels, compute_fingerprint, load_data
from edgeexit.data.reference import DataRecord, DataReference, describe_samples
from edgeexit.errors import InputError
from edgeexit.nets import build, find_network
from edgeexit.nets.weights import load_weights
from edgeexit.training.checkpoint import Checkpoint, State
from edgeexit.training.loop import Record, TrainingSetup, derive_seed, fit, seed_torch, use_deterministic_algorithms
from edgeexit.training.losses import Loss, branchynet, loss
from edgeexit.training.metrics import compute_accuracies, compute_logits, evaluate_early_exit
from edgeexit.training.process_group import ProcessGroup, join_process_group
from edgeexit.training.recipe import TrainingPhase, TrainingRecipe
from edgeexit.util.atomic import replace_atomically, write_bytes
from edgeexit.util.progress import Progress, show_nothing

SCHEMA = "edgeexit.training/1"
CHECKPOINT = "checkpoint.pt"

Parts = Mapping[str, TrainingData]


@dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes:
        joint: the network with every exit; None where the recipe has no joint phase.
        plain: the plain network; the control's weights where the recipe asks for one.
        example: one input of zeros, [1, ...].
        metrics: the document of metrics.json.
        fingerprint: fingerprint of the training data, for the metadata of exported files.
        leads: whether this process is the one that writes, of several that trained together.
        calibration: the calibration part's statistics, which exported files carry.
    """

    joint: nn.Module | None
    plain: nn.Module
    example: torch.Tensor
    metrics: dict[str, Any]
    fingerprint: Fingerprint
    leads: bool = True
    calibration: DataReference | None = None

    def metadata(self, name: str) -> dict[str, str]:
        """Metadata of an exported network: statistics of the calibration part, and the accuracy of its last exit there.

        Args:
            name: name of the network: joint, plain or control.
        """
        result = self.metrics["results"].get(name)
        if self.calibration is None or result is None:
            return {}
        reference = replace(self.calibration, accuracy=result["calibration_accuracy"][-1])
        return DataRecord(reference=reference).as_metadata()


@dataclass(frozen=True)
class _TrainingStage:
    """One phase as it is run: which network, from whose weights, with which loss."""

    name: str
    exits: bool
    source: str | None
    phase: TrainingPhase
    loss: Loss


@dataclass(frozen=True)
class _TrainingRun:
    """A recipe under way in a folder."""

    recipe: TrainingRecipe
    out: Path
    checkpoint: Checkpoint
    setting: TrainingSetup
    progress: Progress

    def save(self, path: Path) -> None:
        """The checkpoint, by the process that leads; the others wait, so that none is ahead of it."""
        if self.setting.group.is_main:
            self.checkpoint.save(path)
        self.setting.group.wait()


def train(
    recipe: TrainingRecipe,
    out: Path,
    *,
    resume: bool = False,
    plain: Path | None = None,
    parts: Parts | None = None,
    threads: int | None = None,
    progress: Progress = show_nothing,
) -> TrainingResult:
    """Carry out a recipe.

    Args:
        recipe: what to train.
        out: folder of the run, made if missing, once nothing is left to refuse.
        resume: go on from the folder's checkpoint.
        plain: weights of a plain network that is trained already (a state_dict); the plain phase is then left out. Of the folder of
            an earlier run both of its plain networks are taken, so that only the joint one is trained.
        parts: the `train`, `calibration` and `test` sets; otherwise those that the recipe names.
        threads: number of torch's CPU threads, set for this process; with the same number results repeat bit for bit.
        progress: watches the steps.

    Raises:
        InputError: the folder holds another run, or there is nothing to resume, or the data and the network do not fit.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    began = time.perf_counter()
    with join_process_group() as group, use_deterministic_algorithms():
        checkpoint = _open(recipe, out, resume=resume, leads=group.is_main)
        parts = parts or {part: load_data(f"{recipe.data}:{part}") for part in ("train", "calibration", "test")}
        if plain is not None and "plain" not in checkpoint.finished:
            checkpoint.finished.update(_load_plain_networks(recipe, plain))
        run = _TrainingRun(
            recipe,
            out,
            checkpoint,
            _make_setup(recipe, parts["train"], group),
            progress if group.is_main else show_nothing,
        )
        stages = _list_stages(recipe)
        if group.is_main and not resume:
            _begin(recipe, out)
        for stage in stages:
            if stage.name not in checkpoint.finished:
                _run(stage, run)
        return _finish_run(run, parts, time.perf_counter() - began)


def _list_stages(recipe: TrainingRecipe) -> list[_TrainingStage]:
    cross_entropy = branchynet()
    stages = [_TrainingStage("plain", False, None, recipe.plain, cross_entropy)]
    if recipe.joint.epochs:
        source = "plain" if recipe.start == "plain" else None
        stages.append(
            _TrainingStage("joint", True, source, recipe.joint, loss(recipe.joint.loss, **recipe.joint.options))
        )
    if recipe.joint.epochs and recipe.control:
        stages.append(
            _TrainingStage(
                "control", False, "plain", replace(recipe.joint, loss="branchynet", options={}), cross_entropy
            )
        )
    return [s for s in stages if s.phase.epochs or s.name == "plain"]


def _open(recipe: TrainingRecipe, out: Path, *, resume: bool, leads: bool) -> Checkpoint:
    """The state of the folder's run, or a new one. The leading process checks the folder before it writes."""
    path = out / CHECKPOINT
    if not resume:
        if leads:
            _refuse_a_run(out)
        return Checkpoint(recipe.sha256)
    if not path.exists():
        msg = f"there is nothing to resume in {out}: it has no {CHECKPOINT}; leave out --resume to begin"
        raise InputError(msg)
    checkpoint = Checkpoint.load(path)
    if checkpoint.recipe_sha256 != recipe.sha256:
        msg = f"{out} was begun with another recipe: {_find_differences(recipe, out)}; use the same recipe and options, or another --out"
        raise InputError(msg)
    return checkpoint


def _refuse_a_run(out: Path) -> None:
    if (out / CHECKPOINT).exists():
        old = Checkpoint.load(out / CHECKPOINT)
        where = f"epoch {old.epoch} of {old.phase}" if old.phase else f"finished: {', '.join(old.finished)}"
        msg = f"{out} already holds a run ({where}); go on with --resume, or choose another folder with --out"
        raise InputError(msg)


def _begin(recipe: TrainingRecipe, out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot make the folder {out}: {error.strerror or error}"
        raise InputError(msg) from error
    write_bytes(out / "recipe.json", json.dumps(asdict(recipe), indent=2).encode())


def _find_differences(recipe: TrainingRecipe, out: Path, *, only: tuple[str, ...] = ("",)) -> str:
    try:
        old = json.loads((out / "recipe.json").read_text())
    except (OSError, ValueError):
        return "its recipe.json is missing"
    was, now = dict(_list_leaves("", old)), dict(_list_leaves("", json.loads(json.dumps(asdict(recipe)))))
    keys = [k for k in {**was, **now} if k.startswith(only) and was.get(k) != now.get(k)]
    changed = [f"{k} was {was.get(k)!r} and is {now.get(k)!r}" for k in keys]
    return ", ".join(changed)


def _list_leaves(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _list_leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _make_setup(recipe: TrainingRecipe, train_set: TrainingData, group: ProcessGroup) -> TrainingSetup:
    check_labels(train_set, 1 + int(train_set.y.max()))
    want = find_network(recipe.network).input_shape
    if train_set.shape != want:
        msg = f"network {recipe.network!r} takes {list(want)} and the samples of {train_set.name} are {list(train_set.shape)}"
        raise InputError(msg)
    return TrainingSetup(train_set, recipe.augment, recipe.seed, group, bfloat16=recipe.precision == "bfloat16")


def _run(stage: _TrainingStage, run: _TrainingRun) -> None:
    checkpoint, path = run.checkpoint, run.out / CHECKPOINT
    module = _build_stage_network(stage, run).to(run.setting.group.device)
    if run.setting.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    done, optimizer_state = 0, None
    if checkpoint.phase == stage.name:
        module.load_state_dict(checkpoint.model)
        done, optimizer_state = checkpoint.epoch, checkpoint.optimizer

    def after_epoch(epoch: int, record: Record, optimizer: torch.optim.Optimizer) -> None:
        checkpoint.history.setdefault(stage.name, []).append({"epoch": epoch, **record})
        checkpoint.phase, checkpoint.epoch = stage.name, epoch
        checkpoint.model, checkpoint.optimizer = module.state_dict(), optimizer.state_dict()
        run.save(path)

    fit(
        module,
        stage.loss,
        stage.phase,
        run.setting,
        name=stage.name,
        done=done,
        optimizer_state=optimizer_state,
        after_epoch=after_epoch,
        progress=run.progress,
    )
    checkpoint.finished[stage.name] = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    checkpoint.phase, checkpoint.epoch, checkpoint.model, checkpoint.optimizer = "", 0, {}, {}
    run.save(path)


def _load_plain_networks(recipe: TrainingRecipe, path: Path) -> dict[str, State]:
    """Weights by phase: of a file the plain network's; of a run's folder also those of the one that trained on."""
    if not path.is_dir():
        return {"plain": _load_plain_weights(recipe, path)}
    same = ["data", "network", "precision", "seed", "plain.", "augment."]
    same += (
        [f"joint.{f.name}" for f in fields(TrainingPhase) if f.name not in ("loss", "options")]
        if recipe.control
        else []
    )
    if changed := _find_differences(recipe, path, only=tuple(same)):
        msg = f"the plain networks of {path} were trained with another recipe: {changed}; use the same, or name one file of weights"
        raise InputError(msg)
    names = ["plain", *(["control"] if recipe.control and (path / "control.pt").exists() else [])]
    return {name: _load_plain_weights(recipe, path / f"{name}.pt") for name in names}


def _load_plain_weights(recipe: TrainingRecipe, path: Path) -> State:
    module = build(recipe.network, **recipe.options, exits=False)
    load_weights(module, path)
    return dict(module.state_dict())


def _build_stage_network(stage: _TrainingStage, run: _TrainingRun) -> nn.Module:
    """The stage's network; weights that its source has are taken from there, the others (its branches) are new."""
    recipe = run.recipe
    with seed_torch(derive_seed(recipe.seed, stage.name, "weights")):
        module = build(recipe.network, **recipe.options, exits=stage.exits)
    if stage.source is not None:
        unknown = module.load_state_dict(run.checkpoint.finished[stage.source], strict=False).unexpected_keys
        assert not unknown, f"a plain network has parameters that the network with exits lacks: {unknown}"
    return module


# ---------------------------------------------------------------- the end of a run


def _finish_run(run: _TrainingRun, parts: Parts, seconds: float) -> TrainingResult:
    recipe, checkpoint = run.recipe, run.checkpoint
    modules = {name: _build_with_weights(recipe, name, state) for name, state in checkpoint.finished.items()}
    metrics = {
        "schema": SCHEMA,
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "recipe_sha256": recipe.sha256,
        "seed": recipe.seed,
        "data": {part: {"name": d.name, "samples": len(d), "sha256": d.sha256} for part, d in parts.items()},
        "results": _evaluate_networks(modules, parts),
        "history": checkpoint.history,
        "seconds_of_this_call": round(seconds, 3),
        "made_with": _collect_versions(),
    }
    if run.setting.group.is_main:
        _write(run.out, modules, metrics)
    return TrainingResult(
        modules.get("joint"),
        modules.get("control", modules["plain"]),
        torch.zeros(1, *find_network(recipe.network).input_shape),
        metrics,
        compute_fingerprint(parts["train"]),
        run.setting.group.is_main,
        describe_samples(parts["calibration"], "train"),
    )


def _build_with_weights(recipe: TrainingRecipe, name: str, state: Mapping[str, torch.Tensor]) -> nn.Module:
    module = build(recipe.network, **recipe.options, exits=name == "joint")
    module.load_state_dict(dict(state))
    return module.eval()


def _evaluate_networks(modules: Mapping[str, nn.Module], parts: Parts) -> dict[str, Any]:
    """Per network: parameters, accuracy of each exit on calibration and test, and leaving early where there are exits to leave at."""
    results: dict[str, Any] = {}
    for name, module in modules.items():
        sets = {part: (compute_logits(module, parts[part]), parts[part].y) for part in ("calibration", "test")}
        results[name] = {"parameters": sum(p.numel() for p in module.parameters())}
        results[name] |= {f"{part}_accuracy": compute_accuracies(*s) for part, s in sets.items()}
        if len(sets["test"][0]) > 1:
            results[name]["early_exit"] = [
                evaluate_early_exit(sets["calibration"], sets["test"], drop=d) for d in (0.0, 0.001, 0.005)
            ]
    return results


def _collect_versions() -> dict[str, str | int]:
    return {
        "edgeexit": edgeexit.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }


def _write(out: Path, modules: Mapping[str, nn.Module], metrics: Mapping[str, Any]) -> None:
    for name, module in modules.items():
        with replace_atomically(out / f"{name}.pt") as scratch:
            torch.save(module.state_dict(), scratch)
    write_bytes(out / "metrics.json", (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode())

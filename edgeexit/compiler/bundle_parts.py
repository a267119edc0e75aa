"""A split network, and how it is written into a bundle: its models, their weights once, and the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx

import edgeexit
from edgeexit.backends.example_inputs import Values
from edgeexit.bundle import SCHEMA, Manifest, SourceModel, StageEntry, VerificationSummary
from edgeexit.bundle.bundle import BundleChange
from edgeexit.bundle.traits import CriterionTraits
from edgeexit.compiler.exit_rule import ExitRule
from edgeexit.graph import (
    Exit,
    Network,
    Stage,
    TensorSpec,
    WeightFile,
    build_backbone_model,
    build_stage_model,
    count_costs,
    fuse,
)
from edgeexit.stage_choices import for_stage, is_mixed
from edgeexit.util.timestamps import make_timestamp


@dataclass(frozen=True)
class SplitNetwork:
    """A split network, before it is written.

    Attributes:
        net: the network in one piece, criterion included.
        exits: its exits.
        rule: criterion and fallback.
        precision: precision of its stages, as `edgeexit.stage_choices` joins them.
        backend: backend of its stages, likewise.
        stages: its stages.
        specs: dtype and shape of what crosses from stage to stage, and of the exits' outputs.
        own_precision: precision of the model as it was given.
        examples: the user's own inputs [n, ...] by name, to run it on; None where there are none.
    """

    net: Network
    exits: tuple[Exit, ...]
    rule: ExitRule
    precision: str
    backend: str
    stages: tuple[Stage, ...]
    specs: Mapping[str, TensorSpec]
    own_precision: str
    examples: Values | None


def write_parts(change: BundleChange, parts: SplitNetwork, source: SourceModel) -> Manifest:
    """Write every model of a split network; returns the manifest, without what is still to be verified and measured."""
    net, stages, rule = parts.net, parts.stages, parts.rule
    models: dict[str, Callable[[], onnx.ModelProto]] = {
        "model": partial(_copy, net.proto),
        "backbone": partial(build_backbone_model, net, parts.exits[-1]),
        "fused": partial(fuse, net, stages, parts.specs),
        **{f"stage-{s.exit}": partial(build_stage_model, net, s, parts.specs) for s in stages},
    }
    files = _write_models(change, models, net.folder)
    mixed = is_mixed(parts.precision)
    entries = tuple(
        StageEntry(
            exit=stage.exit,
            name=exit.name,
            file=files[f"stage-{stage.exit}"],
            inputs=stage.inputs,
            boundaries_in=tuple(parts.specs[n] for n in stage.boundaries_in),
            boundaries_out=tuple(parts.specs[n] for n in stage.boundaries_out),
            logits=stage.logits,
            score=stage.score,
            macs=cost.macs,
            parameters=cost.parameters,
            weight_bytes=cost.weight_bytes,
            head_macs=cost.head_macs,
            output=exit.logits,
            precision=for_stage(parts.precision, stage.exit) if mixed else None,
        )
        for stage, exit, cost in zip(stages, parts.exits, count_costs(net, stages), strict=True)
    )
    return Manifest(
        schema=SCHEMA,
        created=make_timestamp(),
        tool=f"edgeexit {edgeexit.__version__}",
        source=source,
        criterion=rule.criterion.name,
        fallback=rule.fallback,
        thresholds=rule.thresholds,
        temperatures=rule.temperatures,
        criterion_traits=CriterionTraits.from_criterion(rule.criterion),
        precision=parts.precision,
        classes=parts.exits[-1].classes,
        dynamic_batch=net.dynamic_batch,
        inputs=net.inputs,
        stages=entries,
        model=files["model"],
        backbone=files["backbone"],
        fused=files["fused"],
        files=dict(change.files),
        verified=VerificationSummary(0, 0, 0.0, 0.0),
    )


def _write_models(
    change: BundleChange, models: Mapping[str, Callable[[], onnx.ModelProto]], folder: Path
) -> dict[str, str]:
    """Write the models and, once, their large weights; the models learn the weights' file name when its content is known.

    Each is made when its turn comes: made at once they would hold the weights that lie in the model's own file many times over.
    """
    unfinished = change.create_unfinished("weights.bin")
    made = {}
    with unfinished.open("wb") as stream:
        weights = WeightFile(stream)
        for name, make in models.items():
            made[name] = weights.take(make(), folder)
    if weights.bytes:
        weights.set_location(change.adopt(unfinished, "weights.bin"))
    else:
        unfinished.unlink()
    return {name: change.add(f"{name}.onnx", proto.SerializeToString()) for name, proto in made.items()}


def _copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    return copy

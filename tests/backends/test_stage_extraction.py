"""Stages cut from the network that ONNX Runtime optimised in one piece: the whole network's answers to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import edgeexit
from edgeexit.backends import Settings, find_backend
from edgeexit.backends.onnxruntime.sessions import open_session
from edgeexit.backends.onnxruntime.stage_extraction import extract_stages
from edgeexit.bundle import Bundle
from edgeexit.errors import ModelError
from tests.support.onnx_writer import Array, Writer, check, loaded

IMAGE = (3, 8, 8)


def dense(folder: Path, width: int = 16, exits: int = 4) -> tuple[Path, list[str]]:
    """Every convolution reads all that were made before it, also those of earlier stages."""
    w = Writer()
    made, names = [w.conv("x", 3, width)], []
    for k in range(1, exits + 1):
        everything = w.op("Concat", *made, axis=1) if len(made) > 1 else made[0]
        made.append(w.conv(everything, width * len(made), width))
        names.append(w.head(made[-1], width, f"z{k}"))
    return w.save(folder / "m.onnx", {"x": ["n", *IMAGE]}, names), names


def samples(count: int = 4) -> dict[str, Array]:
    return {"x": np.random.default_rng(0).standard_normal((count, *IMAGE)).astype(np.float32)}


def in_one_piece(bundle: Bundle, x: Array) -> list[Array]:
    """Every exit's logits, by the scored network as one session."""
    m = bundle.manifest
    model = onnx.load(str(bundle.file(m.model)), load_external_data=False)
    del model.graph.output[:]
    names = [n for stage in m.stages for n in (stage.logits, stage.score)]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = open_session(model.SerializeToString(), Settings(), batch_1=True, folder=bundle.path)
    return list(session.run([stage.logits for stage in m.stages], {"x": x}))


def test_staged_answers_are_those_of_the_whole_network_to_the_last_bit(tmp_path: Path) -> None:
    """The stages hold the very nodes that one session of the whole network runs."""
    path, _ = dense(tmp_path)
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)

    with loaded(bundle, "staged") as runner:
        assert "" == runner.note
        for x in samples()["x"]:
            for k, logits in enumerate(in_one_piece(bundle, x[None]), 1):
                np.testing.assert_array_equal(logits[0], runner.forced(x[None], exit=k).logits)


def test_a_head_that_reads_the_logits_before_it_is_cut_behind_them(tmp_path: Path) -> None:
    """They are an output and a boundary tensor at once."""
    w = Writer()
    x = w.conv("x", 3, 16)
    first = w.head(x, 16, "z1")
    own = w.op("Gemm", w.op("Flatten", w.op("GlobalAveragePool", w.conv(x, 16, 16))), w.weight(16, 3))
    w.op("Add", own, first, out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])

    bundle = check(path, samples(), ["z1", "z2"])

    with loaded(bundle, "staged") as runner:
        assert "" == runner.note


def test_exits_that_the_optimiser_merges_fall_back_to_stages_of_their_own(tmp_path: Path) -> None:
    """Two heads spelled alike become one; the runner says that its stages are optimised one by one, and answers the same."""
    w = Writer()
    x = w.conv("x", 3, 16)
    weight = w.weight(16, 3)
    for name in ("z1", "z2"):
        w.op("Gemm", w.op("Flatten", w.op("GlobalAveragePool", x)), weight, out=name)
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])

    bundle = check(path, samples(), ["z1", "z2"])

    with loaded(bundle, "staged") as runner, runner.clone() as other:
        assert "optimised one by one" in runner.note
        assert "merged exit 2" in runner.note
        assert runner.note == other.note


def test_the_doctor_says_how_the_stages_are_opened(tmp_path: Path) -> None:
    """One check of the backend's own, with the reason where they are optimised one by one."""
    path, _ = dense(tmp_path, exits=2)
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)

    [found] = find_backend("onnxruntime").self_checks(bundle, Settings())

    assert found.passed
    assert "optimised" in found.name


def test_an_exit_that_is_not_made_by_its_own_piece_is_refused() -> None:
    """Here the second exit reads nothing that the first did not make."""
    w = Writer()
    w.op("Relu", "x", out="z1")
    w.op("Abs", "z1", out="s1")
    model = onnx.helper.make_model(onnx.helper.make_graph(w.nodes, "g", [], []))

    with pytest.raises(ModelError, match="merged exit 2"):
        extract_stages(model, [("z1", "s1"), ("z1", "s1")])

"""The graph has the batch and the opset that were asked for; what torch cannot export is refused with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.exporter import export
from tests.exporter.networks import Net, run


@pytest.mark.parametrize("dynamic", [True, False])
def test_the_batch_is_dynamic_or_one(tmp_path: Path, dynamic: bool) -> None:
    """Dynamic is named `batch`, whatever the example's batch was."""
    example = torch.zeros(7, 6)

    exported = export(Net(lambda z, h: z), example, tmp_path / "m.onnx", dynamic_batch=dynamic)

    graph = onnx.load(tmp_path / "m.onnx").graph
    dims = [tensor.type.tensor_type.shape.dim[0] for tensor in (*graph.input, *graph.output)]
    assert {"batch" if dynamic else 1} == {d.dim_param or d.dim_value for d in dims}
    assert {"x": (None if dynamic else 1, 6)} == exported.inputs


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
    """Torch itself writes another one without a warning."""
    with pytest.raises(ModelError, match=f"cannot write this module in opset {opset}"):
        export(Net(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx", opset=opset)

    assert [] == list(tmp_path.iterdir())


class FixesTheBatch(Net):
    def forward(self, x: Tensor) -> Any:
        return [z + torch.zeros(1, 4).expand(len(x), 4) for z in super().forward(x)]


def test_a_batch_that_forward_fixes_is_noticed(tmp_path: Path) -> None:
    """Torch bakes it in without a warning; the message has the remedy."""
    with pytest.raises(ModelError, match=r"is fixed by forward \(`len\(x\)` fixes it, `x\.shape\[0\]` does not\)"):
        export(FixesTheBatch(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert [] == list(tmp_path.iterdir())


def without_its_median(z: list[Tensor], h: list[Tensor]) -> list[Tensor]:
    return [t - t.median(1, keepdim=True).values for t in z]


def test_an_operator_that_onnx_has_not_is_refused_by_its_name(tmp_path: Path) -> None:
    """With no word of branches, which are not to blame."""
    with pytest.raises(ModelError, match=r"aten\.median.*\. Compute it in forward by other operators") as caught:
        export(Net(without_its_median), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert "`if`" not in str(caught.value)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.AdaptiveMaxPool2d(4), (3, 7, 7)),
        (nn.AdaptiveMaxPool2d((4, None)), (3, 15, 6)),
        (nn.AdaptiveMaxPool2d(2), (3, 8, 4)),
        (nn.AdaptiveMaxPool2d(4), (3, 2, 2)),
        (nn.AdaptiveMaxPool1d(3), (3, 10)),
        (nn.AdaptiveMaxPool3d(2), (3, 5, 3, 4)),
    ],
)
def test_adaptive_max_pooling_is_exported_whatever_size_it_brings_to_which(
    pool: nn.Module, shape: tuple[int, ...], tmp_path: Path
) -> None:
    """It is a maximum over fixed windows; `export` compares the file with eager."""
    features = pool(torch.zeros(1, *shape)).numel()
    early = nn.Sequential(pool, nn.Flatten(), nn.Linear(features, 4))
    late = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 4))

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.early, self.late = early, late

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [self.early(x), self.late(x)]

    assert export(Pooled(), torch.zeros(1, *shape), tmp_path / "m.onnx").largest_difference < 1e-5


@pytest.mark.parametrize(
    "squeeze",
    [
        lambda z: z.squeeze(-1),
        lambda z: z[:, :, None].squeeze((1, 2)),
        lambda z: z[:, :, None, None].squeeze(-1).squeeze(-1).squeeze(-1),
    ],
)
@pytest.mark.parametrize("dynamic", [True, False])
def test_squeezing_leaves_dimensions_that_are_longer_than_one(squeeze: Any, dynamic: bool, tmp_path: Path) -> None:
    """As torch does; ONNX refuses to squeeze them."""
    module = Net(lambda z, h: [squeeze(t) for t in z])

    assert export(module, torch.zeros(2, 6), tmp_path / "m.onnx", dynamic_batch=dynamic).largest_difference < 1e-5


PLACES = torch.tensor([[0.0, 1, 2, 3], [-3, 1, 0, 2], [1, 1, 1, 1]])


@pytest.mark.parametrize(
    "compute",
    [
        lambda z: nn.functional.logsigmoid(200 * z),
        lambda z: torch.logaddexp(200 * z, -100 * z),
        lambda z: torch.logaddexp(z, torch.tensor([-torch.inf, -torch.inf, 0.0, 1.0])),
        lambda z: torch.cumprod(z, -1),
        lambda z: torch.cdist(z, PLACES),
        lambda z: torch.cdist(z[:, :, None], z[:, :, None], p=1.0).mean(1),
        lambda z: nn.functional.rrelu(z, 0.1, 0.4),
    ],
)
def test_operators_that_the_exporter_lacks_or_computes_badly_are_exported(compute: Any, tmp_path: Path) -> None:
    """As log(sigmoid(-100)), which is -inf; `export` compares the file with eager, on large inputs as well."""
    module = Net(lambda z, h: [compute(t) for t in z])

    assert export(module, torch.zeros(1, 6), tmp_path / "m.onnx").largest_difference < 1e-4


def test_distances_in_a_norm_that_onnx_lacks_are_refused(tmp_path: Path) -> None:
    """With those that it has."""
    with pytest.raises(ModelError, match="p=3; cdist is exported with p=1 and p=2"):
        export(Net(lambda z, h: [torch.cdist(t, PLACES, p=3) for t in z]), torch.zeros(1, 6), tmp_path / "m.onnx")


@pytest.mark.parametrize("heads", [[], [2]])
@pytest.mark.parametrize("kind", ["none", "causal", "which", "how much", "scaled"])
def test_attention_is_exported_with_and_without_heads(heads: list[int], kind: str, tmp_path: Path) -> None:
    """[batch, length, features], or heads in between; with every kind of mask."""
    masks = {"which": torch.ones(3, 3).tril() > 0, "how much": -torch.arange(9.0).reshape(3, 3)}

    def attend(z: Tensor) -> Tensor:
        x = z[:, :3].reshape(-1, *[1] * len(heads), 3, 1).expand(-1, *heads, 3, 4) + PLACES
        found = nn.functional.scaled_dot_product_attention(
            x, 2 * x, x, masks.get(kind), is_causal=kind == "causal", scale=0.1 if kind == "scaled" else None
        )
        return z + found.flatten(1, -2).sum(1)

    module = Net(lambda z, h: [attend(t) for t in z])

    assert export(module, torch.zeros(1, 6), tmp_path / "m.onnx").largest_difference < 1e-5


class Masked(nn.Module):
    """Attends to the tokens that its mask lets it see, as BERT does."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.early, self.last = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, tokens: Tensor, seen: Tensor) -> list[Tensor]:
        x = self.embed(tokens).unflatten(-1, (2, 4)).transpose(1, 2)
        found = nn.functional.scaled_dot_product_attention(x, x, x, (seen > 0)[:, None, None])
        found = found.transpose(1, 2).flatten(2)
        return [self.early(found[:, 0]), self.last(found.mean(1))]


def test_a_query_that_sees_nothing_gets_what_torch_gives_it(tmp_path: Path) -> None:
    """Zeros, and not the mean of all values; `export` compares on masks of zeros, which the compile of an integer network meets too."""
    module, file = Masked().eval(), tmp_path / "m.onnx"
    tokens, seen = torch.randint(10, (3, 5)), torch.tensor([[1] * 5, [1, 1, 0, 0, 0], [0] * 5])
    export(module, {"tokens": tokens, "seen": seen}, file)

    with torch.no_grad():
        want = module(tokens, seen)
    for expected, found in zip(want, run(file, tokens.numpy(), seen.numpy()), strict=True):
        np.testing.assert_allclose(expected.numpy(), found, atol=1e-5)
    assert torch.equal(want[0][2], module.early.bias)


def test_logits_without_a_batch_name_the_squeeze_that_dropped_it(tmp_path: Path) -> None:
    """`squeeze()` of a batch of one."""
    with pytest.raises(ModelError, match=r"\[4\]; they must be float .*squeeze\(\) drops a batch of one"):
        export(Net(lambda z, h: [t.squeeze() for t in z]), torch.zeros(1, 6), tmp_path / "m.onnx")

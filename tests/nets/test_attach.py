"""Exits that are added to classifiers of many families leave the classifier as it was, and become files that compute the same."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgeexit
from edgeexit.errors import InputError, ModelError
from edgeexit.nets.attach import HEADS
from edgeexit.nets.costs import exit_costs
from tests.exporter.networks import run
from tests.nets import classifiers as c

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any], list[str]]] = {
    "ResNet-18": (lambda: c.ResNet(c.BasicBlock, (8, 12)), c.make_image, ["maxpool", "layer1.0"]),
    "ResNet-50": (lambda: c.ResNet(c.Bottleneck, (16, 24)), c.make_image, ["maxpool", "layer1.0"]),
    "MobileNetV2": (lambda: c.MobileNet(nn.ReLU6), c.make_image, ["features.0", "features.2"]),
    "MobileNetV3": (lambda: c.MobileNet(nn.Hardswish, excite=True), c.make_image, ["features.0", "features.2"]),
    "EfficientNet": (lambda: c.MobileNet(nn.SiLU, excite=True), c.make_image, ["features.0", "features.2"]),
    "DenseNet": (c.DenseNet, c.make_image, ["features.denseblock1.0", "features.denseblock1"]),
    "VGG with batch norm": (c.make_vgg, c.make_image, ["2", "4"]),
    "ViT": (c.ViT, c.make_image, ["patch_embed", "encoder.layers.0"]),
    "ConvNeXt": (c.ConvNeXt, c.make_image, ["stages.0.0", "down"]),
    "1-D CNN": (c.make_cnn_1d, lambda: torch.rand(1, 2, 64), ["0", "1"]),
    "GRU": (c.StackedGRU, lambda: torch.rand(1, 4, 3), ["embed", "rnn1"]),
    "GRU with time first": (lambda: c.StackedGRU(time_first=True), lambda: torch.rand(1, 4, 3), ["embed", "rnn1"]),
    "LSTM": (lambda: c.StackedGRU(kind=nn.LSTM), lambda: torch.rand(1, 4, 3), ["embed", "rnn1"]),
    "BERT": (c.Bert, c.make_text, ["layers.0", "layers.1"]),
}


def make(name: str) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    factory, example, _ = NETWORKS[name]
    return factory().eval(), example()


def ask(module: nn.Module, example: Any) -> Any:
    with torch.no_grad():
        returned = module(**example) if isinstance(example, dict) else module(example)
    return getattr(returned, "logits", returned)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_exit_is_the_original_bit_for_bit(name: str) -> None:
    """Exits stand where they were chosen by cost; what the network answered itself does not change."""
    module, example = make(name)
    want, parameters = ask(module, example), {n: p.clone() for n, p in module.state_dict().items()}

    net = edgeexit.add_exits(module, example)

    assert NETWORKS[name][2] == [place.name for place in net.places]
    got = ask(net, example)
    assert torch.equal(want, got[-1])
    assert torch.equal(want, ask(module, example))
    assert [want.shape] * 3 == [z.shape for z in got]
    kept = {n.removeprefix("backbone."): p for n, p in net.state_dict().items() if n.startswith("backbone.")}
    assert parameters.keys() == kept.keys()
    assert all(torch.equal(p, kept[n]) for n, p in parameters.items())


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"EfficientNet"}))
@pytest.mark.filterwarnings("ignore::edgeexit.CalibrationWarning")
def test_a_network_with_added_exits_is_exported_and_compiled(name: str, tmp_path: Path) -> None:
    """The file and the stages give and cost what torch does at every exit, with the original's names of inputs.

    EfficientNet's graph is MobileNetV3's here, but for an activation that the latter has inside its blocks.
    """
    module, example = make(name)
    net = edgeexit.add_exits(module, example)

    edgeexit.export(net, example, tmp_path / "m.onnx")
    bundle = edgeexit.compile(tmp_path / "m.onnx", tmp_path / "m.eexit", criterion="entropy", seconds=0)

    assert list(np.cumsum([stage.macs for stage in bundle.manifest.stages])) == list(
        exit_costs(net, example).reach_macs
    )
    x = {n: v.numpy() for n, v in example.items()} if isinstance(example, dict) else example.numpy()
    for want, got in zip(
        ask(net, example), run(tmp_path / "m.onnx", *(x.values() if isinstance(x, dict) else [x])), strict=True
    ):
        np.testing.assert_allclose(want.numpy(), got, atol=1e-4)
    with edgeexit.load(tmp_path / "m.eexit") as runner:
        np.testing.assert_allclose(ask(net, example)[-1].numpy().ravel(), np.ravel(runner(x).logits), atol=1e-4)


def test_places_are_listed_from_input_to_output_with_their_cost() -> None:
    """Only those through which everything passes: not the inside of a residual block, nor parts that change in place later."""
    module, example = make("ResNet-18")

    places = {p.name: p for p in edgeexit.list_exit_places(module, example)}

    assert ["conv1", "maxpool", "layer1.0", "layer1", "layer2.0", "layer2"] == list(places)[:6]
    shares = [p.share for p in places.values()]
    assert sorted(shares) == shares
    assert ((8, 8, 8), "feature map") == (places["layer1"].shape, places["layer1"].kind)


class LooksBack(nn.Module):
    """Finds out at its end where its input stops, and asks the input again, by a second network or not."""

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.again = nn.Linear(6, 6) if again else None

    def forward(self, x: Tensor) -> Tensor:
        features = self.second(self.first(x).relu()).relu()
        ends = (x != 0).sum(1, keepdim=True).clamp(min=1)
        shifted = features / ends if self.again is None else features + self.again(2 * x).relu()
        logits: Tensor = self.last(shifted)
        return logits


def test_what_costs_nothing_may_be_made_from_the_input_at_the_end() -> None:
    """As a language model does that answers at the last token of its text; a second network that starts there is passed by no exit."""
    simple, twofold = (
        {p.name for p in edgeexit.list_exit_places(LooksBack(again=again), torch.rand(1, 6))} for again in (False, True)
    )

    assert {"first", "second"} <= simple
    assert not {"first", "second"} & twofold


class SharesItsLayer(nn.Module):
    """One layer, four times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = self.layer(x).relu()
        logits: Tensor = self.head(x)
        return logits


def test_a_part_that_is_called_again_and_again_is_named_where_exits_cannot_be_placed() -> None:
    """With how often it is called."""
    with pytest.raises(ModelError, match="After 'layer' none can stand: forward calls it 4 times"):
        edgeexit.add_exits(SharesItsLayer(), torch.rand(1, 6))


def test_shares_count_multiply_accumulates() -> None:
    """Of what a place needs, over those of the whole network."""
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4))

    shares = {p.name: p.share for p in edgeexit.list_exit_places(net, torch.zeros(1, 10))}

    assert {"0": 200 / 920, "1": 200 / 920, "2": 800 / 920, "3": 800 / 920} == pytest.approx(shares)


@pytest.mark.parametrize(("name", "position"), [("ViT", "first"), ("BERT", "first"), ("LSTM", "last")])
def test_a_head_reads_the_position_that_the_network_reads(name: str, position: str) -> None:
    """The class token of a transformer, the last step of an RNN."""
    module, example = make(name)

    assert {position} == {
        p.position for p in edgeexit.list_exit_places(module, example) if p.name in NETWORKS[name][2][1:]
    }


class MeanOfTokens(nn.Module):
    """A transformer that averages its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = c.ViT()

    def forward(self, x: Tensor) -> Tensor:
        x = self.vit.patch_embed(x).flatten(2).transpose(1, 2)
        logits: Tensor = self.vit.head(self.vit.encoder(x).mean(1))
        return logits


def test_tokens_that_the_network_averages_are_averaged() -> None:
    """No token is taken for a class token because it is the first."""
    places = edgeexit.list_exit_places(MeanOfTokens(), c.make_image())

    assert {"mean"} == {p.position for p in places}


@pytest.mark.parametrize(
    ("network", "head"),
    [("ResNet-18", h) for h in ("pool", "bnpool", "conv", "fc")]
    + [("1-D CNN", h) for h in ("bnpool", "conv")]
    + [("ViT", h) for h in ("first", "last", "mean", "fc")],
)
def test_a_head_is_chosen_by_its_name(network: str, head: str) -> None:
    """Every row of the table gives logits."""
    module, example = make(network)

    net = edgeexit.add_exits(module, example, after=NETWORKS[network][2][1:], head=head)

    assert [(1, c.CLASSES)] * 2 == [tuple(z.shape) for z in ask(net, example)]
    assert head in HEADS


def test_a_head_may_be_a_function() -> None:
    """It gets the shape without the batch, and the number of classes."""
    module, example = make("VGG with batch norm")

    def head(shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(4 * shape[0], classes))

    net = edgeexit.add_exits(module, example, after=["4"], head=head)

    assert isinstance(net.heads[0][0], nn.AdaptiveMaxPool2d)  # type: ignore[index]


def test_only_the_heads_learn_where_the_backbone_is_frozen() -> None:
    """It has no gradients, and its batch norms keep their statistics in training mode."""
    module, example = make("MobileNetV2")
    net = edgeexit.add_exits(module, example).train()
    before = {n: v.clone() for n, v in net.backbone.state_dict().items()}

    sum(z.square().sum() for z in net(torch.rand(4, 3, 32, 32))[:-1]).backward()

    assert {"heads"} == {n.split(".")[0] for n, p in net.named_parameters() if p.grad is not None}
    assert all(torch.equal(v, before[n]) for n, v in net.backbone.state_dict().items())


def test_everything_learns_where_it_is_not_frozen() -> None:
    """`freeze=False` is for fine-tuning."""
    module, example = make("ResNet-18")
    net = edgeexit.add_exits(module, example, freeze=False).train()

    sum(z.square().sum() for z in net(torch.rand(4, 3, 32, 32))).backward()

    assert net.backbone.training
    assert all(p.grad is not None for p in net.parameters())


def test_a_network_with_added_exits_can_be_copied_and_pickled() -> None:
    """It holds nothing but modules."""
    module, example = make("DenseNet")
    net = edgeexit.add_exits(module, example)

    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert all(torch.equal(a, b) for a, b in zip(ask(net, example), ask(twin, example), strict=True))


def test_looking_leaves_the_module_as_it_was() -> None:
    """Mode, statistics and random numbers are those from before."""
    module, example = make("ResNet-50")
    module.train()
    before, numbers = {n: v.clone() for n, v in module.state_dict().items()}, torch.get_rng_state()

    edgeexit.list_exit_places(module, example)

    assert module.layer1.training  # type: ignore[union-attr]
    assert all(torch.equal(v, before[n]) for n, v in module.state_dict().items())
    assert torch.equal(numbers, torch.get_rng_state())
    assert all("forward" not in part.__dict__ for part in module.modules())


class Returning(nn.Module):
    """Two layers; forward returns what `form` makes of the logits and the features."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 4)
        self.form = form

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        return self.form(self.head(features), features)


@pytest.mark.parametrize(
    ("form", "read"),
    [
        (lambda z, f: (z,), None),
        (lambda z, f: {"logits": z}, None),
        (lambda z, f: {"logits": z, "hidden_states": (f[:, None],)}, None),
        (lambda z, f: {"logits": z, "cache": SimpleNamespace(keys=f)}, None),
        (lambda z, f: (z, f), lambda returned: returned[0]),
        (lambda z, f: {"prediction": z, "features": f}, lambda returned: returned["prediction"]),
    ],
)
def test_logits_are_read_from_what_forward_returns(form: Any, read: Any) -> None:
    """Alone, in a tuple, by name; or by `read` where there are other tensors."""
    module = Returning(form)

    net = edgeexit.add_exits(module, torch.zeros(1, 6), after=["body"], read=read)

    x = torch.rand(2, 6)
    assert torch.equal(module.head(module.body(x)), net(x)[-1])


class Odd(nn.Module):
    """Parts that are no places, each for another reason."""

    def __init__(self) -> None:
        super().__init__()
        self.unused, self.twice = nn.Linear(6, 6), nn.Linear(6, 6)
        self.changed, self.flat = nn.Linear(6, 6), nn.Flatten(0)
        self.blocks = nn.ModuleList([nn.Linear(6, 6)])
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.changed(self.twice(self.twice(x))).relu_()
        x = x + self.flat(x).reshape(x.shape)
        logits: Tensor = self.head(self.blocks[0](x))
        return logits


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("unused", "forward does not call it"),
        ("blocks", "holds parts that are called themselves"),
        ("twice", "forward calls it 2 times"),
        ("changed", "changed in place by what follows"),
        ("flat", "2 to 5 dimensions"),
        ("block.0", "Did you mean 'blocks.0'"),
    ],
)
def test_a_part_that_is_no_place_is_refused_with_the_reason(name: str, reason: str) -> None:
    """The message names the part."""
    with pytest.raises(ModelError, match=reason):
        edgeexit.add_exits(Odd(), torch.zeros(1, 6), after=[name])


class DataDependent(nn.Module):
    """Takes another way where the input is not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.high(x) if x.sum() > 0 else self.low(x))
        return logits


def test_control_flow_that_depends_on_values_is_refused() -> None:
    """With the parts where the ways part."""
    with pytest.raises(
        ModelError, match="another way on other values: where 'low' returned on the example, 'high' did"
    ):
        edgeexit.add_exits(DataDependent(), torch.zeros(1, 6), count=1)


def test_a_place_that_is_passed_no_more_is_named() -> None:
    """A way that no example showed is an error when it is taken, not a wrong answer."""
    module, example = make("VGG with batch norm")
    net = edgeexit.add_exits(module, example, after=["2"])
    module[2].forward = lambda x: None  # type: ignore[index]

    with pytest.raises(ModelError, match="part '2', after which an exit stands"):
        net(example)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"count": 0}, InputError, "at least 1, not 0"),
        ({"count": 30}, ModelError, "30 exits cannot be placed"),
        ({"after": []}, InputError, "one or more names"),
        ({"after": "2"}, InputError, "must be a list of names"),
        ({"after": "auto"}, InputError, "edgeexit adopt"),
        ({"after": ["2", "2"]}, InputError, "each once"),
        ({"head": "pol"}, InputError, "Did you mean 'pool'"),
        ({"head": "first"}, ModelError, "take pool, bnpool, conv, reduce, fc or auto"),
        ({"head": nn.Linear(2, 2)}, InputError, "function"),
        ({"head": lambda shape, classes: 3}, ModelError, "returned int"),
        ({"head": lambda shape, classes: nn.Identity()}, ModelError, "does not give logits"),
        ({"classes": 9}, ModelError, "classes=9, and the module has 5"),
        ({"read": lambda returned: [returned, returned + 1]}, ModelError, "returns 2 exits already"),
        ({"read": lambda returned: returned[0]}, ModelError, "float logits"),
    ],
)
def test_wrong_arguments_are_one_clear_error(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """What is wrong, with which values, and what to do."""
    module, example = make("VGG with batch norm")
    with pytest.raises(error, match=message):
        edgeexit.add_exits(module, example, **arguments)


def test_features_too_large_for_a_head_are_refused() -> None:
    """Before the memory is asked for."""
    net = nn.Sequential(nn.Conv2d(1, 128, 1), nn.Conv2d(128, 8, 1), nn.AvgPool2d(128), nn.Flatten(), nn.Linear(8, 50))

    with pytest.raises(ModelError, match="104,857,600 weights"):
        edgeexit.add_exits(net, torch.zeros(1, 1, 128, 128), after=["0"], head="fc")


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenetv3_small_050", "efficientnet_b0", "vit_tiny_patch16_224", "convnext_atto"]
)
def test_exits_are_added_to_networks_of_timm(name: str) -> None:
    """As they are published; only where timm is installed."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module, example = timm.create_model(name, num_classes=7).eval(), torch.rand(1, 3, 224, 224)
    want = ask(module, example)

    net = edgeexit.add_exits(module, example)

    assert torch.equal(want, ask(net, example)[-1])
    assert [(1, 7)] * 3 == [tuple(z.shape) for z in ask(net, example)]

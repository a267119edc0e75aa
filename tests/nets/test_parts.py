"""Networks are built from parts: blocks in a chain, heads, and places that rules choose; each part as its paper has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import InputError
from edgeexit.nets import HEADS, NETS, Chain, build, find_network, head, place_exits
from edgeexit.nets.chain import build_chain
from edgeexit.nets.costs import exit_costs
from edgeexit.nets.outputs import run_exits
from edgeexit.nets.placement import RULES, count_shares
from edgeexit.nets.residual import Bottleneck, PreactivationBlock, build_cifar_stem, build_imagenet_stem


def zeros(name: str) -> Tensor:
    return torch.zeros(1, *find_network(name).input_shape)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- heads

MAPS = [(6, 8), (6, 5, 7), (6, 2, 3, 4)]


@pytest.mark.parametrize("confidence", [False, True])
@pytest.mark.parametrize("kind", HEADS)
def test_a_head_answers_features_of_every_shape_that_it_takes(kind: str, confidence: bool) -> None:
    """Logits for any batch; and a confidence in 0..1 where the exit learns one."""
    for shape in MAPS if kind not in ("first", "last", "mean") else MAPS[:1]:
        answer = head(kind, shape, 4, confidence=confidence).eval()(randn(3, *shape))

        logits, score = answer if confidence else (answer, torch.full((3, 1), 0.5))
        assert (3, 4) == logits.shape
        assert (3, 1) == score.shape
        assert ((score > 0) & (score < 1)).all()


def test_a_head_that_does_not_fit_says_which_do() -> None:
    """And a name that is none, with the near miss."""
    with pytest.raises(
        InputError, match=r"head 'first' cannot read features \[6, 5, 7\]; these can: fc, pool, bnpool, conv"
    ):
        head("first", (6, 5, 7), 4)
    with pytest.raises(InputError, match=r"no head is named 'pol'\. Did you mean 'pool'"):
        head("pol", (6, 5, 7), 4)


@pytest.mark.parametrize("collaboration", ["identity", "fc"])
def test_a_head_that_collaborates_keeps_the_parameters_of_one_that_does_not(collaboration: Any) -> None:
    """So that it starts from trained ones, and what the exit before it answered joins in."""
    alone, joined = head("pool", (6, 5, 7), 4), head("pool", (6, 5, 7), 4, collaboration=collaboration).eval()

    loaded = joined.load_state_dict(alone.state_dict(), strict=False)

    assert [] == loaded.unexpected_keys
    assert all(name.startswith("join.") for name in loaded.missing_keys)
    x = randn(2, 6, 5, 7)
    one, other = joined(x, [randn(2, 4)]), joined(x, [2 * randn(2, 4)])
    assert isinstance(one, Tensor)
    assert isinstance(other, Tensor)
    assert not torch.equal(one, other)


# ---------------------------------------------------------------- chains


def make_blocks() -> list[nn.Module]:
    return [nn.Sequential(nn.Conv2d(a, b, 3, 2, padding=1), nn.ReLU()) for a, b in ((2, 4), (4, 6), (6, 8))]


def test_a_chain_has_an_exit_after_each_place_and_a_last_one() -> None:
    """In the order of the blocks; with scores where heads have one."""
    network = build_chain("a chain", make_blocks(), (2, 16, 16), 5, after=(1, 2), kind="bnpool", confidence=True)

    exits = run_exits(network.eval(), randn(3, 2, 16, 16))

    assert [(3, 5)] * 3 == [e.logits.shape for e in exits]
    assert [False, False, True] == [e.score is None for e in exits]
    assert ["1", "2"] == list(network.heads)


def test_heads_of_a_chain_get_what_earlier_exits_answered() -> None:
    """The logits of all of them, first exit first, also where those have a score."""

    class Sees(nn.Module):
        collaborates = True

        def forward(self, x: Tensor, earlier: list[Tensor]) -> Tensor:
            return torch.stack(earlier).sum(0)

    heads = {1: head("pool", (4, 8, 8), 5, confidence=True), 2: head("fc", (6, 4, 4), 5)}
    network = Chain(make_blocks(), heads, Sees()).eval()

    first, second, last = run_exits(network, randn(3, 2, 16, 16))

    torch.testing.assert_close(first.logits + second.logits, last.logits)


@pytest.mark.parametrize("after", [(0,), (3,), (2, 1), (1, 1)])
def test_exits_of_a_chain_stand_after_blocks_that_there_are(after: tuple[int, ...]) -> None:
    """Rising, and before the last."""
    with pytest.raises(InputError, match="they must rise from 1 to 2, as the network has 3 blocks"):
        build_chain("a chain", make_blocks(), (2, 16, 16), 5, after=after)


def test_the_first_exit_of_a_chain_has_none_to_collaborate_with() -> None:
    """There is no answer before it."""
    with pytest.raises(InputError, match="the first exit has no exit before it"):
        Chain(make_blocks(), {1: head("pool", (4, 8, 8), 5, collaboration="fc")}, head("pool", (8, 2, 2), 5))


# ---------------------------------------------------------------- placement

# EENet's tables 4.5 and 4.8: percent of the parameters up to each exit. EENet-20 by `pareto` has the first two in table 4.8.
PRINTED = {
    (20, "quadratic"): (4, 11, 24),
    (32, "quadratic"): (3, 8, 20, 52),
    (44, "quadratic"): (2, 4, 10, 19, 33, 66),
    (110, "quadratic"): (2, 4, 11, 20, 40, 74),
    (20, "fine"): (5, 11, 18),
    (32, "fine"): (5, 12, 16, 20, 24),
    (44, "fine"): (5, 10, 16, 21, 24, 33),
    (110, "fine"): (6, 10, 14, 19, 23, 27, 32, 36, 40, 44),
    (20, "pareto"): (24, 45, 73),
    (32, "pareto"): (20, 36, 52, 68, 84),
    (44, "pareto"): (21, 44, 55, 66, 78, 89),
    (110, "pareto"): (21, 40, 53, 62, 70, 74),
    (20, "golden"): (24, 45, 73),
    (32, "golden"): (12, 16, 24, 52, 68),
    (44, "golden"): (7, 10, 16, 24, 44, 66),
    (110, "golden"): (6, 10, 15, 24, 40, 66),
    (20, "linear"): (45, 73),
    (32, "linear"): (20, 36, 52, 68, 84),
    (44, "linear"): (16, 33, 44, 66, 78, 89),
    (110, "linear"): (10, 19, 27, 40, 49, 57, 66, 74, 83, 91),
}


@pytest.mark.parametrize(("depth", "rule"), PRINTED)
def test_rules_place_exits_where_the_thesis_prints_them(depth: int, rule: str) -> None:
    """To a point of the percentages of its tables, which are shares of the parameters."""
    printed = PRINTED[depth, rule]
    plain = build("eenet", depth=depth, exits=False)
    assert isinstance(plain, Chain)
    shares = count_shares([*plain.blocks], plain.last, (3, 32, 32), "parameters")

    places = place_exits(shares, rule, len(printed))

    assert printed == pytest.approx([100 * shares[k - 1] for k in places], abs=1.0)


@pytest.mark.parametrize("rule", RULES)
def test_places_rise_and_lie_before_the_last_block(rule: str) -> None:
    """For any number of exits that fits; more are refused."""
    shares = [k / 40 for k in range(1, 41)]
    for count in (1, 2, 5):
        places = place_exits(shares, rule, count)

        assert count == len(places)
        assert sorted(set(places)) == list(places)
        assert 1 <= places[0] <= places[-1] < 40
    with pytest.raises(
        InputError, match=f"rule '{rule}' places . of 4 exits before the last of 3 blocks: ask for fewer"
    ):
        place_exits([0.3, 0.6, 1.0], rule, 4)


def test_shares_of_multiply_accumulates_are_those_of_the_exits() -> None:
    """By them, the exits of a narrow early block cost far more than by parameters."""
    plain = build("eenet", exits=False)
    assert isinstance(plain, Chain)
    by_macs, by_parameters = (count_shares([*plain.blocks], plain.last, (3, 32, 32), u) for u in ("macs", "parameters"))

    costs = exit_costs(build("eenet", after=(2, 4, 6)), zeros("eenet"))

    assert [costs.alone_macs[i] / costs.alone_macs[-1] for i in range(3)] == pytest.approx(
        [by_macs[k - 1] for k in (2, 4, 6)], abs=1e-4
    )
    assert (24, 45, 68) == pytest.approx([100 * by_macs[k - 1] for k in (2, 4, 6)], abs=0.6)
    assert (4, 11, 24) == pytest.approx([100 * by_parameters[k - 1] for k in (2, 4, 6)], abs=1.0)


def test_unknown_rules_and_units_are_answered() -> None:
    """With the near miss."""
    with pytest.raises(InputError, match=r"'paretto'\. Did you mean 'pareto'"):
        build("eenet", after="paretto")
    with pytest.raises(InputError, match=r"parameters or macs, not 'mac'\. Did you mean 'macs'"):
        build("eenet", after="pareto", shares="mac")


# ---------------------------------------------------------------- what the papers print of their networks


@pytest.mark.parametrize(("filters", "weights"), [(2, (137, 407, 1490)), (4, (407, 1395, 5332))])
def test_eenet8_has_the_thesiss_parameters(filters: int, weights: tuple[int, ...]) -> None:
    """Those of an exit without the heads of earlier ones, and at the end all."""
    network = build("eenet8", filters=filters)
    assert isinstance(network, Chain)
    first = sum(p.numel() for p in network.heads["1"].parameters())

    one, two, three = exit_costs(network, zeros("eenet8")).reach_parameters

    assert weights == (one, two - first, three)


@pytest.mark.parametrize(
    ("depth", "flops", "millions"),
    [
        (18, (0.79, 3.42, 13.93, 55.92), 11),
        (50, (1.14, 7.27, 42.86, 117.83), 23),
        (101, (1.14, 7.27, 138.05, 213.02), 42),
        (152, (), 58),
    ],
)
def test_naive_eenets_have_the_thesiss_parameters(depth: int, flops: tuple[float, ...], millions: int) -> None:
    """Its FLOPs of figures 4.2, 4.4 and 4.5 are five times the parameters up to each exit; table 4.6 has all of them."""
    costs = exit_costs(build("eenet", depth=depth, stem="imagenet"), zeros("eenet"))

    assert millions == pytest.approx(costs.reach_parameters[-1] / 1e6, abs=0.6)
    if flops:
        assert flops == pytest.approx([5 * n / 1e6 for n in costs.reach_parameters], rel=0.005)


def test_classifiers_of_the_cascade_cost_what_table_1_prints() -> None:
    """ResNet-8 to -110 for CIFAR, in millions of multiply-accumulates: all blocks cost the same. Wide ones for ImageNet at 32x32."""
    printed = {(8, 20, 32, 56, 110): (14.86, 43.17, 71.48, 128.11, 255.51), (40, 40): (192.36, 85.64)}
    for depths, macs in printed.items():
        filters = 16 if depths[0] == 8 else (24, 16)
        network = build("resnet-cascade", depths=depths, filters=filters, policy=False)

        found = exit_costs(network, zeros("resnet-cascade")).alone_macs
        assert macs == pytest.approx([n / 1e6 for n in found], abs=0.01)
    with_number = build("resnet-cascade", depths=(1, 3, 5)).state_dict()
    assert build("resnet-cascade", depths=(8, 20, 32)).state_dict().keys() == with_number.keys()


def test_msdnet_costs_what_the_authors_network_does() -> None:
    """6.8 to 58.0 M multiply-accumulates, counted by hand from the layer list. Theirs runs whole blocks; an exit by itself needs less."""
    network = build("msdnet")
    assert isinstance(network, Chain)

    whole = exit_costs(_WholeBlocks(network), zeros("msdnet")).reach_macs
    needed = exit_costs(network, zeros("msdnet")).reach_macs

    assert (6.8, 14.2, 27.2, 41.3, 58.0) == pytest.approx([n / 1e6 for n in whole], abs=0.05)
    assert (5.9, 12.6, 24.5, 40.1, 58.0) == pytest.approx([n / 1e6 for n in needed], abs=0.05)


class _WholeBlocks(nn.Module):
    """Every exit needs all that its block computes, finer scales as well."""

    def __init__(self, network: Chain) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> list[Tensor]:
        out, features = [], x
        for block, classify in zip(self.network.blocks, [*self.network.heads.values(), self.network.last], strict=True):
            features = block(features)
            out.append(classify(features) + sum(0 * scale.sum() for scale in features))
        return out


def test_the_small_msdnet_costs_20_million() -> None:
    """Steps 1, 2, 3: what two cores train in half an hour."""
    costs = exit_costs(build("msdnet", steps=(1, 2, 3)), zeros("msdnet"))

    assert 19.9 == pytest.approx(costs.reach_macs[-1] / 1e6, abs=0.05)


def test_exits_of_the_cascade_cnn_read_what_the_paper_says() -> None:
    """1440 features after the first block, 320 after the second."""
    for place, features in ((1, 1440), (2, 320)):
        network = build("cascade-cnn", place=place)
        assert isinstance(network, Chain)

        assert (10, features) == network.heads[str(place)].get_parameter("classify.weight").shape


def test_a_network_of_another_depth_is_refused() -> None:
    """With the depths that there are."""
    with pytest.raises(InputError, match="no residual network of depth 21 for CIFAR: depths are 6 n"):
        build("eenet", depth=21)
    with pytest.raises(InputError, match="depths are 18, 34, 50, 101, 152"):
        build("eenet", depth=20, stem="imagenet")
    with pytest.raises(InputError, match="no residual network of depth 21: depths are 6 n"):
        build("resnet-cascade", depths=(8, 21))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": (8, 20), "filters": (4, 8, 16)}, "one for each of the 2 depths, not"),
        ({"depths": (8, 8)}, "must differ in depth or filters, not resnet8, resnet8"),
        ({"depths": ()}, "must differ in depth or filters, not be none"),
    ],
)
def test_a_cascade_of_sizes_that_do_not_fit_together_is_refused(options: dict[str, Any], message: str) -> None:
    """With what was given."""
    with pytest.raises(InputError, match=message):
        build("resnet-cascade", **options)


@pytest.mark.parametrize("block", [Bottleneck, PreactivationBlock])
def test_a_block_halves_the_size_where_it_is_strided(block: type[nn.Module]) -> None:
    """And keeps it where it is not."""
    x = randn(2, 16, 8, 8)

    assert (2, 32, 4, 4) == block(16, 32, 2).eval()(x).shape
    assert (2, 16, 8, 8) == block(16, 16, 1).eval()(x).shape


def test_stems_keep_the_size_or_quarter_it() -> None:
    """Of CIFAR and of ImageNet."""
    assert (1, 16, 32, 32) == build_cifar_stem(3, 16)(randn(1, 3, 32, 32)).shape
    assert (1, 64, 8, 8) == build_imagenet_stem(3).eval()(randn(1, 3, 32, 32)).shape


def test_classifiers_that_collaborate_start_from_an_msdnet_whose_classifiers_do_not() -> None:
    """ISC is trained on top of it: all parameters keep their names and shapes, and those of the joins are new."""
    plain, joined = (build("msdnet", steps=(1, 2, 3), collaboration=c).state_dict() for c in ("none", "fc"))

    assert all(value.shape == joined[name].shape for name, value in plain.items())
    assert {"heads.2", "last"} == {name.partition(".join.")[0] for name in joined.keys() - plain.keys()}


# ---------------------------------------------------------------- recorded weights

RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "branchynet-parameters.json").read_text())


@pytest.mark.parametrize("variant", RECORDED)
def test_names_and_shapes_of_branchynets_parameters_are_those_of_recorded_weights(variant: str) -> None:
    """Trained networks are published with them. The file was written before networks took samples of other shapes."""
    recorded = RECORDED[variant]

    state = build(recorded["network"], **recorded["options"]).state_dict()

    assert recorded["parameters"] == {name: list(value.shape) for name, value in state.items()}


# ---------------------------------------------------------------- samples of other shapes


@pytest.mark.parametrize("name", NETS)
def test_a_network_takes_samples_of_other_shapes_and_as_many_classes_as_asked(name: str) -> None:
    """Of other sizes and channels; its exits answer with these classes."""
    shape = (3, 100) if name == "signal" else (2, 44, 52)

    exits = run_exits(build(name, shape=shape, classes=7).eval(), randn(2, *shape))

    assert all((2, 7) == e.logits.shape for e in exits)


@pytest.mark.parametrize("name", [name for name in NETS if name != "signal"])
def test_samples_that_are_no_images_are_refused(name: str) -> None:
    """With what the network takes, and what it was given."""
    with pytest.raises(InputError, match=r"takes samples \[channels, height, width\], not \[128\]"):
        build(name, shape=(128,))


@pytest.mark.parametrize("name", ["alexnet", "vit", "cascade-cnn", "densenet"])
def test_samples_that_are_too_small_are_refused(name: str) -> None:
    """In one message that names their shape."""
    with pytest.raises(InputError, match=r"cannot take samples \[1, 2, 2\], which are too small"):
        build(name, shape=(1, 2, 2))


def test_the_page_of_networks_lists_each_with_its_options() -> None:
    """As they are."""
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `")}

    assert rows.keys() == NETS.keys()
    for name, net in NETS.items():
        options = set(net.options) - {"shape", "classes", "exits"} - ({"n"} if name == "eenet" else set())
        assert options == set(rows[name].rpartition(" | ")[2].replace("`", "").strip(" |").split(", ")), name
        assert "×".join(map(str, net.input_shape)) in rows[name]


def test_the_page_of_networks_lists_every_head_and_rule() -> None:
    """Those that there are."""
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")

    assert [] == [name for name in [*HEADS, *RULES] if f"`{name}`" not in page]

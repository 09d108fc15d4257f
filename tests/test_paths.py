import math

import pytest
import torch
from helpers import unsettle
from torch import Tensor, nn

from resnet_utils import models, paths
from resnet_utils.blocks import BasicBlock, Bottleneck, PreActivationBlock
from resnet_utils.models import ResNet

LABELS = torch.tensor([0, 1])
FACTORS = (0.5, -0.25, 2.0)  # F(x) = factor x in each block of the net of `line`


def line(factors: tuple[float, ...] = FACTORS) -> ResNet:
    """A residual net in which everything stays positive: block i multiplies by 1 + factor."""
    net = ResNet(
        BasicBlock, (len(factors),), widths=(1,), num_classes=2, in_channels=1, stem="cifar", norm_layer=nn.Identity
    )
    nn.init.dirac_(net.conv1.weight)
    for (_, block), factor in zip(net.blocks(), factors, strict=True):
        nn.init.dirac_(block.conv1.weight)
        block.conv2.weight.data = factor * block.conv1.weight.data
    return net


def positive(channels: int = 1) -> Tensor:
    return torch.rand(2, channels, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1


def test_a_path_through_k_branches_has_the_product_of_their_factors():
    table = paths.path_gradients(line(), positive(), LABELS, samples=20)
    start = table["norm"][table["length"] == 0]
    assert start.nunique() == 1
    ratios = (table["norm"] / start.iloc[0]).round(4).groupby(table["length"]).agg(set)
    assert ratios[1] == {0.5, 0.25, 2.0}
    assert ratios[2] == {0.125, 0.5, 1.0}
    assert ratios[3] == {0.25}


def test_the_shortest_path_is_the_gradient_of_the_net_without_branches():
    net, bare = line(), line((0.0, 0.0, 0.0))
    for model in (net, bare):
        model.fc.weight.data = torch.tensor([[1.0], [0.0]])
        nn.init.zeros_(model.fc.bias)
    x, scale = positive(), math.prod(1 + factor for factor in FACTORS)  # the logits of `net` are those of `scale * x`
    x_bare = (scale * x).requires_grad_()
    nn.functional.cross_entropy(bare(x_bare), LABELS).backward()
    table = paths.path_gradients(net, x, LABELS, samples=1, lengths=[0])
    assert table["norm"].item() == pytest.approx(x_bare.grad.norm().item(), rel=1e-5)


def test_the_sum_over_the_paths_of_a_length_is_that_polynomial_of_the_factors():
    table = paths.gradient_by_length(line(), positive(), LABELS)
    # (1 + 0.5 t) (1 - 0.25 t) (1 + 2 t) = 1 + 2.25 t + 0.375 t^2 - 0.25 t^3, which is 3.375 at t = 1
    assert (table["norm"] / table["norm"][0]).to_list() == pytest.approx([1, 2.25, 0.375, 0.25], rel=1e-4)
    shares = [1 / 3.375, 2.25 / 3.375, 0.375 / 3.375, -0.25 / 3.375]
    assert table["share"].to_list() == pytest.approx(shares, rel=1e-4)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck, PreActivationBlock])
@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_the_sums_of_all_lengths_add_up_to_autograds_gradient(block, shortcut):
    torch.manual_seed(0)
    model = ResNet(block, (2, 1), widths=(4, 8), num_classes=3, stem="cifar", shortcut=shortcut)
    unsettle(model)
    x = torch.randn(2, 3, 8, 8)
    table = paths.gradient_by_length(model, x, LABELS)
    assert len(table) == 4
    assert table["share"].sum() == pytest.approx(1, abs=1e-3)
    singles = paths.path_gradients(model, x, LABELS, samples=1, lengths=[0, 3])
    assert singles["norm"].to_list() == pytest.approx(table["norm"].iloc[[0, 3]].to_list(), rel=1e-3)  # one path each


def test_taking_paths_apart_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    model = models.build("resnet8", 3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    paths.path_gradients(model, positive(3), LABELS, samples=1)
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_equal_seeds_draw_equal_paths_and_others_do_not():
    net = line()
    first, again, other = (
        paths.path_gradients(net, positive(), LABELS, samples=9, lengths=[1], seed=seed)["norm"] for seed in (0, 0, 1)
    )
    assert first.equals(again)
    assert not first.equals(other)


def test_a_net_without_shortcuts_has_no_paths():
    with pytest.raises(ValueError, match=r"layer1.0"):
        paths.gradient_by_length(models.build("plain8", 3), positive(3), LABELS)


def test_impossible_lengths_are_refused():
    with pytest.raises(ValueError, match="0 to 3"):
        paths.path_gradients(line(), positive(), LABELS, lengths=[4])


def test_the_carrying_lengths_are_the_shortest_run_that_is_enough():
    shares = [0.3, 0.05, 0.25, 0.4, 0.05, -0.05]
    assert paths.carrying_lengths(shares, 0.4) == (3, 3)
    assert paths.carrying_lengths(shares, 0.65) == (2, 3)
    assert paths.carrying_lengths(shares, 1) == (0, 3)
    with pytest.raises(ValueError, match="at most 1"):
        paths.carrying_lengths(shares, 1.2)


def test_blocks_change_places_with_their_weights():
    torch.manual_seed(0)
    model = models.build("resnet14", 3)
    unsettle(model)
    model.eval()
    order = [name for name, _ in model.blocks()]
    x = positive(3)
    assert torch.equal(paths.rearranged(model, order)(x), model(x))
    order[0], order[1] = order[1], order[0]
    with torch.no_grad():
        by_hand = model.relu(model.bn1(model.conv1(x)))
        by_hand = model.layer1[0](model.layer1[1](by_hand))
        by_hand = model.layer3(model.layer2(by_hand))
        torch.testing.assert_close(paths.rearranged(model, order)(x), model.fc(by_hand.mean((2, 3))))


def test_blocks_of_other_shapes_do_not_fit_and_none_may_be_missing():
    model = models.build("resnet14", 3)
    names = [name for name, _ in model.blocks()]
    with pytest.raises(ValueError, match="other shapes"):
        paths.rearranged(model, [names[2], names[1], names[0], *names[3:]])
    with pytest.raises(ValueError, match="once"):
        paths.rearranged(model, [names[0], *names[:-1]])

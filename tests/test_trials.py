"""Small comparisons of blocks."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from resnet_utils import blocks, counting, data, trials
from resnet_utils.training import Recipe, fit

RECIPE = Recipe(epochs=1, learning_rate=0.1, batch_size=32)


@pytest.fixture(scope="module")
def few() -> tuple[data.ImageSet, data.ImageSet]:
    train, test = data.load("digits")
    return train.take(torch.arange(64)), test.take(torch.arange(20))


@pytest.mark.parametrize("block", [blocks.BasicBlock, blocks.PreActivationBlock, partial(blocks.BasicBlock)])
def test_one_stage_has_identity_shortcuts_only_and_two_layers_in_a_block(block) -> None:
    net = trials.one_stage(block, 5)
    assert all(b.downsample is None and b.residual for _, b in net.blocks())
    assert counting.depth(net) == 12
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_one_stage_runs_at_half_the_height_and_width() -> None:
    sizes = []
    net = trials.one_stage(blocks.BasicBlock, 3, channels=4, in_channels=3)
    for _, block in net.blocks():
        block.register_forward_hook(lambda _m, _i, y: sizes.append(tuple(y.shape)))
    net(torch.zeros(2, 3, 8, 8))
    assert sizes == 3 * [(2, 4, 4, 4)]


def test_the_entrance_of_one_stage_keeps_the_size_of_a_normalised_image_without_normalisation() -> None:
    torch.manual_seed(0)
    for in_channels in (1, 3):
        net = trials.one_stage(blocks.BasicBlock, 1, channels=256, in_channels=in_channels, norm_layer=nn.Identity)
        inner = net.conv1(torch.randn(16, in_channels, 12, 12))[:, :, 1:-1, 1:-1]  # without the zeros at the border
        assert inner.var().item() == pytest.approx(1, abs=0.15)


def test_one_stage_of_bottlenecks_is_refused_with_what_to_choose() -> None:
    with pytest.raises(ValueError, match="4 times as many; choose BasicBlock"):
        trials.one_stage(blocks.Bottleneck, 3)


def test_a_comparison_trains_each_network_at_each_rate_with_each_seed(few) -> None:
    train, test = few
    networks = {
        "one": partial(trials.one_stage, blocks.BasicBlock, 1),
        "two": partial(trials.one_stage, blocks.BasicBlock, 2),
    }
    table = trials.compare(networks, train, RECIPE, test=test, seeds=(3, 4), rates=(0.1, 0.2))
    runs = list(table[["network", "rate", "seed"]].itertuples(index=False, name=None))
    assert runs == [(n, rate, seed) for n in ("one", "two") for rate in (0.1, 0.2) for seed in (3, 4)]
    assert table["train_loss"].nunique() == 8  # no two runs are the same
    assert not table["diverged"].any()


def test_a_run_of_a_comparison_is_the_training_that_one_would_do_by_hand(few) -> None:
    train, test = few
    make = partial(trials.one_stage, blocks.BasicBlock, 1)
    row = trials.compare({"net": make}, train, RECIPE, test=test, seeds=(7,)).iloc[0]
    torch.manual_seed(7)
    history = fit(make(), train, RECIPE, test=test, seed=7).iloc[-1]
    assert row["rate"] == 0.1
    for column in ("train_loss", "train_error", "test_error"):
        assert row[column] == history[column]


def test_a_run_that_diverges_stays_in_the_table_without_errors(few) -> None:
    train, test = few
    make = partial(trials.one_stage, blocks.PreActivationBlock, 4, norm_layer=nn.Identity)
    table = trials.compare({"net": make}, train, RECIPE, test=test, seeds=(0,), rates=(0.01, 1e9))
    assert table["diverged"].tolist() == [False, True]
    assert table["train_loss"].iloc[1] == math.inf
    assert table[["train_error", "test_error"]].iloc[1].isna().all()
    assert table[["train_error", "test_error"]].iloc[0].notna().all()


def test_a_comparison_without_seeds_says_what_to_give(few) -> None:
    train, test = few
    with pytest.raises(ValueError, match="seeds is empty; give at least one"):
        trials.compare({}, train, RECIPE, test=test, seeds=())

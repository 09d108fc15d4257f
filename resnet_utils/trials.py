"""Small comparisons of blocks: a deep network of one stage, and one training for several networks, rates and seeds."""

import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from torch import nn

from resnet_utils.blocks import Block, Norm
from resnet_utils.data import ImageSet
from resnet_utils.models import ResNet, block_class
from resnet_utils.training import Recipe, fit


def one_stage(
    block: Callable[..., Block],
    blocks: int,
    *,
    channels: int = 16,
    num_classes: int = 10,
    in_channels: int = 1,
    norm_layer: Norm = nn.BatchNorm2d,
) -> ResNet:
    """A network whose blocks all keep the shape, so that every shortcut is the identity: deep and cheap.

    Args:
        block: as for `ResNet`; with `expansion` 1, or the first block would have to change the number of channels.
        blocks: how many; with two convolutions in a block the depth is 2 * blocks + 2.
        channels: channels of every block, on H/2 x W/2 positions (a 3x3 convolution and a 2x2 max pooling go before).
        num_classes: length of the output, shape (N, num_classes).
        in_channels: channels of the images, shape (N, in_channels, H, W).
        norm_layer: makes the normalisation of a number of channels; `nn.Identity` leaves it out.

    Raises:
        ValueError: if the block widens its channels.
    """
    expansion = block_class(block).expansion
    if expansion != 1:
        raise ValueError(
            f"one stage of identity shortcuts needs a block that keeps its channels, not one with {expansion} times as "
            "many; choose BasicBlock, PreActivationBlock or a block made from them"
        )
    net = ResNet(
        block,
        (blocks,),
        widths=(channels,),
        num_classes=num_classes,
        in_channels=in_channels,
        stem="cifar",
        norm_layer=norm_layer,
    )
    net.maxpool = nn.MaxPool2d(kernel_size=2)  # a quarter of the cost, and no shortcut that changes the shape
    # The entrance keeps the size of a normalised image, also where no normalisation follows: variance 1 / fan-in.
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_in", nonlinearity="linear")
    return net


def compare(
    networks: Mapping[str, Callable[[], nn.Module]],
    train: ImageSet,
    recipe: Recipe,
    *,
    test: ImageSet,
    seeds: Sequence[int],
    rates: Sequence[float] = (),
) -> pd.DataFrame:
    """Train every network at every learning rate with every seed, each from its own fresh weights.

    Args:
        networks: what makes each of them, by the name that it has in the table.
        train: the images to learn from.
        recipe: for all of them.
        test: evaluated after the last epoch of each.
        seeds: of the weights, the order of the images and their augmentation.
        rates: peak learning rates that replace the recipe's; none: the recipe's alone.

    Returns:
        One row for each run: network, rate, seed, the last epoch's train_loss, train_error (%) and test_error (%), and
        diverged. A run that diverged has the loss infinity and no errors (NaN).

    Raises:
        ValueError: if there are no seeds.
    """
    if not seeds:
        raise ValueError("seeds is empty; give at least one, say seeds=(0, 1, 2)")
    kept = ["train_loss", "train_error", "test_error"]
    rows = []
    for name, make in networks.items():
        for rate in rates or (recipe.learning_rate,):
            for seed in seeds:
                torch.manual_seed(seed)
                row = {"network": name, "rate": rate, "seed": seed}
                try:
                    history = fit(make(), train, recipe.with_(learning_rate=rate), test=test, seed=seed)
                    row |= history.iloc[-1][kept].to_dict() | {"diverged": False}
                except FloatingPointError:
                    row |= dict(zip(kept, (math.inf, math.nan, math.nan), strict=True)) | {"diverged": True}
                rows.append(row)
    return pd.DataFrame(rows)

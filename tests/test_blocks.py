import copy
import math

import pytest
import torch
import torch.nn.functional as F
from helpers import unsettle
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from torchvision.models import resnet as torchvision_resnet

from resnet_utils.blocks import (
    BasicBlock,
    Bottleneck,
    PreActivationBlock,
    ZeroPadShortcut,
    conv1x1,
)

BLOCKS = (BasicBlock, Bottleneck, PreActivationBlock)
sizes = st.integers(min_value=1, max_value=9)


def projection(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(conv1x1(in_channels, channels, stride), nn.BatchNorm2d(channels))


# Option A


@given(sizes, sizes, sizes, sizes, st.integers(0, 5), st.integers(1, 3))
def test_zero_padding_equals_a_loop_over_every_number(n, channels, height, width, extra, stride):
    x = torch.randn(n, channels, height, width)
    expected = torch.zeros(n, channels + extra, math.ceil(height / stride), math.ceil(width / stride))
    for image in range(n):
        for channel in range(channels):
            for row in range(0, height, stride):
                for column in range(0, width, stride):
                    expected[image, channel, row // stride, column // stride] = x[image, channel, row, column]
    assert torch.equal(ZeroPadShortcut(channels, channels + extra, stride)(x), expected)


def test_zero_padding_has_no_parameters_and_nothing_to_save():
    assert not ZeroPadShortcut(16, 32, 2).state_dict()


def test_zero_padding_cannot_reduce_channels_and_names_the_option_that_can():
    with pytest.raises(ValueError, match=r"not reduce 32 to 16; use option B"):
        ZeroPadShortcut(32, 16, 2)


# Shapes


@pytest.mark.parametrize("block", BLOCKS)
@given(
    n=st.integers(1, 3),
    in_channels=st.integers(1, 6),
    channels=st.integers(1, 6),
    height=sizes,
    width=sizes,
    stride=st.integers(1, 2),
    residual=st.booleans(),
)
def test_a_block_divides_the_sides_by_its_stride_rounding_up(
    block, n, in_channels, channels, height, width, stride, residual
):
    out_channels = channels * block.expansion
    downsample = projection(in_channels, out_channels, stride) if residual else None
    module = block(in_channels, channels, stride, downsample, residual=residual).eval()
    out = module(torch.randn(n, in_channels, height, width))
    assert out.shape == (n, out_channels, math.ceil(height / stride), math.ceil(width / stride))


@pytest.mark.parametrize(("in_channels", "stride"), [(8, 2), (4, 1)], ids=["stride 2", "other channels"])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_residual_block_whose_shapes_differ_needs_a_downsample(block, in_channels, stride):
    channels = 8 // block.expansion
    with pytest.raises(
        ValueError, match=rf"from {in_channels} to 8 channels at stride {stride}.*pass a downsample.*residual=False"
    ):
        block(in_channels, channels, stride)
    block(in_channels, channels, stride, residual=False)  # the plain twin adds nothing, so nothing need fit


@pytest.mark.parametrize("block", BLOCKS)
def test_a_plain_block_has_the_layers_of_its_residual_twin(block):
    residual, plain = block(8, 8 // block.expansion), block(8, 8 // block.expansion, residual=False)
    plain.load_state_dict(residual.state_dict(), strict=True)
    residual.load_state_dict(plain.state_dict(), strict=True)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_residual_block_minus_its_plain_twin_is_the_input(block):
    residual = block(8, 8 // block.expansion).eval()
    unsettle(residual)
    plain = copy.deepcopy(residual)
    plain.residual = False
    residual.relu = plain.relu = nn.Identity()  # so that the ReLU after the addition does not hide the difference
    x = torch.randn(2, 8, 5, 5)
    assert_close(residual(x) - plain(x), x)


@pytest.mark.parametrize("block", BLOCKS)
def test_another_normalisation_takes_the_place_of_every_batch_normalisation(block):
    module = block(8, 8 // block.expansion, norm_layer=nn.Identity)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())
    assert module(torch.randn(2, 8, 5, 5)).shape == (2, 8, 5, 5)


# The original block (He et al. 2015)


@pytest.mark.parametrize(("in_channels", "stride"), [(16, 1), (8, 1), (8, 2)], ids=["identity", "wider", "stride 2"])
@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_block_equals_torchvisions_with_the_same_weights(name, in_channels, stride, training):
    torch.manual_seed(0)
    block = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[name]
    channels = 16 // block.expansion
    shortcut = None if (in_channels, stride) == (16, 1) else projection(in_channels, 16, stride)
    theirs = getattr(torchvision_resnet, name)(in_channels, channels, stride, copy.deepcopy(shortcut))
    unsettle(theirs)
    ours = block(in_channels, channels, stride, shortcut)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    outputs, gradients = [], []
    for module in (ours.train(training), theirs.train(training)):
        x = torch.randn(3, in_channels, 7, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out = module(x)
        out.square().mean().backward()
        outputs.append(out)
        gradients.append({"x": x.grad} | {n: p.grad for n, p in module.named_parameters()})
    assert_close(*outputs)
    assert_close(*gradients)
    assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))  # running statistics too


def test_a_basic_block_is_relu_of_two_convolutions_plus_its_input():
    torch.manual_seed(0)
    block = BasicBlock(4, 4)
    x = torch.randn(3, 4, 5, 5)
    out = F.conv2d(x, block.conv1.weight, padding=1)
    out = F.relu(F.batch_norm(out, None, None, training=True))
    out = F.conv2d(out, block.conv2.weight, padding=1)
    out = F.batch_norm(out, None, None, training=True)
    assert_close(block(x), F.relu(out + x))


def test_a_block_that_adds_nothing_is_relu_and_so_the_identity_only_for_positive_inputs():
    block = BasicBlock(4, 4)
    nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x.relu())
    assert not torch.equal(block(x), x)
    assert torch.equal(block(x.abs()), x.abs())


def test_a_bottleneck_strides_on_the_3x3_and_in_version_1_on_the_first_1x1():
    strides = {
        first: [
            conv.stride[0]
            for conv in Bottleneck(8, 4, 2, residual=False, stride_on_first=first).children()
            if isinstance(conv, nn.Conv2d)
        ]
        for first in (False, True)
    }
    assert strides == {False: [1, 2, 1], True: [2, 1, 1]}


# The pre-activation block (He et al. 2016)


def test_a_pre_activation_block_normalises_before_each_convolution_and_ends_with_the_sum():
    torch.manual_seed(0)
    block = PreActivationBlock(4, 4)
    x = torch.randn(3, 4, 5, 5)
    out = F.relu(F.batch_norm(x, None, None, training=True))
    out = F.conv2d(out, block.conv1.weight, padding=1)
    out = F.relu(F.batch_norm(out, None, None, training=True))
    out = F.conv2d(out, block.conv2.weight, padding=1)
    assert_close(block(x), out + x)


def test_a_pre_activation_block_with_zero_last_weights_passes_values_and_gradients_through_unchanged():
    block = PreActivationBlock(4, 4)
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(3, 4, 5, 5, requires_grad=True)
    arriving = torch.randn(3, 4, 5, 5)
    out = block(x)
    out.backward(arriving)
    assert torch.equal(out, x)
    assert torch.equal(x.grad, arriving)


# Dive into Deep Learning's block: convolutions with bias, no normalisation on the shortcut


@pytest.fixture(scope="module")
def d2l_residual() -> type[nn.Module]:
    from d2l import torch as d2l  # seconds to import: only when a test asks for it

    return d2l.Residual


def as_basic_block(theirs: nn.Module, in_channels: int, stride: int) -> BasicBlock:
    """Our block with the weights of a d2l `Residual`.

    The bias of a convolution only shifts what the batch normalisation after it subtracts, so ours has none and its
    running mean is smaller by that bias. The shortcut's normalisation is set to add the bias and do nothing else.
    """
    channels = theirs.conv1.out_channels
    ours = BasicBlock(in_channels, channels, stride, theirs.conv3 and projection(in_channels, channels, stride))
    with torch.no_grad():
        for conv, bn in (("conv1", "bn1"), ("conv2", "bn2")):
            ours.get_submodule(conv).weight.copy_(theirs.get_submodule(conv).weight)
            ours.get_submodule(bn).load_state_dict(theirs.get_submodule(bn).state_dict())
            ours.get_submodule(bn).running_mean -= theirs.get_submodule(conv).bias
        if theirs.conv3 is not None:
            ours.downsample[0].weight.copy_(theirs.conv3.weight)
            ours.downsample[1].weight.fill_(math.sqrt(1 + ours.downsample[1].eps))
            ours.downsample[1].bias.copy_(theirs.conv3.bias)
    return ours


@pytest.mark.parametrize(
    ("in_channels", "stride", "training"),
    [(8, 1, False), (8, 1, True), (4, 2, False)],
    ids=["identity in eval", "identity in train", "projection in eval"],
)
def test_d2ls_residual_and_our_block_agree(d2l_residual, in_channels, stride, training):
    torch.manual_seed(0)
    x = torch.randn(4, in_channels, 6, 6)
    theirs = d2l_residual(8, use_1x1conv=in_channels != 8, strides=stride)
    theirs(x)  # its layers take their sizes from the first input
    unsettle(theirs)
    ours = as_basic_block(theirs, in_channels, stride)
    assert_close(ours.train(training)(x), theirs.train(training)(x), rtol=0, atol=1e-5)
    assert_close(ours.bn2.running_mean, theirs.bn2.running_mean - theirs.conv2.bias, rtol=0, atol=1e-5)


def test_a_printed_block_tells_a_plain_twin_from_a_residual_block():
    assert "residual=True" in repr(BasicBlock(4, 4))
    assert "residual=False" in repr(BasicBlock(4, 4, residual=False))

"""What the quizzes say of numbers, shapes and code is true: each right choice is right, and the others are not.

The numbers with a thousands separator or a decimal point are registered in tests/notebooks/literals.py, too.
"""

import math
import re

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_utils import blocks, counting, models, quizzes


def right(chapter: int, number: int) -> str:
    """What the right choice of a question says."""
    return next(choice.says for choice in quizzes.questions(chapter)[number - 1].choices if choice.is_right)


def choices(chapter: int, number: int) -> list[str]:
    return [choice.says for choice in quizzes.questions(chapter)[number - 1].choices]


def on_meta(name: str, **options) -> nn.Module:
    with torch.device("meta"):
        return models.build(name, **options)


def billions(model: nn.Module, side: int = 224) -> float:
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops() / 2e9


def test_chapter_1_only_twice_the_variance_keeps_a_relu_stack_level():
    torch.manual_seed(0)
    level = {}
    for says, factor in zip(choices(1, 1), (2, 0.5, 4, 1), strict=True):
        signal = torch.randn(64, 400)
        for _ in range(15):
            signal = torch.randn(400, 400).mul(math.sqrt(factor / 400)) @ signal.T.relu()
            signal = signal.T
        level[says] = 0.3 < signal.square().mean().item() < 3
    assert [says for says, is_level in level.items() if is_level] == [right(1, 1)]


def test_chapter_1_batch_normalisation_and_relu_multiply_the_square_of_the_gradient_by_a_factor_above_1():
    u = torch.randn(1_000_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    growth = 0.5 / u.relu().var().item()  # (1.11): the mean square of the slope over the variance of the output
    assert growth == pytest.approx(math.pi / (math.pi - 1), rel=0.01)
    assert right(1, 3).startswith("It grows, and no other scale")


def test_chapter_2_an_inserted_identity_is_lost_in_training_mode_without_a_step():
    torch.manual_seed(0)
    block = blocks.BasicBlock(4, 4, residual=False)
    for conv, bn in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
        nn.init.dirac_(conv.weight)
        nn.init.constant_(bn.weight, math.sqrt(1 + bn.eps))
    x = torch.randn(16, 4, 6, 6).relu()
    torch.testing.assert_close(block.eval()(x), x)
    assert (block.train()(x) == 0).float().mean() > (x == 0).float().mean() + 0.1  # ReLU cuts more than before
    assert right(2, 1) == "BN now subtracts the mean of the batch, and ReLU cuts what is below."


def test_chapter_3_a_block_with_gamma_zero_returns_relu_of_its_input():
    torch.manual_seed(0)
    block = blocks.BasicBlock(4, 4)
    nn.init.zeros_(block.bn2.weight)
    x = 3 * torch.randn(8, 4, 5, 5) + 1  # a mean other than zero, and numbers above 1
    assert torch.equal(block(x), x.relu())
    assert torch.equal(block(x.abs()), x.abs())
    assert right(3, 1) == "For an input with negative numbers."


def test_chapter_3_the_two_parts_of_a_gradient_can_cancel():
    x = torch.randn(4, requires_grad=True)
    branch = -x
    assert torch.equal(torch.autograd.grad((branch + x).sum(), x)[0], torch.zeros(4))
    assert right(3, 3) == "No: the two parts of the gradient can cancel."


def test_chapter_4_a_projection_from_128_to_256_channels_has_33280_parameters():
    projection = nn.Sequential(nn.Conv2d(128, 256, 1, stride=2, bias=False), nn.BatchNorm2d(256))
    wrong = [projection[0], nn.Conv2d(128, 256, 1, stride=2), nn.Conv2d(128, 256, 2, stride=2, bias=False)]
    assert right(4, 1) == f"{counting.parameters(projection):,}" == "33,280"
    counts = {f"{counting.parameters(module):,}" for module in wrong}
    assert counts == {"32,768", "33,024", "131,072"} == set(choices(4, 1)) - {right(4, 1)}


def test_chapter_4_blocks_of_the_networks_that_it_compares():
    assert len(on_meta("resnet34").blocks()) == 16
    assert len(on_meta("resnet20").blocks()) == 9
    assert len(on_meta("resnet110").blocks()) == 54


def test_chapter_5_weights_of_a_bottleneck_at_256_channels():
    assert right(5, 1) == f"{counting.bottleneck_weights(256):,}" == "69,632"
    assert choices(5, 1)[0] == f"{counting.basic_weights(256):,}"


def test_chapter_5_memory_for_activations_falls_least():
    def kept(block: nn.Module, channels: int) -> int:
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            block(torch.randn(2, channels, 8, 8))
        maps = {t.data_ptr(): t.numel() for t in saved if t.shape[2:] == (8, 8)}
        return sum(maps.values()) // (2 * 8 * 8)

    assert kept(blocks.BasicBlock(64, 64), 64) == 5 * 64
    assert kept(blocks.Bottleneck(64, 16), 64) == 4 * 64
    assert counting.basic_weights(64) == 18 * 64**2
    assert counting.bottleneck_weights(64) * 16 == 17 * 64**2
    assert right(5, 3) == "The memory for activations."


def test_chapter_6_of_the_four_checks_only_the_multiply_adds_find_the_pooling_without_its_stride():
    usual, faulty = on_meta("resnet34"), on_meta("resnet34")
    faulty.maxpool = nn.MaxPool2d(3, 1, 1)
    x = torch.empty(1, 3, 224, 224, device="meta")
    found = {
        "multiply-adds": billions(usual) != billions(faulty),
        "parameters": counting.parameters(usual) != counting.parameters(faulty),
        "public weights": usual.state_dict().keys() != faulty.state_dict().keys(),
        "logits": usual(x).shape != faulty(x).shape,
    }
    for says, (check, finds) in zip(choices(6, 1), found.items(), strict=True):
        assert check in says
        assert finds == (says == right(6, 1))
    assert f"{billions(faulty):.2f}" == "14.30"


def test_chapter_6_heads_of_vgg_and_resnet():
    with torch.device("meta"):
        vgg = torchvision.models.vgg16()
    convolutions, whole = counting.parameters(vgg.features), counting.parameters(vgg)
    resnet34 = counting.parameters(on_meta("resnet34"))
    head = 512 * 1000 + 1000
    assert convolutions + head < resnet34 < whole
    assert resnet34 - head > convolutions
    both = whole - (convolutions + head)
    assert whole - (convolutions + 512 * 7 * 7 * 1000 + 1000) > both / 2  # one layer alone
    assert whole - (convolutions + (512 * 4096 + 4096) + (4096**2 + 4096) + (4096 * 1000 + 1000)) > both / 2  # pooling
    assert right(6, 2).startswith("Half true")


def test_chapter_6_sides_of_the_maps_for_an_image_of_32():
    net = on_meta("resnet18").eval()
    stem = net.conv1(torch.empty(1, 3, 32, 32, device="meta"))
    last = net.layer4(net.layer3(net.layer2(net.layer1(net.maxpool(stem)))))
    assert stem.shape[-2:] == (16, 16)
    assert last.shape[1:] == (512, 1, 1)


def test_chapter_7_only_the_running_statistics_of_a_frozen_body_move():
    torch.manual_seed(0)
    body, head = models.build("resnet8", num_classes=4), nn.Linear(4, 2)
    body.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1, weight_decay=0.1)
    head(body.train()(torch.randn(8, 3, 16, 16))).sum().backward()
    optimizer.step()
    changed = {
        name.split(".")[-1] for name, tensor in body.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    assert right(7, 1) == "The running means and variances of BN."


def test_chapter_7_the_two_versions_hold_equal_names_and_shapes_and_other_strides():
    nets = [on_meta(name) for name in ("resnet50", "resnet50-v1")]
    shapes = [{name: tensor.shape for name, tensor in net.state_dict().items()} for net in nets]
    assert shapes[0] == shapes[1]
    assert any("running_mean" in name for name in shapes[0])
    strides = [(net.layer2[0].conv1.stride[0], net.layer2[0].conv2.stride[0]) for net in nets]
    assert strides == [(1, 2), (2, 1)]


def test_chapter_8_gradients_that_nobody_clears_add_up():
    w, total = torch.tensor([1.0, -2.0], requires_grad=True), torch.zeros(2)
    optimizer = torch.optim.SGD([w], lr=0.1)
    for batch in torch.tensor([[1.0, 2.0], [3.0, 5.0], [-4.0, 1.0]]):
        total += 2 * (w.detach() - batch)
        (w - batch).square().sum().backward()
        before = w.detach().clone()
        optimizer.step()
    torch.testing.assert_close(before - w.detach(), 0.1 * total)
    assert right(8, 1) == "The sum over the three batches."


def test_chapter_10_one_expression_keeps_the_value_and_sends_the_gradient_along_the_shortcut():
    x = torch.tensor([1.0, 2.0, -3.0], requires_grad=True)
    meets = []
    for says in choices(10, 1):
        value = eval(re.search(r"`([^`]+)`", says)[1], {"x": x, "F": torch.exp})
        reaches = value.requires_grad and torch.autograd.grad(value.sum(), x)[0]
        if torch.equal(value, x + x.exp()) and torch.equal(torch.as_tensor(reaches), torch.ones(3)):
            meets.append(says)
    assert meets == [right(10, 1)] == ["`x + F(x).detach()`"]


def test_chapter_10_paths_by_length():
    assert len(on_meta("resnet56").blocks()) == 27
    counts = [math.comb(27, k) for k in range(28)]
    assert [k for k, count in enumerate(counts) if count == max(counts)] == [13, 14]
    assert counts == counts[::-1]


def test_chapter_11_a_pre_activation_network_ends_with_its_own_bn_and_relu():
    order, net = [], models.build("preact8")
    for name in ("layer3", "bn1", "relu", "avgpool"):
        net.get_submodule(name).register_forward_hook(lambda *_, name=name: order.append(name))
    net(torch.randn(2, 3, 8, 8))
    assert order == ["layer3", "bn1", "relu", "avgpool"]
    assert right(11, 1) == "A BN and a ReLU before the pooling."


def test_chapter_11_torchvision_offers_two_accuracies_of_one_network():
    old, new = (torchvision.models.ResNet50_Weights[f"IMAGENET1K_V{version}"].meta for version in (1, 2))
    assert old["num_params"] == new["num_params"]
    assert new["_metrics"]["ImageNet-1K"]["acc@1"] - old["_metrics"]["ImageNet-1K"]["acc@1"] > 3


def test_chapter_12_linear_scaling_from_256_to_1024_images():
    images = 2 * 8 * 64
    assert images == 1024
    assert float(right(12, 1)) == pytest.approx(0.1 * images / 256)
    assert list(map(float, choices(12, 1))) == pytest.approx([0.1 * 64 / 256, 0.1, 0.4, 0.1 * 2 * 8])

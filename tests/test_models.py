import copy
import functools
import pickle
import re

import pytest
import torch
import torch.nn.functional as F
import torchvision
from helpers import unsettle
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from resnet_utils import counting, models
from resnet_utils.blocks import BasicBlock, Block, Bottleneck, PreActivationBlock

TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
IMAGENET = (*TORCHVISION, "resnet50-v1", "plain18", "plain34")
DEPTHS = (8, 14, 20, 26, 32, 38, 44, 56, 62, 68, 74, 80, 86, 92, 98, 104, 110)  # 6n+2 without ImageNet's 50
CIFAR = tuple(f"{family}{depth}" for family in ("resnet", "plain", "preact") for depth in DEPTHS)
NAMES = (*IMAGENET, "resnet18-cifar", *CIFAR)
FAMILIES = ("resnet18", "resnet50", "resnet20", "plain20", "preact20", "resnet18-cifar")  # one name of each


@functools.cache
def skeleton(name: str, shortcut: str | None = None) -> nn.Module:
    """A network without memory for its weights: enough to count and compare shapes."""
    with torch.device("meta"):
        return models.build(name, shortcut=shortcut)


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def photographs(n: int = 2, size: int = 33, seed: int = 0) -> Tensor:
    """Noise in the shape of photographs; at 33 pixels the last ImageNet stage still has 2 x 2."""
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_names_are_those_of_the_books_design():
    assert models.names() == list(NAMES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("plain56", ("plain", 56)), ("resnet18-cifar", ("resnet", 18)), ("preact110", ("preact", 110)), ("?", ("", 0))],
)
def test_a_name_splits_into_family_and_depth(name, expected):
    assert models.split_name(name) == expected


# Against torchvision


@pytest.fixture(scope="module", params=TORCHVISION)
def pair(request) -> tuple[nn.Module, nn.Module]:
    """Our network and torchvision's, with torchvision's weights in both."""
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(request.param, weights=None)
    unsettle(theirs)
    ours = models.build(request.param)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def run(model: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs, and the gradients of all parameters of a loss that depends on every output."""
    model.zero_grad()
    logits = model(x)
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).mean().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters()}


def test_weights_exchange_with_torchvision_in_both_directions(pair):
    ours, theirs = pair
    assert shapes(ours) == shapes(theirs)
    theirs.load_state_dict(ours.state_dict(), strict=True)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_outputs_gradients_and_running_statistics_equal_torchvisions(pair, training):
    (ours, our_gradients), (theirs, their_gradients) = (run(m.train(training), photographs()) for m in pair)
    assert ours.isfinite().all()
    assert ours.std() > 0
    assert_close(ours, theirs)
    assert_close(our_gradients, their_gradients)
    assert_close(*(dict(m.named_buffers()) for m in pair))


# Parameters


@pytest.mark.parametrize(
    ("name", "shortcut", "expected"),
    [
        # torchvision's published num_params
        ("resnet18", None, 11_689_512),
        ("resnet34", None, 21_797_672),
        ("resnet50", None, 25_557_032),
        ("resnet101", None, 44_549_160),
        ("resnet152", None, 60_192_808),
        ("resnet50-v1", None, 25_557_032),
        # Without the projections' convolutions and normalisations, which are 64·128 + 128·256 + 256·512 weights and
        # twice 128 + 256 + 512: 172,032 + 1,792 = 173,824 fewer
        ("plain18", None, 11_515_688),
        ("plain34", None, 21_623_848),
        # kuangliu/pytorch-cifar's ResNet18
        ("resnet18-cifar", None, 11_173_962),
        # By hand. A: 3·16·9 + 6·16²·9 + 16·32·9 + 5·32²·9 + 32·64·9 + 5·64²·9 convolution weights,
        # 2·(7·16 + 6·32 + 6·64) for the normalisations and 64·10 + 10 at the end
        ("resnet20", "A", 269_722),
        ("resnet20", None, 269_722),
        ("plain20", None, 269_722),
        # The normalisation in front of the 16 -> 32 and 32 -> 64 blocks has 16 and 32 channels, the last one 64:
        # in all the same number as behind the stem and the convolutions
        ("preact20", None, 269_722),
        # B: two projections with normalisation, 16·32 + 2·32 and 32·64 + 2·64, are 2,752 more
        ("resnet20", "B", 272_474),
        # C: all blocks' shortcuts, 3·(16² + 32) + (16·32 + 64) + 2·(32² + 64) + (32·64 + 128) + 2·(64² + 128),
        # are 14,240 more than A
        ("resnet20", "C", 283_962),
    ],
)
def test_parameter_counts_are_the_published_ones(name, shortcut, expected):
    assert counting.parameters(skeleton(name, shortcut)) == expected


@pytest.mark.parametrize("name", CIFAR)
def test_a_cifar_net_has_97216n_minus_21926_parameters(name):
    # The sums above for n blocks in a stage: convolutions 432 + 4,608 n + (18,432 n - 4,608) + (73,728 n - 18,432),
    # normalisations 32 + 448 n, linear layer 650
    n = (int(re.search(r"\d+", name)[0]) - 2) // 6
    assert counting.parameters(skeleton(name)) == 97_216 * n - 21_926


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7), (1202, 19.4)]
)
def test_cifar_nets_have_the_parameters_that_the_paper_prints(depth, millions):
    digits = 1 if millions > 1 else 2  # He et al. 2015, table 6
    assert round(counting.parameters(skeleton(f"resnet{depth}")) / 1e6, digits) == millions


# Twins


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("plain")])
def test_a_plain_net_and_its_option_a_twin_exchange_weights_and_have_equal_counts(name):
    plain, residual = skeleton(name), skeleton(name.replace("plain", "resnet"), "A")
    assert counting.parameters(plain) == counting.parameters(residual)
    plain.load_state_dict(residual.state_dict(), strict=True, assign=True)
    residual.load_state_dict(plain.state_dict(), strict=True, assign=True)


@pytest.mark.parametrize("depth", [18, 34])
def test_a_plain_imagenet_net_is_smaller_than_its_option_b_twin_and_refuses_its_weights(depth):
    plain, residual = skeleton(f"plain{depth}"), skeleton(f"resnet{depth}")
    assert counting.parameters(plain) < counting.parameters(residual)
    with pytest.raises(RuntimeError, match=r"layer2\.0\.downsample"):
        plain.load_state_dict(residual.state_dict(), strict=True, assign=True)


def test_twins_with_equal_weights_differ_by_the_additions():
    plain, residual = models.build("plain20").eval(), models.build("resnet20").eval()
    plain.load_state_dict(residual.state_dict(), strict=True)
    x = photographs(size=16)
    assert not torch.allclose(plain(x), residual(x))
    for _, block in residual.blocks():
        block.residual = False
    assert_close(plain(x), residual(x))


def test_version_1_of_resnet50_has_the_same_weights_and_other_outputs():
    torch.manual_seed(0)
    new, old = models.build("resnet50").eval(), models.build("resnet50-v1").eval()
    assert shapes(new) == shapes(old)
    old.load_state_dict(new.state_dict(), strict=True)
    x = photographs()
    assert not torch.allclose(new(x), old(x), rtol=0.01)


# Behaviour of every network


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    model = models.build(name)
    x = photographs() if name in IMAGENET else photographs(n=4, size=8)
    logits = model(x)
    assert logits.shape == (len(x), 1000 if name in IMAGENET else 10)
    F.cross_entropy(logits, torch.arange(len(x))).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_number_in_a_name_is_its_depth(name):
    assert counting.depth(skeleton(name)) == int(re.search(r"\d+", name)[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name):
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(models.build(name).state_dict())
    first, same, other = weights
    assert all(torch.equal(first[k], same[k]) for k in first)
    assert not any(torch.equal(first[k], other[k]) for k in first if k.endswith(("conv1.weight", "fc.weight")))


@pytest.mark.parametrize("name", FAMILIES)
def test_convolutions_start_with_he_initialisation(name):
    torch.manual_seed(0)
    for module in models.build(name).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 9000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.04)


@pytest.mark.parametrize("name", [*FAMILIES, "resnet50-v1"])
def test_pickled_and_deep_copies_compute_the_same_and_share_nothing(name):
    model = models.build(name).eval()
    x = photographs()
    expected = model(x)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(twin(x), expected)
        with torch.no_grad():
            for p in twin.parameters():
                p.zero_()
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_exported_network_computes_the_same_for_every_batch_size(name):
    model = models.build(name, num_classes=10).eval()
    batch = torch.export.Dim("batch", max=1024)
    exported = torch.export.export(model, (photographs(),), dynamic_shapes=({0: batch},)).module()
    x = photographs(n=5, seed=1)
    assert_close(exported(x), model(x))


def test_a_network_computes_the_same_in_channels_last_format():
    model = models.build("resnet20").eval()
    x = photographs(size=16)
    expected = model(x)
    actual = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert_close(actual, expected, rtol=1e-4, atol=1e-5)


# Shapes


@pytest.mark.parametrize("name", ["resnet18", "resnet18-cifar", "resnet8", "plain8", "preact8"])
@settings(max_examples=8)
@given(
    n=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=st.integers(1, 37),
    width=st.integers(1, 37),
    classes=st.integers(1, 12),
)
def test_any_batch_channels_size_and_classes_fit(name, n, channels, height, width, classes):
    model = models.build(name, classes, channels).eval()
    with torch.no_grad():
        logits = model(torch.randn(n, channels, height, width))
    assert logits.shape == (n, classes)
    assert logits.isfinite().all()


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
@pytest.mark.parametrize("family", ["resnet", "preact"])
@given(size=st.integers(1, 21))
def test_every_shortcut_option_fits_odd_sizes(family, shortcut, size):
    model = models.build(f"{family}8", shortcut=shortcut).eval()
    assert model(photographs(size=size)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet18", [16, 8, 4, 2]), ("resnet18-cifar", [64, 32, 16, 8]), ("resnet8", [64, 32, 16])],
)
def test_each_stage_but_the_first_halves_the_image_and_the_imagenet_stem_quarters_it(name, expected):
    model = models.build(name).eval()
    sides = []
    for stage in model.stages:
        model.get_submodule(stage).register_forward_hook(lambda _m, _x, out: sides.append(out.shape[-1]))
    model(photographs(n=1, size=64))
    assert sides == expected


def test_blocks_come_in_order_with_their_names():
    blocks = models.build("resnet14").blocks()
    assert [name for name, _ in blocks] == [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in (0, 1)]
    assert all(isinstance(block, BasicBlock) for _, block in blocks)


@pytest.mark.parametrize(
    ("shortcut", "kinds"),
    [
        ("A", ["NoneType", "NoneType", "ZeroPadShortcut", "NoneType", "ZeroPadShortcut", "NoneType"]),
        ("B", ["NoneType", "NoneType", "Sequential", "NoneType", "Sequential", "NoneType"]),
        ("C", ["Sequential"] * 6),
    ],
)
def test_options_put_projections_where_the_paper_does(shortcut, kinds):
    blocks = skeleton("resnet14", shortcut).blocks()
    assert [type(block.downsample).__name__ for _, block in blocks] == kinds


def test_a_network_without_normalisation_can_be_built():
    model = models.ResNet(BasicBlock, (1, 1), widths=(8, 16), stem="cifar", shortcut="B", norm_layer=nn.Identity)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert model(photographs(size=8)).shape == (2, 1000)


# Pre-activation


def test_a_pre_activation_stage_with_zero_last_convolutions_is_the_identity():
    model = models.build("preact20")
    for _, block in model.blocks():
        nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(model.layer1(x), x)
    narrow = model.layer2(x)  # the first block halves and pads, the other two change nothing
    assert torch.equal(narrow, F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 16)))


def test_the_last_sum_of_a_pre_activation_net_is_normalised_and_rectified_before_the_pooling():
    torch.manual_seed(0)
    model = models.build("preact20").eval()
    unsettle(model)
    seen = {}
    model.layer3.register_forward_hook(lambda _m, _x, out: seen.update(last_sum=out))
    model.avgpool.register_forward_pre_hook(lambda _m, x: seen.update(pooled=x[0]))
    model(photographs(size=16))
    bn = model.bn1
    expected = F.batch_norm(seen["last_sum"], bn.running_mean, bn.running_var, bn.weight, bn.bias).relu()
    assert_close(seen["pooled"], expected)
    assert seen["last_sum"].min() < 0


def test_a_pre_activation_stem_is_the_convolution_alone():
    model = models.build("preact8").eval()
    seen = {}
    model.layer1.register_forward_pre_hook(lambda _m, x: seen.update(x=x[0]))
    x = photographs(size=8)
    model(x)
    assert torch.equal(seen["x"], model.conv1(x))


# Errors


@pytest.mark.parametrize(
    "name",
    [
        *("", "resnet", "resnet2", "resnet7", "resnet19", "resnet020", "resnet20000", "resnet٢٠"),
        *("ResNet20", "resnet-20", "resnet20 ", "resnet20x", "resnet20-cifar", "resnet18-v1", "plain18-v1", "vgg16"),
        *("plain7", "plain50", "plain152", "preact18", "preact50", "preact152"),
    ],
)
def test_an_unknown_name_is_refused_with_the_valid_ones(name):
    with pytest.raises(ValueError, match=r"unknown model .* choose") as caught:
        models.build(name)
    message = str(caught.value)
    assert repr(name) in message
    for valid in (*IMAGENET, "resnet18-cifar", "plain", "preact"):
        assert repr(valid) in message
    assert "6n+2" in message


def test_a_deeper_cifar_net_than_those_listed_can_be_built():
    assert len(skeleton("plain116").blocks()) == 57  # (116 - 2) / 2 layers a block


@pytest.mark.parametrize("shortcut", ["D", "a", "", "zero"])
def test_an_unknown_shortcut_is_refused_with_the_valid_ones(shortcut):
    with pytest.raises(ValueError, match=rf"unknown shortcut '{shortcut}'; choose one of 'A', 'B', 'C'"):
        models.build("resnet20", shortcut=shortcut)


def test_an_unknown_stem_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"unknown stem 'mnist'; choose one of 'imagenet', 'cifar'"):
        models.ResNet(BasicBlock, (1,), widths=(8,), stem="mnist")


@pytest.mark.parametrize("layers", [(), (1, 1), (1, 1, 1, 1), (1, 0, 1), (1, -1, 1)])
def test_stages_without_blocks_or_widths_are_refused(layers):
    with pytest.raises(ValueError, match=r"layers .* and widths \(8, 16, 32\) must be as many, each layer count >= 1"):
        models.ResNet(BasicBlock, layers, widths=(8, 16, 32))


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"in_channels": 0}, {"num_classes": -1}])
@pytest.mark.parametrize("name", ["resnet18", "resnet8", "resnet18-cifar"])
def test_fewer_than_one_class_or_channel_is_refused(name, options):
    with pytest.raises(ValueError, match=r"num_classes and in_channels must be at least 1"):
        models.build(name, **options)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck, PreActivationBlock])
def test_narrowing_stages_cannot_pad_with_zeros_and_say_what_can(block: type[Block]):
    with pytest.raises(ValueError, match=r"use option B"):
        models.ResNet(block, (1, 1), widths=(32, 4), shortcut="A")


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 32, 32, 3), (2, 3, 32), (1, 2, 3, 32, 32)])
@pytest.mark.parametrize("name", FAMILIES)
def test_an_input_of_a_wrong_shape_is_refused_with_the_expected_one(name, shape):
    with pytest.raises(ValueError, match=re.escape(f"expected images of shape (N, 3, H, W), got {shape}")):
        skeleton(name)(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("name", FAMILIES)
def test_an_input_that_is_not_floating_point_is_refused_with_advice(name, dtype):
    with pytest.raises(ValueError, match=rf"expected floating-point images, got {dtype}; data.Batches"):
        skeleton(name)(torch.zeros(2, 3, 32, 32, dtype=dtype))

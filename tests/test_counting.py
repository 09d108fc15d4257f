import copy
import functools

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from resnet_utils import counting, models
from resnet_utils.blocks import BasicBlock, Bottleneck

FOUR_STAGES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50-v1", "plain18", "plain34")
FOUR_STAGES += ("resnet18-cifar",)
CIFAR = [name for name in models.names() if name not in FOUR_STAGES]
OFF_BY_ONE = (4, 5, 7, 4)  # ResNet-34 has (3, 4, 6, 3); `range(1, n + 1)` after a first block makes one more of each


@functools.cache
def network(name: str) -> models.ResNet:
    return models.build(name)


@functools.cache
def measured(name: str) -> int:
    """Multiply-adds for a CIFAR image, counted by PyTorch."""
    return counting.multiply_adds(network(name), (3, 32, 32))


def giga_at_224(model: models.ResNet, at_32: int) -> float:
    """What an ImageNet net costs at 224, in 1e9, from its count at 32, which is quicker.

    224 is 7 · 32, so each map has 7 · 7 times as many pixels, and the convolutions cost as many times as much.
    """
    linear = model.fc.in_features * model.fc.out_features
    return (49 * (at_32 - linear) + linear) / 1e9


# By formula


def test_a_bottleneck_at_256_channels_has_69632_weights():
    # 1·1·256·64 + 3·3·64·64 + 1·1·64·256 = 16,384 + 36,864 + 16,384
    assert counting.bottleneck_weights(256) == 69_632
    assert counting.conv_weights(1, 256, 64) == counting.conv_weights(1, 64, 256) == 16_384
    assert counting.conv_weights(3, 64, 64) == 36_864


def test_two_3x3_convolutions_at_256_channels_have_1179648_weights_about_17_times_as_many():
    assert counting.basic_weights(256) == 1_179_648  # 2 · 9 · 256²
    assert counting.basic_weights(256) / counting.bottleneck_weights(256) == pytest.approx(16.94, abs=0.005)


def test_a_basic_block_at_64_channels_has_73728_weights():
    assert counting.basic_weights(64) == 73_728  # 2 · 9 · 64²


@pytest.mark.parametrize(
    ("formula", "module"),
    [
        (counting.basic_weights(256), lambda: BasicBlock(256, 256)),
        (counting.bottleneck_weights(256), lambda: Bottleneck(256, 64)),
        (counting.basic_weights(64), lambda: BasicBlock(64, 64)),
    ],
)
def test_the_formulas_count_the_convolutions_of_the_blocks(formula, module):
    assert counting.parameters_by_kind(module())["convolution"] == formula


@pytest.mark.parametrize(
    ("squeeze", "kernel", "expected"),
    [
        (1, 3, 8 * 8 + 9 * 8 * 8 + 8 * 8),
        (2, 3, 8 * 4 + 9 * 4 * 4 + 4 * 8),
        (4, 5, 8 * 2 + 25 * 2 * 2 + 2 * 8),
        (8, 1, 8 + 1 + 8),
    ],
)
def test_a_bottleneck_at_8_channels_by_hand(squeeze, kernel, expected):
    assert counting.bottleneck_weights(8, squeeze=squeeze, kernel=kernel) == expected


@given(
    kernel=st.integers(1, 5),
    groups=st.integers(1, 3),
    inside=st.integers(1, 4),
    outside=st.integers(1, 4),
    bias=st.booleans(),
)
def test_the_formula_of_a_convolution_is_what_pytorch_allocates(kernel, groups, inside, outside, bias):
    conv = nn.Conv2d(groups * inside, groups * outside, kernel, groups=groups, bias=bias)
    expected = sum(p.numel() for p in conv.parameters())
    assert counting.conv_weights(kernel, groups * inside, groups * outside, groups=groups, bias=bias) == expected


def test_three_3x3_see_what_a_7x7_sees_with_27_instead_of_49_weights_for_each_pair_of_channels():
    assert counting.receptive_field([(3, 1)] * 3) == counting.receptive_field([(7, 1)]) == 7
    assert 3 * counting.conv_weights(3, 10, 10) == 27 * 100
    assert counting.conv_weights(7, 10, 10) == 49 * 100


# From a model


@pytest.mark.parametrize(
    ("name", "parameters", "giga_multiply_adds"),
    [  # num_params and _ops in torchvision's weights' meta, version 0.29
        ("resnet18", 11_689_512, 1.814),
        ("resnet34", 21_797_672, 3.664),
        ("resnet50", 25_557_032, 4.089),
        ("resnet101", 44_549_160, 7.801),
        ("resnet152", 60_192_808, 11.514),
    ],
)
def test_counts_equal_those_that_torchvision_publishes(name, parameters, giga_multiply_adds):
    published = torchvision.models.get_model_weights(name).DEFAULT.meta  # a table in the package: nothing is fetched
    model = network(name)
    assert counting.parameters(model) == published["num_params"] == parameters
    assert round(giga_at_224(model, measured(name)), 3) == published["_ops"] == giga_multiply_adds


def test_version_1_of_resnet50_costs_less_because_its_first_1x1_strides():
    # CONTENT: 3.86 G against 4.09 G; He et al. 2015, table 1, print 3.8
    assert round(counting.multiply_adds(network("resnet50-v1"), (3, 224, 224)) / 1e9, 2) == 3.86
    assert round(counting.multiply_adds(network("resnet50"), (3, 224, 224)) / 1e9, 2) == 4.09


@pytest.mark.parametrize("name", CIFAR)
def test_a_cifar_net_costs_14155776n_minus_1916288_multiply_adds(name):
    # By hand for n blocks in a stage, output sides 32, 16 and 8: stem 432 · 32², stages 4,608 n · 32²,
    # (18,432 n - 4,608) · 16² and (73,728 n - 18,432) · 8², linear layer 640
    n = (models.split_name(name)[1] - 2) // 6
    assert measured(name) == 14_155_776 * n - 1_916_288


@pytest.mark.parametrize("name", models.names())
def test_the_stages_by_formula_agree_with_the_counters_on_the_model(name):
    model = network(name)
    table, kinds = counting.stage_table(model, (3, 32, 32)), counting.parameters_by_kind(model)
    assert table["multiply_adds"].sum() == measured(name)
    assert table["weights"].sum() == kinds["convolution"] + kinds["linear"]
    assert kinds.sum() == counting.parameters(model)
    assert table["layers"].sum() == counting.depth(model) == models.split_name(name)[1]
    assert table["share"].sum() == pytest.approx(1)
    assert list(table["stage"]) == ["conv1", *model.stages, "fc"]


def test_the_stages_of_resnet18_by_hand():
    table = counting.stage_table(network("resnet18"), (3, 224, 224)).set_index("stage")
    assert table["output"].to_dict() == {  # He et al. 2015, table 1
        "conv1": "64 x 112 x 112",
        "layer1": "64 x 56 x 56",
        "layer2": "128 x 28 x 28",
        "layer3": "256 x 14 x 14",
        "layer4": "512 x 7 x 7",
        "fc": "1000 x 1 x 1",
    }
    assert table["layers"].to_list() == [1, 4, 4, 4, 4, 1]
    assert table["weights"].to_dict() == {
        "conv1": 9_408,  # 7·7·3·64
        "layer1": 147_456,  # 4 · 9·64²
        "layer2": 524_288,  # 9·64·128 + 3 · 9·128², and the projection's 64·128
        "layer3": 2_097_152,  # the same with twice the channels: four times
        "layer4": 8_388_608,
        "fc": 512_000,
    }
    assert table["multiply_adds"].to_dict() == {
        "conv1": 118_013_952,  # 9,408 · 112²
        "layer1": 462_422_016,  # 147,456 · 56²
        "layer2": 411_041_792,  # 524,288 · 28²
        "layer3": 411_041_792,  # 2,097,152 · 14²
        "layer4": 411_041_792,  # 8,388,608 · 7²
        "fc": 512_000,
    }


def test_a_stage_of_bottlenecks_puts_out_four_times_its_width():
    table = counting.stage_table(network("resnet50"), (3, 64, 64)).set_index("stage")
    assert table["output"].to_list() == [  # He et al. 2015, table 1, at 64 instead of 224
        "64 x 32 x 32",
        "256 x 16 x 16",
        "512 x 8 x 8",
        "1024 x 4 x 4",
        "2048 x 2 x 2",
        "1000 x 1 x 1",
    ]


def test_a_layer_table_has_one_row_for_each_layer_in_the_order_they_run():
    model = models.ResNet(BasicBlock, (1, 1), widths=(4, 8), stem="cifar", num_classes=5)
    table = counting.layer_table(model, (3, 6, 10)).set_index("layer")
    names = ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    names += ["layer2.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0", "fc"]
    assert list(table.index) == names
    projection = table.loc["layer2.0.downsample.0"]
    assert projection.to_dict() == {
        "kind": "convolution",
        "kernel": 1,
        "stride": 2,
        "in_channels": 4,
        "out_channels": 8,
        "height": 3,
        "width": 5,
        "weights": 32,  # 4 · 8
        "multiply_adds": 480,  # 32 · 3 · 5
        "activations": 120,  # 8 · 3 · 5
    }
    assert table.loc["fc", ["kind", "weights", "multiply_adds", "activations"]].to_list() == ["linear", 40, 40, 5]


@given(
    kernel=st.integers(1, 3),
    groups=st.integers(1, 3),
    width=st.integers(1, 4),
    height=st.integers(3, 9),
    stride=st.integers(1, 3),
)
def test_multiply_adds_by_formula_are_those_of_pytorchs_counter(kernel, groups, width, height, stride):
    conv = nn.Conv2d(groups * width, 2 * groups, kernel, stride=stride, groups=groups)
    out = conv(torch.zeros(1, groups * width, height, height + 2)).shape
    formula = counting.conv_multiply_adds(kernel, groups * width, 2 * groups, *out[2:], groups=groups)
    shape = (groups * width, height, height + 2)
    assert formula == counting.multiply_adds(conv, shape) == counting.layer_table(conv, shape)["multiply_adds"].sum()


def test_parameters_by_kind_counts_normalisations_and_biases_apart():
    kinds = counting.parameters_by_kind(network("resnet18"))
    assert kinds.to_dict() == {
        "convolution": 11_166_912,  # 9,408 + 147,456 + 524,288 + 2,097,152 + 8,388,608
        "batch normalisation": 9_600,  # 2 · (5·64 + 5·128 + 5·256 + 5·512)
        "linear": 512_000,
        "bias": 1_000,
    }


def test_frozen_weights_are_not_counted():
    model = models.build("resnet8")
    for p in model.parameters():
        p.requires_grad_(False)
    model.fc.requires_grad_(True)
    assert counting.parameters(model) == 650  # 64 · 10 + 10
    assert counting.parameters_by_kind(model).to_dict() == {
        "convolution": 0,
        "batch normalisation": 0,
        "linear": 640,
        "bias": 10,
    }


# Networks of other people


def test_vgg16_by_the_same_functions_holds_most_parameters_in_its_head():
    # Simonyan & Zisserman 2014, table 1, column D: channels, and the side of the output at 224
    convolutions = [(3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112)]
    convolutions += [(128, 256, 56), (256, 256, 56), (256, 256, 56), (256, 512, 28), (512, 512, 28), (512, 512, 28)]
    convolutions += [(512, 512, 14)] * 3
    head = [(7, 512, 4096), (1, 4096, 4096), (1, 4096, 1000)]  # linear layers are convolutions over the whole map
    body_weights = sum(counting.conv_weights(3, a, b, bias=True) for a, b, _ in convolutions)
    head_weights = sum(counting.conv_weights(*layer, bias=True) for layer in head)
    assert (body_weights, head_weights) == (14_714_688, 123_642_856)  # together 138 M, as their table 2 prints
    cost = sum(counting.conv_multiply_adds(3, a, b, side, side) for a, b, side in convolutions)
    cost += sum(counting.conv_multiply_adds(*layer, 1, 1) for layer in head)
    published = torchvision.models.VGG16_Weights.DEFAULT.meta
    assert body_weights + head_weights == published["num_params"] == 138_357_544
    assert round(cost / 1e9, 2) == published["_ops"] == 15.47


def test_vgg16_is_counted_from_the_model_too():
    with torch.device("meta"):  # 138 million weights need not be drawn to be counted
        vgg = torchvision.models.vgg16(weights=None)
    assert counting.parameters(vgg) == 138_357_544
    kinds = counting.parameters_by_kind(vgg)
    assert kinds["linear"] == 123_633_664  # 512·7·7·4096 + 4096² + 4096·1000


def test_one_block_too_many_in_each_stage_makes_resnet34_42_layers_and_28068392_parameters():
    model = models.ResNet(BasicBlock, OFF_BY_ONE)
    assert counting.depth(model) == 42  # 2 · (4 + 5 + 7 + 4) + 2
    # 21,797,672 and one block of 18·c² + 4·c parameters more at each of 64, 128, 256 and 512 channels: 6,270,720
    assert counting.parameters(model) == 28_068_392


@pytest.mark.parametrize(("layers", "giga_multiply_adds"), [((3, 4, 6, 3), 14.30), (OFF_BY_ONE, 18.00)])
def test_a_max_pooling_that_does_not_stride_makes_resnet34_four_times_as_costly(layers, giga_multiply_adds):
    model = models.ResNet(BasicBlock, layers)
    model.maxpool.stride = 1
    assert round(giga_at_224(model, counting.multiply_adds(model, (3, 32, 32))), 2) == giga_multiply_adds  # CONTENT 06


# Receptive field


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], 1),
        ([(1, 1)], 1),
        ([(3, 1), (3, 1)], 5),
        ([(3, 2), (3, 1)], 7),  # 3, and 2 steps of 2
        ([(7, 2), (3, 2)], 11),  # the ImageNet stem: 7, and 2 steps of 2
        ([(1, 2), (3, 1)], 5),  # every second pixel, with the gaps
    ],
)
def test_the_receptive_field_by_hand(layers, expected):
    assert counting.receptive_field(layers) == expected
    assert counting.receptive_field(iter(layers)) == expected


layer = st.tuples(st.sampled_from(["convolution", "max pooling"]), st.integers(1, 5), st.integers(1, 2), st.booleans())


@given(st.lists(layer, min_size=1, max_size=4), st.integers(1, 3))
def test_the_formula_and_the_measurement_of_the_receptive_field_agree(stack, channels):
    torch.manual_seed(0)
    modules, kernels, before = [], [], channels
    for kind, kernel, stride, padded in stack:
        padding = kernel // 2 if padded else 0
        if kind == "max pooling":
            modules.append(nn.MaxPool2d(kernel, stride, padding))
        else:
            modules += [nn.Conv2d(before, 2, kernel, stride, padding), nn.BatchNorm2d(2), nn.ReLU()]
            before = 2
        kernels.append((kernel, stride))
    expected = counting.receptive_field(kernels)
    side = 3 * expected + 20  # room on both sides of the middle, whatever the strides
    assert counting.measured_receptive_field(nn.Sequential(*modules), (channels, side, side + 3)) == expected


def test_biases_that_would_switch_every_relu_off_do_not_change_the_measurement():
    stack = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Conv2d(1, 1, 3), nn.ReLU())
    for conv in (stack[0], stack[2]):
        nn.init.constant_(conv.bias, -5)
    assert counting.measured_receptive_field(stack, (1, 16, 16)) == 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # By hand: 3 at the stem; stage 1 has 2n convolutions at step 1, stage 2 one at step 1 and 2n - 1 at step 2,
        # stage 3 one at step 2 and 2n - 1 at step 4, each adding 2 steps: 28 n - 3 and the stem's share, for n = 1, 3
        ("resnet8", 3 + 4 + 2 + 4 + 4 + 8),
        ("plain8", 3 + 4 + 2 + 4 + 4 + 8),
        ("preact8", 3 + 4 + 2 + 4 + 4 + 8),
        ("resnet20", 3 + 12 + 2 + 20 + 4 + 40),
    ],
)
def test_a_whole_network_sees_what_its_main_path_sees(name, expected):
    model = copy.deepcopy(network(name))
    main_path = counting.layer_table(model, (3, 32, 32)).query("kind == 'convolution'")
    assert counting.receptive_field(zip(main_path["kernel"], main_path["stride"], strict=True)) == expected
    trunk = nn.Sequential(model.conv1, model.layer1, model.layer2, model.layer3)
    assert counting.measured_receptive_field(trunk, (3, 2 * expected, 2 * expected)) == expected


# Errors


@pytest.mark.parametrize(
    ("numbers", "options"),
    [
        ((0, 1, 1), {}),
        ((-3, 4, 4), {}),
        ((3, 0, 1), {}),
        ((3, 1, 0), {}),
        ((3, 4, 4), {"groups": 0}),
        ((3, 4, 6), {"groups": 4}),
        ((3, 6, 4), {"groups": 4}),
    ],
)
def test_impossible_convolutions_are_refused_with_what_was_given(numbers, options):
    with pytest.raises(ValueError, match=r"must be at least 1 and groups must divide .*got kernel") as caught:
        counting.conv_weights(*numbers, **options)
    assert f"kernel {numbers[0]}, channels {numbers[1]} and {numbers[2]}" in str(caught.value)


@pytest.mark.parametrize("squeeze", [0, -4, 3])
def test_a_squeeze_that_does_not_divide_the_channels_is_refused(squeeze):
    with pytest.raises(ValueError, match=rf"squeeze must divide the channels, got 256 channels and squeeze {squeeze}"):
        counting.bottleneck_weights(256, squeeze=squeeze)


@pytest.mark.parametrize("layers", [[(0, 1)], [(3, 0)], [(3, 1), (3, -1)]])
def test_a_receptive_field_of_impossible_layers_is_refused(layers):
    with pytest.raises(ValueError, match=r"kernel and stride must be at least 1, got \("):
        counting.receptive_field(layers)


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv2d(1, 1, 5, padding=2), (1, 5, 5)),
        (nn.Conv2d(1, 1, 5, padding=2), (1, 40, 5)),
        (nn.Conv2d(1, 1, 5, padding=2), (1, 5, 40)),
        (nn.Conv2d(1, 1, 2, stride=2), (1, 3, 3)),  # the only output sees pixels 0 and 1: cut off at the low side
        (nn.Conv2d(1, 1, 2), (1, 3, 3)),  # the output taken for the middle sees pixels 1 and 2: at the high side
    ],
    ids=["all sides", "left and right", "top and bottom", "low side", "high side"],
)
def test_an_input_too_small_for_the_receptive_field_is_refused(conv, shape):
    with pytest.raises(ValueError, match=r"cuts off the receptive field; give a larger one"):
        counting.measured_receptive_field(nn.Sequential(conv), shape)


def test_a_network_that_ends_in_a_vector_has_no_receptive_field_to_measure():
    with pytest.raises(ValueError, match=r"expected an output of shape \(1, C, H, W\), got \(1, 10\)"):
        counting.measured_receptive_field(network("resnet8"), (3, 32, 32))


def test_a_layer_of_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"which kind of layer LayerNorm is; known: convolution, batch norm"):
        counting.parameters_by_kind(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(4)))


# Counting looks, and changes nothing


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    "count",
    [
        counting.parameters,
        counting.parameters_by_kind,
        counting.depth,
        lambda model: counting.multiply_adds(model, (3, 32, 32)),
        lambda model: counting.layer_table(model, (3, 32, 32)),
        lambda model: counting.stage_table(model, (3, 32, 32)),
        lambda model: counting.measured_receptive_field(
            nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool, model.layer1), (3, 64, 64)
        ),
    ],
    ids=["parameters", "by kind", "depth", "multiply-adds", "layers", "stages", "receptive field"],
)
def test_counting_leaves_the_model_as_it_was(count, training):
    torch.manual_seed(0)
    model = models.build("resnet8", shortcut="B")
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    model.train(training)
    model.layer1[0].bn1.eval()  # a part in another mode keeps its mode
    state = copy.deepcopy(model.state_dict())
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    modes = {name: m.training for name, m in model.named_modules()}
    kinds = {name: type(m) for name, m in model.named_modules()}
    random = torch.get_rng_state()

    count(model)

    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, gradients[name]) for name, p in model.named_parameters())
    assert {name: m.training for name, m in model.named_modules()} == modes
    assert {name: type(m) for name, m in model.named_modules()} == kinds
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert torch.equal(torch.get_rng_state(), random)

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from helpers import unsettle
from pandas.testing import assert_frame_equal
from torch import Tensor, nn

from resnet_utils import models, probes
from resnet_utils.probes import gradient_norms

LABELS = torch.tensor([0, 2, 1, 2])


def images(channels: int = 3, size: int = 8) -> Tensor:
    return torch.randn(4, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()


def slope_norm(loss, start: Tensor) -> float:
    """L2 norm of the gradient of `loss` at `start`, by central differences, one number at a time."""
    slopes = []
    for i in range(start.numel()):
        step = torch.zeros_like(start)
        step.view(-1)[i] = 1e-5
        slopes.append((loss(start + step) - loss(start - step)) / 2e-5)
    return torch.stack(slopes).norm().item()


def test_norms_equal_finite_differences_of_the_loss(small_net):
    x = images(channels=1, size=4).double()
    conv, tanh, flatten, linear = small_net
    with torch.no_grad():
        maps = F.conv2d(x, conv.weight, conv.bias)
        logits = linear(flatten(tanh(maps)))

        def loss_of_maps(maps: Tensor) -> Tensor:
            return F.cross_entropy(linear(flatten(tanh(maps))), LABELS)

        conv_weight = slope_norm(lambda w: loss_of_maps(F.conv2d(x, w, conv.bias)), conv.weight)
        conv_output = slope_norm(loss_of_maps, maps)
        features = flatten(tanh(maps))
        linear_weight = slope_norm(lambda w: F.cross_entropy(F.linear(features, w, linear.bias), LABELS), linear.weight)
        linear_output = slope_norm(lambda z: F.cross_entropy(z, LABELS), logits)

    table = gradient_norms(small_net, x, LABELS)

    assert table["weight"].to_list() == pytest.approx([conv_weight, linear_weight], rel=1e-5)
    assert table["output"].to_list() == pytest.approx([conv_output, linear_output], rel=1e-5)
    sizes = [maps.pow(2).mean().sqrt().item(), logits.pow(2).mean().sqrt().item()]
    assert table["size"].to_list() == pytest.approx(sizes)


def test_norms_inside_a_residual_network_equal_autograds():
    torch.manual_seed(0)
    model = models.build("resnet8", num_classes=3).train()
    twin = copy.deepcopy(model)
    out = {}
    for name in ("layer2.0.conv1", "layer3.0.conv2"):
        twin.get_submodule(name).register_forward_hook(lambda _m, _x, output, name=name: out.update({name: output}))
    loss = F.cross_entropy(twin(images()), LABELS)
    weights = [twin.get_submodule(name).weight for name in out]
    gradients = torch.autograd.grad(loss, [*weights, *out.values()])

    table = gradient_norms(model, images(), LABELS).set_index("layer").loc[list(out)]

    expected = [gradient.norm().item() for gradient in gradients]
    assert [*table["weight"], *table["output"]] == pytest.approx(expected, rel=1e-4)


def test_layers_come_in_the_order_in_which_they_run_without_the_projections():
    table = gradient_norms(models.build("resnet8", 3, shortcut="B"), images(), LABELS)
    blocks = [f"layer{stage}.0.conv{i}" for stage in (1, 2, 3) for i in (1, 2)]
    assert list(table["layer"]) == ["conv1", *blocks, "fc"]
    assert list(table["index"]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert list(table.columns) == ["index", "layer", "weight", "output", "size"]


def test_the_order_is_that_of_running_not_of_definition():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(2, 3)
            self.body = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).mean((2, 3)))

    model = Backwards()
    table = gradient_norms(model, images(channels=1), LABELS)
    F.cross_entropy(model(images(channels=1)), LABELS).backward()
    assert list(table["layer"]) == ["body", "head"]
    expected = [layer.weight.grad.norm().item() for layer in (model.body, model.head)]
    assert table["weight"].to_list() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        *(("resnet18", 18), ("plain18", 18), ("resnet50", 50), ("resnet50-v1", 50), ("resnet18-cifar", 18)),
        *(("resnet56", 56), ("plain56", 56), ("preact56", 56)),
    ],
)
def test_every_layer_of_every_family_has_a_positive_finite_norm(name, depth):
    torch.manual_seed(0)
    table = gradient_norms(models.build(name, 3), images(size=33 if depth < 56 else 8), LABELS)
    assert len(table) == depth
    numbers = table[["weight", "output", "size"]]
    assert (numbers > 0).all(axis=None)
    assert (numbers < float("inf")).all(axis=None)


def test_networks_with_in_place_relu_are_measured_as_those_without():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None)  # its ReLUs work in place, ours do not
    ours = models.build("resnet18")
    ours.load_state_dict(theirs.state_dict())
    x = images(size=33)
    assert_frame_equal(gradient_norms(theirs, x, LABELS), gradient_norms(ours, x, LABELS), rtol=1e-3)


def test_a_relu_that_overwrites_a_layers_own_output_changes_nothing():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]
    apart = nn.Sequential(*layers)
    in_place = copy.deepcopy(apart)
    for i in (1, 3):
        in_place[i].inplace = True
    assert_frame_equal(gradient_norms(in_place, images(), LABELS), gradient_norms(apart, images(), LABELS))


def test_the_measurement_is_in_training_mode_whatever_mode_the_model_is_in():
    torch.manual_seed(0)
    model = models.build("resnet8", 3)
    model.bn1.running_var.fill_(100)  # would show in evaluation mode
    train, evaluation = (gradient_norms(model.train(mode), images(), LABELS) for mode in (True, False))
    assert_frame_equal(train, evaluation)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_measuring_leaves_the_model_as_it_was(training):
    torch.manual_seed(0)
    model = models.build("resnet8", 3)
    model(images()).sum().backward()
    model.train(training)
    model.layer1[0].bn1.eval()  # a part in another mode keeps its mode
    model.conv1.requires_grad_(False)
    state = copy.deepcopy(model.state_dict())
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    modes = {name: m.training for name, m in model.named_modules()}
    random = torch.get_rng_state()

    gradient_norms(model, images(), LABELS)

    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, gradients[name]) for name, p in model.named_parameters())
    assert {name: m.training for name, m in model.named_modules()} == modes
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["conv1.weight"]
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_gradients_left_over_from_an_earlier_step_are_not_added():
    torch.manual_seed(0)
    model = models.build("resnet8", 3)
    first = gradient_norms(model, images(), LABELS)
    F.cross_entropy(model(images()), LABELS).backward()
    assert_frame_equal(gradient_norms(model, images(), LABELS), first)


def test_frozen_layers_are_measured_like_all_others():
    torch.manual_seed(0)
    model = models.build("resnet8", 3)
    expected = gradient_norms(model, images(), LABELS)
    assert_frame_equal(gradient_norms(model.requires_grad_(False), images(), LABELS), expected)


def test_a_model_without_layers_to_measure_is_refused():
    with pytest.raises(ValueError, match=r"no convolution and no linear layer to measure"):
        gradient_norms(nn.Sequential(nn.Flatten(), nn.ReLU()), images(), LABELS)


# A network without a block


@pytest.mark.parametrize("name", ["resnet14", "preact14"])
def test_without_a_block_whose_layers_give_zero_nothing_changes(name):
    torch.manual_seed(0)
    model = models.build(name, in_channels=1).eval()
    unsettle(model)
    x = torch.randn(4, 1, 8, 8)
    for block in probes.removable_blocks(model):
        silenced = copy.deepcopy(model)
        last = dict(silenced.blocks())[block]
        nn.init.zeros_(last.conv2.weight)
        if name == "resnet14":  # its last BN would add its own shift
            last.bn2.weight.data.zero_()
            last.bn2.bias.data.zero_()
        torch.testing.assert_close(probes.without_block(model, block)(x), silenced(x))
        assert not torch.allclose(model(x), silenced(x))


def test_without_a_plain_block_the_next_one_gets_its_input():
    torch.manual_seed(0)
    model = models.build("plain14", in_channels=1).eval()
    x = torch.randn(4, 1, 8, 8)
    skipped = copy.deepcopy(model)
    skipped.layer2[1].forward = lambda x: x
    assert torch.equal(probes.without_block(model, "layer2.1")(x), skipped(x))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet14", ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1"]),
        ("plain14", ["layer1.0", "layer1.1", "layer2.1", "layer3.1"]),
        ("plain18", ["layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"]),
    ],
)
def test_all_blocks_can_be_left_out_but_the_plain_ones_that_change_the_shape(name, expected):
    model = models.build(name)
    assert probes.removable_blocks(model) == expected
    size = 32 if name != "plain18" else 64
    for block in expected:
        probes.without_block(model, block).eval()(torch.randn(1, 3, size, size))


def test_leaving_out_a_block_leaves_the_network_alone():
    model = models.build("resnet14")
    before = copy.deepcopy(model)
    twin = probes.without_block(model, "layer2.0")
    nn.init.zeros_(twin.conv1.weight)
    twin.get_submodule("layer1.0").conv1.weight.data.zero_()
    assert repr(model) == repr(before)
    for name, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize(
    ("block", "reason"), [("layer2.0", "is plain and changes the shape"), ("layer9.0", "does not exist")]
)
def test_a_block_that_cannot_be_left_out_is_refused_with_those_that_can(block, reason):
    with pytest.raises(ValueError, match=rf"block '{block}' {reason}; choose one of layer1.0, layer1.1, layer2.1"):
        probes.without_block(models.build("plain14"), block)


# Where a network looks


@pytest.fixture
def pooled_net() -> nn.Sequential:
    """A convolution, a ReLU in place, global average pooling and a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
    )


def test_behind_pooling_and_a_linear_layer_grad_cam_is_the_class_activation_map(pooled_net):
    x = images()
    maps = F.conv2d(x, pooled_net[0].weight, pooled_net[0].bias).relu()  # (4, 5, 6, 6)
    for c in range(3):
        weights = pooled_net[4].weight[c].view(1, 5, 1, 1)
        expected = (weights * maps).sum(1).relu() / 36  # the gradient of a mean over 36 positions
        torch.testing.assert_close(probes.grad_cam(pooled_net, x, c, "1"), expected)


def test_grad_cam_by_hand():
    """Two maps of one pixel row; y = 3 * mean(A1) - 1 * mean(A2), so alpha = (3/2, -1/2) and the map is known."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)  # A1 = x, A2 = 2 x
    model[3].weight.data = torch.tensor([[3.0, -1.0]])
    x = torch.tensor([4.0, -6.0]).view(1, 1, 1, 2)
    assert probes.grad_cam(model, x, 0, "0").tolist() == [[[1.5 * 4 - 0.5 * 8, 0.0]]]


def test_each_image_can_have_a_class_of_its_own(pooled_net):
    found = probes.grad_cam(pooled_net, images(), LABELS, "1")
    for i, c in enumerate(LABELS.tolist()):
        torch.testing.assert_close(found[i], probes.grad_cam(pooled_net, images()[i : i + 1], c, "1")[0])


def test_a_layer_before_a_relu_in_place_is_read_before_it(pooled_net):
    apart = copy.deepcopy(pooled_net)
    apart[1].inplace = False
    found, expected = (probes.grad_cam(net, images(), 1, "0") for net in (pooled_net, apart))
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, probes.grad_cam(pooled_net, images(), 1, "1"))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_looking_leaves_the_model_as_it_was(training):
    torch.manual_seed(0)
    model = models.build("resnet8", 3).train(training)
    model(images()).sum().backward()
    unsettle(model)
    state = copy.deepcopy(model.state_dict())
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}

    found = probes.grad_cam(model, images(), 1, "layer3")

    assert found.shape == (4, 2, 2)
    assert not found.requires_grad
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, gradients[name]) for name, p in model.named_parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert model.training == training
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    torch.testing.assert_close(probes.grad_cam(model.eval(), images(), 1, "layer3"), found)


@pytest.mark.parametrize(
    ("class_index", "layer", "message"),
    [
        (0, "layer9", r"no layer 'layer9'; choose one of conv1, "),
        (0, "", r"no layer ''"),
        (3, "layer3", r"one class, or 4 of them, from 0 to 2, not 3"),
        (-1, "layer3", r"from 0 to 2, not -1"),
        (torch.tensor([0, 1]), "layer3", r"one class, or 4 of them"),
        (0, "fc", r"the output of 'fc' has the shape \(4, 3\); choose a layer with \(N, K, H, W\)"),
    ],
)
def test_a_layer_or_a_class_that_is_not_there_is_refused(class_index, layer, message):
    with pytest.raises(ValueError, match=message):
        probes.grad_cam(models.build("resnet8", 3), images(), class_index, layer)


def test_several_blocks_are_left_out_as_one_after_the_other_by_hand():
    torch.manual_seed(0)
    model = models.build("resnet14", num_classes=3)
    unsettle(model)
    model.eval()
    with torch.no_grad():
        x = model.relu(model.bn1(model.conv1(images())))
        x = model.layer2[1](model.layer2[0].downsample(x).relu())  # layer1.0, layer1.1 and layer2.0 without branches
        by_hand = model.fc(model.layer3(x).mean((2, 3)))
        out = probes.without_block(model, "layer1.1", "layer2.0", "layer1.0")(images())
    torch.testing.assert_close(out, by_hand)


def test_the_response_of_a_layer_is_what_its_batch_normalisation_gives_out():
    torch.manual_seed(0)
    model = models.build("plain8", num_classes=3)
    norms = [(name, norm) for name, norm in model.named_modules() if isinstance(norm, nn.BatchNorm2d)]
    for deviation, (_, norm) in enumerate(norms, start=1):  # outputs +deviation and -deviation, whatever comes in
        nn.init.zeros_(norm.weight)
        signs = torch.tensor([1.0, -1.0]).repeat(norm.num_features // 2)
        norm.bias.data = deviation * signs
    table = probes.response_std(model, images())
    assert table["layer"].to_list() == [name for name, _ in norms]
    assert table["index"].to_list() == list(range(1, 8))
    assert table["std"].to_list() == pytest.approx(range(1, 8))


def test_responses_are_measured_without_projections_and_not_before_the_convolution():
    table = probes.response_std(models.build("resnet8", shortcut="B"), images())
    assert len(table) == 7
    with pytest.raises(ValueError, match="pre-activation"):
        probes.response_std(models.build("preact8"), images())

"""Our ResNet-50 and Keras's: weights carried both ways, equal logits, and networks that do not fit."""

import os
from types import SimpleNamespace

import pytest
import torch
from helpers import noise_images, unsettle

from resnet_utils import keras_weights, models

os.environ["KERAS_BACKEND"] = "torch"  # read when keras is imported
import keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")


@pytest.fixture(scope="module")
def in_keras():
    return keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classifier_activation=None)


def keras_logits(network, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.tensor(keras.ops.convert_to_numpy(network(x.permute(0, 2, 3, 1).numpy(), training=False)))


def assert_equal_within_a_ten_thousandth(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Of the spread of the logits, which is large in a network with random statistics."""
    torch.testing.assert_close(found / expected.std(), expected / expected.std(), rtol=0, atol=1e-4)


def test_keras_computes_our_logits_with_our_weights(in_keras):
    torch.manual_seed(0)
    ours = models.build("resnet50-v1").eval()
    unsettle(ours)
    ours.layer1[0].bn1.running_var.fill_(1e-5)  # so small that the two epsilons would show, by 9e-4
    keras_weights.to_keras(ours, in_keras)
    with torch.no_grad():
        expected = ours(noise_images())
    assert_equal_within_a_ten_thousandth(keras_logits(in_keras, noise_images()), expected)


def test_our_network_computes_keras_logits_with_keras_weights():
    keras.utils.set_random_seed(0)
    network = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classifier_activation=None, classes=10)
    generator = torch.Generator().manual_seed(0)
    for layer in network.layers:
        values = [torch.tensor(value) for value in layer.get_weights()]
        if isinstance(layer, keras.layers.BatchNormalization):  # gamma, beta, mean, variance
            spread = [torch.randn(v.shape, generator=generator) * 0.2 for v in values]
            values = [1 + spread[0], spread[1], spread[2], 1 + spread[3].abs()]
        elif isinstance(layer, keras.layers.Conv2D):
            values[1] = torch.randn(values[1].shape, generator=generator) * 0.2  # a bias that must not be lost
        layer.set_weights([value.numpy() for value in values])

    ours = keras_weights.from_keras(network)

    with torch.no_grad():
        found = ours(noise_images())
    assert_equal_within_a_ten_thousandth(found, keras_logits(network, noise_images()))
    assert not ours.training


def test_weights_survive_the_way_to_keras_and_back(in_keras):
    torch.manual_seed(1)
    ours = models.build("resnet50-v1").eval()
    unsettle(ours)
    keras_weights.to_keras(ours, in_keras)
    back = keras_weights.from_keras(in_keras).state_dict()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(back[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_a_network_that_is_not_keras_is_refused(in_keras, name):
    with pytest.raises(ValueError, match=r"layer2.0.conv1 and Keras's conv3_block1_1_conv differ: .*'resnet50-v1'"):
        keras_weights.to_keras(models.build(name), in_keras)


def test_another_number_of_classes_is_refused(in_keras):
    with pytest.raises(ValueError, match=r"fc and Keras's predictions differ"):
        keras_weights.to_keras(models.build("resnet50-v1", 10), in_keras)


def test_a_keras_network_without_its_head_is_refused():
    body = SimpleNamespace(layers=[])
    with pytest.raises(ValueError, match=r"no layer 'predictions'; build it with include_top=True"):
        keras_weights.from_keras(body)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("conv1", "conv1_conv"),
        ("bn1", "conv1_bn"),
        ("layer1.0.downsample.0", "conv2_block1_0_conv"),
        ("layer1.0.downsample.1", "conv2_block1_0_bn"),
        ("layer3.5.bn3", "conv4_block6_3_bn"),
        ("fc", "predictions"),
    ],
)
def test_layers_have_their_names_in_keras(ours, theirs, in_keras):
    assert keras_weights.keras_name(ours) == theirs
    in_keras.get_layer(theirs)


def test_a_layer_without_weights_has_no_name_in_keras():
    with pytest.raises(ValueError, match=r"'maxpool' is no layer with weights"):
        keras_weights.keras_name("maxpool")

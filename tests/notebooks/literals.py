"""Every number of the prose that may stand there as a literal, and how it is known.

`EVERYWHERE` holds counts that mean one thing in the whole book; `PAGES` holds the rest, page by page. A literal is

- `computed`: an expression gives it, to the digits that the page prints (a number with thousands separators: exactly);
- `published`: a source that the page links to prints it, at the place named;
- `given`: a setting, a definition, a threshold or an invented example, which nobody measured.

A measured result is none of these. It is printed by a cell.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_utils import counting, data, models, training
from resnet_utils.blocks import BasicBlock


@dataclass(frozen=True)
class Literal:
    """How a number is known: exactly one of the first three is set."""

    value: Callable[[], float] | None = None
    source: str = ""  # a key of references.bib, or an address that the page links to
    meaning: str = ""
    place: str = ""  # where the source prints it


def computed(value: Callable[[], float]) -> Literal:
    return Literal(value=value)


def published(source: str, place: str, *numbers: str) -> dict[str, Literal]:
    return dict.fromkeys(numbers, Literal(source=source, place=place))


def given(meaning: str, *numbers: str) -> dict[str, Literal]:
    return dict.fromkeys(numbers, Literal(meaning=meaning))


# How counts are made: on the meta device, where tensors have shapes and no numbers


@functools.cache
def network(name: str, shortcut: str | None = None) -> nn.Module:
    with torch.device("meta"):
        return torchvision.models.vgg16() if name == "vgg16" else models.build(name, shortcut=shortcut)


def resnet34(*layers: int, pool_stride: int = 2) -> nn.Module:
    """ResNet-34 with other numbers of blocks, or another stride of the max pooling."""
    with torch.device("meta"):
        model = models.ResNet(BasicBlock, layers)
    model.maxpool = nn.MaxPool2d(3, pool_stride, 1)
    return model


def wide_resnet50() -> nn.Module:
    """ResNet-50 with basic blocks in the place of the bottlenecks, as wide as their outputs."""
    with torch.device("meta"):
        return models.ResNet(BasicBlock, (3, 4, 6, 3), widths=(256, 512, 1024, 2048))


def resnext50() -> nn.Module:
    with torch.device("meta"):
        return torchvision.models.resnext50_32x4d()


def parameters(name: str, shortcut: str | None = None) -> int:
    return counting.parameters(network(name, shortcut))


def giga(model: nn.Module, side: int = 224) -> float:
    """Multiply-adds for one image, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops() / 2e9


def conv(kernel: int, before: int, after: int) -> int:
    return counting.conv_weights(kernel, before, after)


@functools.cache
def stage_ratio() -> list[float]:
    """Multiply-adds of ResNet-50 over those of ResNet-34 in each stage: the same at any size of the image."""
    costs = [
        counting.stage_table(models.build(name), (3, 64, 64)).set_index("stage")["multiply_adds"]
        for name in ("resnet50", "resnet34")
    ]
    return [costs[0][f"layer{i}"] / costs[1][f"layer{i}"] for i in range(1, 5)]


@functools.cache
def stem_and_stages() -> dict[str, float]:
    """Multiply-adds of ResNet-18 for one image of 224 x 224 by stage, in 1e9."""
    table = counting.stage_table(models.build("resnet18"), (3, 224, 224)).set_index("stage")
    return (table["multiply_adds"] / 1e9).to_dict()


def vgg_head() -> int:
    return sum(m.weight.numel() for m in network("vgg16").classifier if isinstance(m, nn.Linear))


def bottleneck_bn(channels: int, narrow: int) -> int:
    return 2 * (narrow + narrow + channels)


# Counts that mean one thing in the whole book

EVERYWHERE: dict[str, Literal] = {
    "1,000": computed(lambda: network("resnet18").fc.out_features),  # classes of ImageNet
    "1,024": computed(lambda: network("resnet50").layer3[0].conv3.out_channels),
    "2,048": computed(lambda: network("resnet50").fc.in_features),
    "1,437": computed(lambda: len(data.load("digits")[0])),
    "1,797": computed(lambda: sum(map(len, data.load("digits")))),
    **given("images of CIFAR-10, counted by tests/test_cifar10.py where they are present", "50,000", "60,000"),
    # one convolution
    "1,728": computed(lambda: conv(3, 3, 64)),
    "4,096": computed(lambda: conv(1, 64, 64)),
    "8,192": computed(lambda: conv(1, 64, 128)),
    "9,408": computed(lambda: conv(7, 3, 64)),
    "16,384": computed(lambda: conv(1, 256, 64)),
    "32,768": computed(lambda: conv(1, 128, 256)),
    "36,864": computed(lambda: conv(3, 64, 64)),
    "65,536": computed(lambda: conv(1, 512, 128)),
    "147,456": computed(lambda: conv(3, 128, 128)),
    "589,824": computed(lambda: conv(3, 256, 256)),
    # blocks
    "69,632": computed(lambda: counting.bottleneck_weights(256)),
    "73,728": computed(lambda: counting.basic_weights(64)),
    "1,179,648": computed(lambda: counting.basic_weights(256)),
    "278,528": computed(lambda: counting.bottleneck_weights(512)),
    "1,536": computed(lambda: bottleneck_bn(512, 128)),
    "16.94": computed(lambda: counting.basic_weights(256) / counting.bottleneck_weights(256)),
    "8,448": computed(lambda: conv(1, 64, 128) + 2 * 128),  # a projection with its batch normalisation
    # parameters of whole networks
    "11,689,512": computed(lambda: parameters("resnet18")),
    "21,797,672": computed(lambda: parameters("resnet34")),
    "25,557,032": computed(lambda: parameters("resnet50")),
    "44,549,160": computed(lambda: parameters("resnet101")),
    "60,192,808": computed(lambda: parameters("resnet152")),
    "11,173,962": computed(lambda: parameters("resnet18-cifar")),
    "269,722": computed(lambda: parameters("resnet20")),
    "272,474": computed(lambda: parameters("resnet20", "B")),
    "853,018": computed(lambda: parameters("resnet56")),
    "1,727,962": computed(lambda: parameters("resnet110")),
    "28,068,392": computed(lambda: counting.parameters(resnet34(4, 5, 7, 4))),
    "123,633,664": computed(vgg_head),
    # multiply-adds of whole networks for one image of 224 x 224, in 1e9
    "1.81": computed(lambda: giga(network("resnet18"))),
    "1.814": computed(lambda: giga(network("resnet18"))),
    "3.66": computed(lambda: giga(network("resnet34"))),
    "3.664": computed(lambda: giga(network("resnet34"))),
    "3.86": computed(lambda: giga(network("resnet50-v1"))),
    "4.09": computed(lambda: giga(network("resnet50"))),
    "14.30": computed(lambda: giga(resnet34(3, 4, 6, 3, pool_stride=1))),
    "18.00": computed(lambda: giga(resnet34(4, 5, 7, 4, pool_stride=1))),
}

# Published numbers that several pages quote

IMAGENET_PAIRS = published("he2015deep", "table 2", "27.94", "28.54", "27.88", "25.03")
SHORTCUT_OPTIONS = published("he2015deep", "table 3", "25.03", "24.52", "24.19")
CIFAR_ERRORS = published("he2015deep", "table 6", "8.75", "7.51", "7.17", "6.97", "6.43", "6.61", "0.16", "7.93")
TABLE_1 = published("he2015deep", "table 1", "1.8", "3.6", "3.8")
SHORTCUT_STUDY = published("he2016identity", "table 1", "12.22", "12.35", "6.61")
WITH_AND_WITHOUT = published("li2018landscape", "table of errors", "7.37", "8.18", "5.89", "13.31", "5.79", "16.44")
KUANGLIU = "https://github.com/kuangliu/pytorch-cifar"
AIRBENCH = (
    "https://github.com/KellerJordan/cifar10-zoo/blob/d5a9ca595b26d7f10186ae7146f606a99fd548ec/"
    "airbench/baselines/train_resnet18_94.py"
)
CIFAR_DEVIATIONS = given(
    "tests/test_claims.py and tests/test_cifar10.py compute both from the images, where they are present",
    *("0.2023", "0.1994", "0.2010", "0.2470", "0.2435", "0.2616"),
)
CHANCE = {"90": computed(lambda: 100 * (1 - 1 / 10))}  # error of guessing among ten classes, in %
MOMENTUM = {"0.9": computed(lambda: training.FAST.momentum)}

# Page by page

PAGES: dict[str, dict[str, Literal]] = {
    "01_vanishing_gradients": CHANCE
    | {
        "1.47": computed(lambda: math.pi / (math.pi - 1)),
        "1.21": computed(lambda: math.sqrt(math.pi / (math.pi - 1))),
        "2.30": computed(lambda: math.log(10)),
    }
    | given("settings of the page's own trainings", "0.01", "0.9", "0.1", "0.001")
    | given("a slope or a gain that is tried", "0.5", "0.9"),
    "02_degradation": IMAGENET_PAIRS
    | {
        "0.60": computed(lambda: 28.54 - 27.94),
        "2.85": computed(lambda: 27.88 - 25.03),
        "0.06": computed(lambda: 27.94 - 27.88),
        "3.51": computed(lambda: 28.54 - 25.03),
        "14,000": computed(lambda: round(50_000 * 27.9 / 100, -3)),  # wrong images at 27.9 % error
        "1.73": computed(lambda: math.sqrt(3)),
    }
    | given("a peak rate, a size of steps, or a scale that is tried", "0.01", "0.1", "0.4", "48"),
    "03_residual_blocks": {
        "73,984": computed(lambda: counting.parameters(BasicBlock(64, 64))),
        "230,144": computed(lambda: counting.parameters(network("resnet18").layer2[0])),
        "156,160": computed(lambda: 230_144 - 73_984),
        "0.68": computed(lambda: 1 - 1 / math.pi),
    }
    | given("learning rates that are tried", "0.01", "0.1"),
    "04_shortcuts": IMAGENET_PAIRS
    | SHORTCUT_OPTIONS
    | SHORTCUT_STUDY
    | CHANCE
    | published("he2016identity", "table 1, caption", "20")
    | {
        "33,280": computed(lambda: conv(1, 128, 256) + 2 * 256),
        "33,024": computed(lambda: conv(1, 128, 256) + 256),
        "131,072": computed(lambda: conv(1, 256, 512)),
        "132,096": computed(lambda: conv(1, 256, 512) + 2 * 512),
        "173,824": computed(lambda: parameters("resnet18") - parameters("resnet18", "A")),
        "6.25": computed(lambda: 100 / 4**2),  # positions that two subsamplings leave, in %
        "0.987": computed(lambda: 0.5 ** (1 / 54)),
        "1.3": computed(lambda: 100 * (1 - 0.5 ** (1 / 54))),
    }
    | given("a factor on the shortcut that is tried", "0.5", "1.1"),
    "05_bottlenecks": TABLE_1
    | {
        "64": computed(lambda: counting.bottleneck_weights(2048) / counting.bottleneck_weights(256)),
        "17": computed(lambda: counting.basic_weights(256) / counting.bottleneck_weights(256)),
        "3.2": computed(lambda: 4 * 256 / (5 * 64)),  # numbers kept: 4 C of a bottleneck, 5 C of a basic block
        "81": computed(lambda: 100 * (49 / 27 - 1)),
        "0.94": computed(lambda: 17 / 18),
        "3,136": computed(lambda: 16 * 14 * 14),
        "25,088": computed(lambda: 512 * 7 * 7),
        "89": computed(lambda: 100 * vgg_head() / parameters("vgg16")),
        "1": computed(lambda: 100 * vgg_head() / 1e9 / giga(network("vgg16"))),
        "241": computed(lambda: vgg_head() / (512 * 1000)),
        "0.96": computed(lambda: min(stage_ratio())),
        "1.26": computed(lambda: max(stage_ratio())),
        "3.644": computed(lambda: giga(network("resnet34", "A"))),
        "3.7": computed(lambda: giga(network("resnet34"))),
        "102,400": computed(lambda: counting.bottleneck_weights(512, squeeze=8)),
        "1,280": computed(lambda: bottleneck_bn(512, 64)),
        "4.5": computed(lambda: 3**2 / 2),
        "12.5": computed(lambda: 5**2 / 2),
        "4,608": computed(lambda: counting.conv_weights(3, 128, 128, groups=32)),
        "53,248": computed(lambda: conv(1, 256, 64) + conv(3, 64, 64)),
        "622,592": computed(lambda: 2 * conv(1, 256, 64) + conv(3, 256, 256)),
        "70,144": computed(lambda: 2 * conv(1, 256, 128) + counting.conv_weights(3, 128, 128, groups=32)),
        "7": computed(lambda: math.ceil(100 * 4_608 / 70_144)),
        "13": computed(lambda: math.floor(counting.parameters(wide_resnet50()) / parameters("resnet50"))),
    }
    | given("what the page calls similar", "1.2"),
    "06_assembling_resnet18": TABLE_1
    | {
        "16": computed(lambda: 4**2),
        "89": computed(lambda: 100 * vgg_head() / parameters("vgg16")),
        "9,536": computed(lambda: conv(7, 3, 64) + 2 * 64),
        "513,000": computed(lambda: 512 * 1000 + 1000),
        "6,946,816": computed(lambda: 3 * 8 * 512**2 + 5 * 256 * 512),
        "507,870": computed(lambda: 990 * 513),
        "11,181,642": computed(lambda: parameters("resnet18") - 990 * 513),
        "7,680": computed(lambda: conv(7, 3, 64) - conv(3, 3, 64)),
        "1.461": computed(lambda: -math.log(math.e / (math.e + 9))),
        "1.46": computed(lambda: -math.log(math.e / (math.e + 9))),
        "5.909": computed(lambda: -math.log(math.e / (math.e + 999))),
        "2.303": computed(lambda: math.log(10)),
        "6.908": computed(lambda: math.log(1000)),
        "0.411": computed(lambda: stem_and_stages()["layer4"]),
        "3.047": computed(lambda: giga(network("resnet18")) + 3 * stem_and_stages()["layer4"]),
        "9,216": computed(lambda: conv(3, 32, 32)),
        "18,432": computed(lambda: conv(3, 32, 64)),
        "28,512": computed(lambda: conv(3, 3, 32) + conv(3, 32, 32) + conv(3, 32, 64)),
        "2.054": computed(lambda: giga(network("resnet18")) + (28_512 - 9_408) * 112**2 / 1e9),
        "13": computed(lambda: 100 * (28_512 - 9_408) * 112**2 / 1e9 / giga(network("resnet18"))),
    }
    | given("what the page calls a good prediction", "15"),
    "07_resnet50_pretrained": CHANCE
    | published("he2015deep", "table 1", "3.8")
    | published("https://pytorch.org/hub/nvidia_deeplearningexamples_resnet50", "model description", "0.5", "5")
    | published("russakovsky2015", "table 2, rounded", "1.28")
    | published("https://github.com/keras-team/keras/blob/master/keras/src/applications/resnet.py", "its code", "1.001")
    | {
        "4.1": computed(lambda: giga(network("resnet50"))),
        "26,560": computed(
            lambda: sum(m.out_channels for m in network("resnet50").modules() if isinstance(m, nn.Conv2d))
        ),
        "1,114,112": computed(lambda: counting.bottleneck_weights(1024)),
        "3,072": computed(lambda: bottleneck_bn(1024, 256)),
        "1,117,184": computed(lambda: counting.parameters(network("resnet50").layer3[1])),
        "280,064": computed(lambda: counting.parameters(network("resnet50").layer2[1])),
        "9.7": computed(lambda: 3 * 0.75 * (9 * 64**2 + 64 * 256) * 56**2 / 1e7 / giga(network("resnet50-v1"))),
        "80": computed(lambda: 100 * (1 - 1 / 5)),
        "50": computed(lambda: 100 / 2),
    }
    | {"0.1": computed(lambda: nn.BatchNorm2d(1).momentum)}
    | given("the default momentum of BatchNormalization in Keras", "0.99")
    | given("means in preprocess_input of Keras", "103.939", "116.779", "123.68"),
    "08_training_resnet18": CIFAR_DEVIATIONS
    | published(KUANGLIU, "table of the README", "93.02")
    | published(f"{KUANGLIU}/issues/149", "the comments", "95.4", "95.7")
    | published("devries2017", "table 1, as an error of 4.72 %", "95.28")
    | published(AIRBENCH, "head of the file", "94.0", "93.4", "93.5")
    | given("what rows of a confusion matrix add up to", "100")
    | given("an example of a confidence", "80")
    | {"2.3": computed(lambda: math.log(10)), "6.9": computed(lambda: math.log(1000))},
    "09_plain_against_residual": IMAGENET_PAIRS
    | CIFAR_ERRORS
    | WITH_AND_WITHOUT
    | given("an invented example in exercise 9.1", "2", "15", "4", "9"),
    "10_many_short_paths": CHANCE
    | {
        "0.45": computed(lambda: 100 * sum(math.comb(54, k) for k in range(5, 18)) / 2**54),
        "13.5": computed(lambda: sum(k * math.comb(27, k) for k in range(28)) / 2**27),
    }
    | given("the share of the gradient for which lengths are counted", "95")
    | given("a cost that the page calls small, a share it calls more, the points of a grid", "2", "5", "13")
    | given("the factor of the residual branch that the paper proposes", "0.1"),
    "11_after_2015": CIFAR_ERRORS
    | CHANCE
    | published("he2016identity", "table 3", "6.61", "5.93", "7.61", "6.37", "5.46", "4.92")
    | published("huang2016stochastic", "abstract", "4.91")
    | published("huang2016stochastic", "§1 and §4", "25")
    | published("xie2017resnext", "table 3", "23.9", "22.2")
    | published("hu2018squeeze", "table 2", "24.80", "23.29")
    | published("wightman2021", "abstract", "80.4")
    | {
        "2.30": computed(lambda: math.log(10)),
        "25,028,904": computed(lambda: counting.parameters(resnext50())),
        "40.25": computed(lambda: sum(1 - i / 54 * 0.5 for i in range(1, 55))),
        "4.27": computed(lambda: -math.log(2 ** (1 / 50) - 1)),
        "0.014": computed(lambda: 1 / (1 + math.exp(4.27))),
        "76": computed(
            lambda: torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        ),
    }
    | given("settings of the page's own trainings", "0.1", "0.4", "0.5", "0.2")
    | given("a share of all entries, exact and asserted by a cell; the name of a quartile in pandas", "100", "50"),
    "12_many_gpus": published("russakovsky2015", "table 2", "1,281,167")
    | {
        "1.10": computed(lambda: 4 * 8 / 29),
        "0.97": computed(lambda: 4 * 7 / 29),
        "102,228,128": computed(lambda: 4 * parameters("resnet50")),
        "1.75": computed(lambda: 2 * 7 / 8),
        "178,899,224": computed(lambda: 4 * parameters("resnet50") * 2 * 7 // 8),
        "0.4": computed(lambda: 0.1 * 1024 / 256),
        "0.025": computed(lambda: 0.1 * 64 / 256),
        "1.6": computed(lambda: 0.1 * 2 * 8),
    }
    | given("a learning rate that the paper gives, or that is tried", "0.1"),
    "results": CIFAR_ERRORS
    | WITH_AND_WITHOUT
    | CHANCE
    | MOMENTUM
    | published(KUANGLIU, "table of the README", "6.98")
    | published(f"{KUANGLIU}/issues/149", "the comments", "4.3", "4.6")
    | published(AIRBENCH, "head of the file", "6.0", "6.5", "6.6")
    | {"0.2": computed(lambda: training.FAST.learning_rate)}
    | given("below it the book speaks of a vanishing gradient", "0.01"),
    "claims": IMAGENET_PAIRS
    | SHORTCUT_OPTIONS
    | CIFAR_ERRORS
    | SHORTCUT_STUDY
    | CIFAR_DEVIATIONS
    | published("he2015deep", "§4.2, over 1000 layers", "0.1")
    | published("he2015deep", "figure 6, caption", "60")
    | published("he2015deep", "table 1", "3.8")
    | published("he2015deep", "tables 4 and 5", "3.57", "4.49")
    | published("torchvision2016", "ResNet50_Weights", "76.13", "80.858")
    | published("devries2017", "table 1", "4.72")
    | published("kuangliu2017", "table of the README", "93.02")
    | published("kuangliu2017", "issue 149", "95.4", "95.7")
    | {
        "17": computed(lambda: counting.basic_weights(256) / counting.bottleneck_weights(256)),
        "81": computed(lambda: 100 * (49 / 27 - 1)),
        "89": computed(lambda: 100 * vgg_head() / parameters("vgg16")),
        "1": computed(lambda: 100 * vgg_head() / 1e9 / giga(network("vgg16"))),
        "1.46": computed(lambda: -math.log(math.e / (math.e + 9))),
        "0.45": computed(lambda: 100 * sum(math.comb(54, k) for k in range(5, 18)) / 2**54),
    }
    | given("compute capability with circuits for bfloat16", "8.0")
    | given("a statement that the page checks", "76", "95"),
    "instructors": {
        "417,792": computed(lambda: 6 * counting.bottleneck_weights(256)),
        "3,538,944": computed(lambda: 3 * counting.basic_weights(256)),
        "8.47": computed(lambda: counting.basic_weights(256) / (2 * counting.bottleneck_weights(256))),
        "1.33": computed(lambda: giga(network("resnet18"), 192)),
        "0.4": computed(lambda: math.comb(5, 2) * 0.2**2),
        "0.08": computed(lambda: math.comb(5, 3) * 0.2**3),
        "0.008": computed(lambda: math.comb(5, 4) * 0.2**4),
        "2.49": computed(lambda: sum(math.comb(5, k) * 0.2**k for k in range(6))),
        "2.5": computed(lambda: sum(k * math.comb(5, k) for k in range(6)) / 2**5),
        "0.83": computed(lambda: sum(k * math.comb(5, k) * 0.2**k for k in range(6)) / 1.2**5),
    }
    | given("an invented example in an exam question, and what follows from it at once", "5", "11", "0.2")
    | given("the number of an equation of a chapter; 1.2 also as 1 + 0.2", "1.2", "1.5", "5.5")
    | given("limits of the grading, which tests/test_instructors.py holds to its code", "20", "120")
    | given("words of the assignments, rounded, which tests/test_instructors.py counts", "1,600", "2,000"),
    "summary": MOMENTUM
    | {
        "7.80": computed(lambda: giga(network("resnet101"))),
        "11.51": computed(lambda: giga(network("resnet152"))),
        "0.56": computed(lambda: giga(network("resnet18-cifar"), 32)),
        "0.041": computed(lambda: giga(network("resnet20"), 32)),
        "0.125": computed(lambda: giga(network("resnet56"), 32)),
        "0.253": computed(lambda: giga(network("resnet110"), 32)),
    },
}

"""Residual networks, their plain twins and their pre-activation form (He et al. 2015 and 2016).

Parameter names are torchvision's (`conv1`, `bn1`, `layer1.0.conv1`, …, `fc`), so public weights load with
`strict=True`. `build(name)` makes every network of the book; `names()` lists the names.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from resnet_utils.blocks import (
    BasicBlock,
    Block,
    Bottleneck,
    Norm,
    PreActivationBlock,
    ZeroPadShortcut,
    conv1x1,
    conv3x3,
)


class ResNet(nn.Module):
    """A stem, stages of blocks, global average pooling and one linear layer.

    Args:
        block: `BasicBlock`, `Bottleneck`, `PreActivationBlock`, or one of them with arguments fixed by `partial`.
        layers: blocks in each stage; every stage but the first halves H and W.
        widths: `channels` of the blocks in each stage, as many as `layers`.
        num_classes: length of the output, shape (N, num_classes).
        in_channels: channels of the input, shape (N, in_channels, H, W), floating point.
        stem: "imagenet" (7x7 convolution and 3x3 max pooling, both stride 2) or "cifar" (3x3, stride 1).
        shortcut: "A" zero padding, "B" 1x1 convolution where the shape changes, "C" 1x1 convolution everywhere.
        residual: False builds the plain twin, which has no shortcuts at all.
        norm_layer: makes the normalisation of a number of channels; `nn.Identity` leaves it out.

    Raises:
        ValueError: for unknown options, unequal lengths, and inputs of a wrong shape or type.
    """

    def __init__(
        self,
        block: Callable[..., Block],
        layers: Sequence[int],
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: str = "imagenet",
        shortcut: str = "B",
        residual: bool = True,
        norm_layer: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        _check("stem", stem, ("imagenet", "cifar"))
        _check("shortcut", shortcut, ("A", "B", "C"))
        if len(layers) != len(widths) or min(layers, default=0) < 1:
            raise ValueError(
                f"layers {tuple(layers)} and widths {tuple(widths)} must be as many, each layer count >= 1"
            )
        if num_classes < 1 or in_channels < 1:
            raise ValueError(f"num_classes and in_channels must be at least 1, not {num_classes} and {in_channels}")
        kind = block_class(block)
        self.in_channels = in_channels
        self.pre_activation = issubclass(kind, PreActivationBlock)
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(in_channels, widths[0], kernel_size=7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        else:
            self.conv1 = conv3x3(in_channels, widths[0])
            self.maxpool = nn.Identity()
        # In a pre-activation net the blocks begin with BN and ReLU; the last sum needs them before the pooling.
        self.bn1 = norm_layer(widths[-1] * kind.expansion if self.pre_activation else widths[0])
        self.relu = nn.ReLU()

        self.stages = [f"layer{i}" for i in range(1, len(layers) + 1)]
        before = widths[0]
        for name, blocks, channels in zip(self.stages, layers, widths, strict=True):
            stage = []
            for i in range(blocks):
                stride = 2 if i == 0 and name != "layer1" else 1
                after = channels * kind.expansion
                downsample = _downsample(shortcut, before, after, stride, norm_layer) if residual else None
                stage.append(block(before, channels, stride, downsample, residual=residual, norm_layer=norm_layer))
                before = after
            self.add_module(name, nn.Sequential(*stage))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, num_classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # He initialisation (arXiv:1502.01852), as in torchvision
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def blocks(self) -> list[tuple[str, Block]]:
        """The blocks in order, each with its name such as "layer1.0"."""
        return [(f"{stage}.{i}", b) for stage in self.stages for i, b in enumerate(self.get_submodule(stage))]

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"expected images of shape (N, {self.in_channels}, H, W), got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"expected floating-point images, got {x.dtype}; data.Batches scales and normalises uint8")
        x = self.conv1(x)
        if not self.pre_activation:
            x = self.relu(self.bn1(x))
        x = self.maxpool(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        if self.pre_activation:
            x = self.relu(self.bn1(x))
        return self.fc(self.avgpool(x).flatten(1))  # (N, C, H, W) -> (N, C) -> (N, num_classes)


def block_class(block: Callable[..., Block]) -> type[Block]:
    """The class of the blocks that `ResNet` is given: itself, or what stands behind a `partial`."""
    return getattr(block, "func", block)


def _check(what: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise ValueError(f"unknown {what} {given!r}; choose one of {', '.join(map(repr, allowed))}")


def _downsample(option: str, before: int, after: int, stride: int, norm_layer: Norm) -> nn.Module | None:
    """The module on a shortcut from `before` to `after` channels; None is the identity."""
    if option != "C" and stride == 1 and before == after:
        return None
    if option == "A":
        return ZeroPadShortcut(before, after, stride)
    return nn.Sequential(conv1x1(before, after, stride), norm_layer(after))


_BOTTLENECK_V1 = partial(Bottleneck, stride_on_first=True)
_IMAGENET = {  # name: block, layers, residual (He et al. 2015, table 1)
    "resnet18": (BasicBlock, (2, 2, 2, 2), True),
    "resnet34": (BasicBlock, (3, 4, 6, 3), True),
    "resnet50": (Bottleneck, (3, 4, 6, 3), True),
    "resnet101": (Bottleneck, (3, 4, 23, 3), True),
    "resnet152": (Bottleneck, (3, 8, 36, 3), True),
    "resnet50-v1": (_BOTTLENECK_V1, (3, 4, 6, 3), True),
    "plain18": (BasicBlock, (2, 2, 2, 2), False),
    "plain34": (BasicBlock, (3, 4, 6, 3), False),
}
_CIFAR = {"resnet": (BasicBlock, True), "plain": (BasicBlock, False), "preact": (PreActivationBlock, True)}
_TAKEN = (50, 152)  # depths 6n+2 whose name is an ImageNet net's
_DEPTHS = [depth for depth in range(8, 111, 6) if depth not in _TAKEN]


def names() -> list[str]:
    """All names that `build` knows, CIFAR depths up to 110 (any deeper 6n+2 works too)."""
    return [*_IMAGENET, "resnet18-cifar", *(f"{family}{depth}" for family in _CIFAR for depth in _DEPTHS)]


def split_name(name: str) -> tuple[str, int]:
    """The family and the depth in a name: ("plain", 56) for "plain56", ("resnet", 18) for "resnet18-cifar"."""
    match = re.match(r"([a-z]*)(\d{0,4})", name)
    return match[1], int(match[2] or 0)


def paper_shortcut(name: str) -> str:
    """The shortcut option that `build` takes for a name unless told: the paper's."""
    return "B" if name in _IMAGENET or name == "resnet18-cifar" else "A"


def build(name: str, num_classes: int | None = None, in_channels: int = 3, *, shortcut: str | None = None) -> ResNet:
    """Make a network of the book by name, with freshly drawn weights.

    Args:
        name: an ImageNet layout ("resnet18" … "resnet152", "resnet50-v1", "plain18", "plain34"), the CIFAR layout
            of He et al. 2015 §4.2 ("resnet20", "plain56", "preact110": any depth 6n+2, widths 16/32/64), or
            "resnet18-cifar" (four stages behind a 3x3 stem without max pooling).
        num_classes: None means 1000 for the ImageNet layout and 10 for the others.
        in_channels: channels of the images.
        shortcut: "A", "B" or "C"; None means the paper's: A in the CIFAR layout, B in the others.

    Raises:
        ValueError: for an unknown name or depth, with the valid choices.
    """
    options = {"in_channels": in_channels, "shortcut": paper_shortcut(name) if shortcut is None else shortcut}
    if name in _IMAGENET:
        block, layers, residual = _IMAGENET[name]
        return ResNet(
            block,
            layers,
            num_classes=1000 if num_classes is None else num_classes,
            residual=residual,
            **options,
        )
    options["num_classes"] = 10 if num_classes is None else num_classes
    if name == "resnet18-cifar":
        return ResNet(BasicBlock, (2, 2, 2, 2), stem="cifar", **options)
    family, depth = split_name(name)
    if family not in _CIFAR or name != f"{family}{depth}" or depth < 8 or depth % 6 != 2 or depth in _TAKEN:
        raise ValueError(
            f"unknown model {name!r}; choose {', '.join(map(repr, [*_IMAGENET, 'resnet18-cifar']))}, or 'resnet', "
            "'plain' or 'preact' and a depth 6n+2: 'resnet8', 'resnet14', 'resnet20', … (50 and 152 are ImageNet's)"
        )
    block, residual = _CIFAR[family]
    layers = [(depth - 2) // 6] * 3
    return ResNet(block, layers, widths=(16, 32, 64), stem="cifar", residual=residual, **options)

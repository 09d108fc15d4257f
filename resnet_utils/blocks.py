"""The blocks of residual networks: two convolutions or a bottleneck, a shortcut, and their plain twins.

Sources: He et al. 2015 (arXiv:1512.03385) and He et al. 2016 (arXiv:1603.05027). Parameter names are torchvision's.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


def conv3x3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps H and W at stride 1; no bias, because a batch normalisation follows."""
    return nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)


def conv1x1(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """A 1x1 convolution without bias: a linear map of the channels at each position."""
    return nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=False)


class ZeroPadShortcut(nn.Module):
    """Shortcut option A: take every stride-th position, append channels of zeros (He et al. 2015, §3.3).

    It has no parameters. (N, in_channels, H, W) becomes (N, channels, ceil(H/stride), ceil(W/stride)).
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        if channels < in_channels:
            raise ValueError(f"option A can only add channels, not reduce {in_channels} to {channels}; use option B")
        self.extra_channels = channels - in_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.extra_channels))  # pads W, H, then C at its end


class Block(nn.Module):
    """What the three blocks share: the shortcut, and the check that its shape fits.

    Args:
        in_channels: channels of the input, shape (N, in_channels, H, W).
        channels: channels of the 3x3 convolutions; the output has `channels * expansion`.
        stride: the output is H/stride x W/stride.
        downsample: brings the input to the output's shape; None is the identity.
        residual: False leaves the addition out: the plain twin.

    Raises:
        ValueError: if the block is residual, the shapes differ and `downsample` is None.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        *,
        residual: bool = True,
    ) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        if residual and downsample is None and (stride != 1 or in_channels != out_channels):
            raise ValueError(
                f"a residual block from {in_channels} to {out_channels} channels at stride {stride} cannot add "
                "its input unchanged; pass a downsample module, or residual=False for the plain twin"
            )
        self.downsample = downsample
        self.residual = residual
        self.relu = nn.ReLU()

    def extra_repr(self) -> str:
        """Printed with the block: a plain twin has the same modules."""
        return f"residual={self.residual}"

    def shortcut(self, x: Tensor) -> Tensor:
        """The input in the output's shape."""
        return x if self.downsample is None else self.downsample(x)


class BasicBlock(Block):
    """Two 3x3 convolutions and a shortcut (He et al. 2015, fig. 5 left). Arguments: see `Block`."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        *,
        residual: bool = True,
        norm_layer: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__(in_channels, channels, stride, downsample, residual=residual)
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = norm_layer(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = norm_layer(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))  # (N, channels, H/stride, W/stride)
        out = self.bn2(self.conv2(out))
        if self.residual:
            out = out + self.shortcut(x)
        return self.relu(out)


class Bottleneck(Block):
    """1x1 down, 3x3, 1x1 up to four times the channels (He et al. 2015, fig. 5 right). Arguments: see `Block`.

    The stride stands on the 3x3, as in torchvision ("v1.5"). `stride_on_first=True` puts it on the first 1x1,
    as in the paper's own model files ("v1").
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        *,
        residual: bool = True,
        norm_layer: Norm = nn.BatchNorm2d,
        stride_on_first: bool = False,
    ) -> None:
        super().__init__(in_channels, channels, stride, downsample, residual=residual)
        first, second = (stride, 1) if stride_on_first else (1, stride)
        self.conv1 = conv1x1(in_channels, channels, first)
        self.bn1 = norm_layer(channels)
        self.conv2 = conv3x3(channels, channels, second)
        self.bn2 = norm_layer(channels)
        self.conv3 = conv1x1(channels, channels * self.expansion)
        self.bn3 = norm_layer(channels * self.expansion)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))  # (N, channels, H, W)
        out = self.relu(self.bn2(self.conv2(out)))  # (N, channels, H/stride, W/stride)
        out = self.bn3(self.conv3(out))  # (N, 4 * channels, H/stride, W/stride)
        if self.residual:
            out = out + self.shortcut(x)
        return self.relu(out)


class PreActivationBlock(Block):
    """BN and ReLU before each convolution, nothing after the addition (He et al. 2016, fig. 1b).

    Arguments: see `Block`. The shortcut starts from the raw input, so an identity shortcut carries x unchanged.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        *,
        residual: bool = True,
        norm_layer: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__(in_channels, channels, stride, downsample, residual=residual)
        self.bn1 = norm_layer(in_channels)
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn2 = norm_layer(channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.relu(self.bn1(x)))  # (N, channels, H/stride, W/stride)
        out = self.conv2(self.relu(self.bn2(out)))
        return out + self.shortcut(x) if self.residual else out

"""What several test modules need."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

CIFAR10 = Path(os.environ.get("RESNET_UTILS_DATA", "")) / "cifar10"
real_cifar10 = pytest.mark.skipif(
    "RESNET_UTILS_DATA" not in os.environ or not CIFAR10.is_dir(),
    reason="the real CIFAR-10 is not here: RESNET_UTILS_DATA points to no folder that holds cifar10/",
)


def unsettle(module: nn.Module) -> None:
    """Give every batch normalisation its own weights and statistics, so that none can stand in for another."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.2)
            nn.init.normal_(m.running_mean, std=0.2)
            nn.init.uniform_(m.running_var, 0.5, 1.5)


def noise_images(count: int = 2, size: int = 64) -> torch.Tensor:
    """Images of normally distributed numbers, (count, 3, size, size), the same at each call."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


class StoppedError(Exception):
    """Ends a training, as a kill would."""


def stop_at(step):
    """For `after_step` of `fit`: raises StoppedError once so many steps were taken."""

    def after_step(taken):
        if taken == step:
            raise StoppedError

    return after_step

"""What several test modules need."""

import os
import re
from collections.abc import Iterable
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


SECRET = re.compile(r"### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)### END", re.DOTALL)


def secret_parts(master: dict) -> list[str]:
    """The solutions and hidden tests in the master of an assignment, read as JSON."""
    return [part for cell in master["cells"] for part in SECRET.findall("".join(cell["source"]))]


def hidden_lines(masters: Iterable[dict], min_length: int = 30) -> set[str]:
    """The longer lines of solutions and hidden tests that these masters show nowhere else."""
    hidden, shown = set(), set()
    for master in masters:
        hidden |= {line.strip() for part in secret_parts(master) for line in part.splitlines()}
        open_parts = (SECRET.sub("", "".join(cell["source"])) for cell in master["cells"])
        shown |= {line.strip() for part in open_parts for line in part.splitlines()}
    return {line for line in hidden - shown if len(line) >= min_length}

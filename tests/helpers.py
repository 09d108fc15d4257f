"""What several test modules need."""

from torch import nn


def unsettle(module: nn.Module) -> None:
    """Give every batch normalisation its own weights and statistics, so that none can stand in for another."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.2)
            nn.init.normal_(m.running_mean, std=0.2)
            nn.init.uniform_(m.running_var, 0.5, 1.5)

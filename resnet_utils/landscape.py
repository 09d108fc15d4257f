"""The loss along straight lines through the weights of a network (Li et al. 2018, arXiv:1712.09913).

Nothing here changes the network.
"""

import copy
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Direction = dict[str, Tensor]


def filter_normalised_direction(model: nn.Module, seed: int) -> Direction:
    """A random direction in which each filter is as long as the filter of the network (Li et al. 2018, §4).

    Standard normal numbers for every weight; then each filter (each row of a linear layer) is scaled to the norm of
    the network's own. Tensors of one dimension, which are biases and batch normalisation, do not move: their
    direction is zero.

    Args:
        model: the network whose filters give the lengths.
        seed: of the random numbers.

    Returns:
        A tensor for each parameter name, of the parameter's shape.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = {}
    for name, weight in model.named_parameters():
        if weight.ndim < 2:
            direction[name] = torch.zeros_like(weight)
            continue
        noise = torch.randn(weight.shape, generator=generator).to(weight)
        directions, filters = noise.flatten(1), weight.detach().flatten(1)  # (filters, numbers in each)
        scale = filters.norm(dim=1, keepdim=True) / directions.norm(dim=1, keepdim=True)
        direction[name] = (directions * scale).view_as(weight)
    return direction


@torch.no_grad()
def loss_slice(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    directions: Sequence[Mapping[str, Tensor]],
    steps: Sequence[Sequence[float]],
    *,
    batch_statistics: bool = False,
) -> pd.DataFrame:
    """The loss at w + a d (one direction) or w + a d + b e (two directions), for every step.

    Args:
        model: maps `x` to logits (N, classes); a copy is moved.
        x: a normalised batch, for images (N, C, H, W).
        y: labels (N,).
        directions: one or more, each a tensor for every parameter name: `filter_normalised_direction`.
        steps: the points to visit, each with one number for each direction.
        batch_statistics: False keeps the batch normalisation's running statistics, which belong to w itself; True
            takes the statistics of the batch at each point.

    Returns:
        One row a point: step0, step1, … and loss (mean cross-entropy, nats).

    Raises:
        ValueError: if a point has more or fewer numbers than there are directions.
    """
    wrong = [point for point in steps if len(point) != len(directions)]
    if wrong:
        raise ValueError(f"each point needs one number for each of the {len(directions)} directions, not {wrong[0]}")
    twin = copy.deepcopy(model).train(batch_statistics)
    start = {name: weight.clone() for name, weight in twin.named_parameters()}
    rows = []
    for point in steps:
        for name, weight in twin.named_parameters():
            weight.copy_(start[name])
            for step, direction in zip(point, directions, strict=True):
                weight.add_(direction[name], alpha=float(step))
        loss = F.cross_entropy(twin(x).float(), y).item()
        rows.append({f"step{i}": float(step) for i, step in enumerate(point)} | {"loss": loss})
    return pd.DataFrame(rows)

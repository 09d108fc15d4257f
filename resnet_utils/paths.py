"""The gradient of a residual network, taken apart by the paths it runs along. Nothing here changes the network.

A block's output F(x) + x reaches back to its input in two ways: through the branch F, or along the shortcut. So n
blocks make 2^n paths, and the length of a path is the number of branches it runs through (Veit et al. 2016,
arXiv:1605.06431).
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import accumulate

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_utils.blocks import Block, PreActivationBlock
from resnet_utils.models import ResNet


def path_gradients(
    model: ResNet, x: Tensor, y: Tensor, *, samples: int = 10, lengths: Sequence[int] | None = None, seed: int = 0
) -> pd.DataFrame:
    """The gradient of the loss that arrives at the input along single paths, drawn at random.

    For each length k, k blocks are drawn; the gradient runs through their branches only, and along the shortcut only
    of the others (Veit et al. 2016, §5). The ReLU behind an addition lies on every path. A copy of the model
    is measured in evaluation mode, so that the images do not mix.

    Args:
        model: every block residual.
        x: a normalised batch of images (N, C, H, W).
        y: labels (N,).
        samples: paths for each length, drawn with replacement.
        lengths: which lengths, each from 0 to the number of blocks; None takes all.
        seed: of the draws.

    Returns:
        One row a path: length, sample (from 0), norm (L2 norm of d loss / d x along this path, all images together).

    Raises:
        ValueError: if a block has no shortcut, or a length is not possible.
    """
    walk = _Walk(model, x, y)
    count = len(walk.cuts)
    lengths = range(count + 1) if lengths is None else lengths
    if samples < 1 or not all(0 <= length <= count for length in lengths):
        raise ValueError(f"samples must be at least 1 and the lengths 0 to {count}, not {samples} and {list(lengths)}")
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length in lengths:
        for sample in range(samples):
            through = set(torch.randperm(count, generator=generator)[:length].tolist())
            gradient = walk.end
            for i, cut in walk.backwards():
                gradient = cut.back(gradient, through_branch=i in through)
            rows.append({"length": length, "sample": sample, "norm": walk.to_input(gradient).norm().item()})
    return pd.DataFrame(rows)


def gradient_by_length(model: ResNet, x: Tensor, y: Tensor) -> pd.DataFrame:
    """The gradient of the loss at the input, summed exactly over all paths of each length.

    With B and S for the transposed derivatives of branch and shortcut, the gradient is the product of all (S + B). The
    sum over the paths of length k is what stands at t^k in the product of all (S + t B), and it is computed as such
    a polynomial, block by block. Arguments and errors: see `path_gradients`.

    Returns:
        One row a length: length, norm (L2 norm of the sum over the paths of this length, all images together) and
        share (scalar product of that sum with the whole gradient, which autograd gives, over the latter's square: the
        shares add up to 1, and one is negative where its paths pull against the whole).
    """
    walk = _Walk(model, x, y)
    sums = [walk.end]  # sums[k]: over the paths that ran through k branches so far
    for _, cut in walk.backwards():
        straight = [cut.back(gradient, through_branch=False) for gradient in sums]
        branch = [cut.back(gradient, through_branch=True) for gradient in sums]
        sums = [straight[0], *(s + b for s, b in zip(straight[1:], branch[:-1], strict=True)), branch[-1]]
    sums = torch.stack([walk.to_input(gradient).flatten() for gradient in sums]).double()  # (n + 1, numbers in x)
    whole = walk.whole.flatten().double()
    return pd.DataFrame(
        {
            "length": range(len(sums)),
            "norm": sums.norm(dim=1).tolist(),
            "share": (sums @ whole / whole.square().sum()).tolist(),
        }
    )


def carrying_lengths(shares: Sequence[float], part: float = 0.95) -> tuple[int, int]:
    """The shortest run of lengths, (first, last), whose shares of the gradient add up to at least `part`.

    Args:
        shares: the share of each length, from 0: the column of `gradient_by_length`.
        part: of their sum, above 0 and at most 1.

    Raises:
        ValueError: if `part` is not above 0 and at most 1.
    """
    if not 0 < part <= 1:
        raise ValueError(f"no lengths carry {part} of the gradient; choose a part above 0 and at most 1")
    sums = [0.0, *accumulate(shares)]
    goal = part * sums[-1] * (1 - 1e-9)  # rounding must not lose a run
    runs = [
        (last - first, first, last)
        for first in range(len(shares))
        for last in range(first, len(shares))
        if sums[last + 1] - sums[first] >= goal
    ]
    return min(runs)[1:]


def rearranged(model: ResNet, names: Sequence[str]) -> ResNet:
    """A copy of the network with its blocks in another order (Veit et al. 2016, §4.3).

    Args:
        model: with blocks in the order of `model.blocks()`.
        names: the block that shall stand at each place, say ["layer1.1", "layer1.0", …]; every block once.

    Raises:
        ValueError: if a name is missing or stands twice, or a block would meet an input of another shape.
    """
    blocks = dict(model.blocks())
    if sorted(names) != sorted(blocks):
        raise ValueError(f"the order must name each block once; got {list(names)}, the blocks are {list(blocks)}")
    twin = copy.deepcopy(model)
    for place, name in zip(blocks, names, strict=True):
        if place != name and _shapes(blocks[place]) != _shapes(blocks[name]):
            raise ValueError(f"block {name!r} has other shapes than {place!r}, whose place it would take")
        twin.set_submodule(place, copy.deepcopy(blocks[name]))
    return twin


class _Cut(nn.Module):
    """A block whose output has two graphs with the same values: one through the branch, one along the shortcut."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = copy.deepcopy(block)
        self.block.downsample = _Stopped(block.downsample)
        self.full = block

    def forward(self, x: Tensor) -> Tensor:
        self.before = x  # for the first block, the end of the stem's graph
        self.input = x.detach().requires_grad_()
        self.branch = self.block(self.input)  # F(x) + x.detach()
        straight = self.full.shortcut(self.input)
        if not isinstance(self.full, PreActivationBlock):
            straight = straight * (self.branch > 0)  # the ReLU behind the addition
        self.straight = straight  # its derivative is that of x + F(x).detach()
        self.output = self.branch.detach().requires_grad_()
        return self.output

    def back(self, gradient: Tensor, *, through_branch: bool) -> Tensor:
        """The gradient at the block's input, from that at its output."""
        end = self.branch if through_branch else self.straight
        return torch.autograd.grad(end, self.input, gradient, retain_graph=True)[0]


class _Stopped(nn.Module):
    """A shortcut through which no gradient runs."""

    def __init__(self, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x).detach()


class _Walk:
    """One pass through a network that is cut at its blocks, ready for the way back."""

    def __init__(self, model: ResNet, x: Tensor, y: Tensor) -> None:
        plain = [name for name, block in model.blocks() if not block.residual]
        if plain:
            raise ValueError(f"paths need a shortcut around every block; {', '.join(plain)} have none")
        twin = copy.deepcopy(model).eval().requires_grad_(False)
        self.x = x.detach().clone().requires_grad_()
        (self.whole,) = torch.autograd.grad(F.cross_entropy(twin(self.x).float(), y), self.x)
        self.cuts = [_Cut(block) for _, block in twin.blocks()]
        for (name, _), cut in zip(model.blocks(), self.cuts, strict=True):
            twin.set_submodule(name, cut)
        loss = F.cross_entropy(twin(self.x).float(), y)
        (self.end,) = torch.autograd.grad(loss, self.cuts[-1].output)

    def backwards(self) -> Iterator[tuple[int, _Cut]]:
        """The blocks from the last to the first, each with its index."""
        return reversed(list(enumerate(self.cuts)))

    def to_input(self, gradient: Tensor) -> Tensor:
        """The gradient at the images, from that at the first block's input."""
        return torch.autograd.grad(self.cuts[0].before, self.x, gradient, retain_graph=True)[0]


def _shapes(block: Block) -> list[tuple[int, ...]]:
    """The shapes of a block's weights and its strides."""
    strides = [module.stride for module in block.modules() if isinstance(module, nn.Conv2d)]
    return [*(tuple(weight.shape) for weight in block.parameters()), *strides]

"""Networks of one number, whose gradient can be drawn as a curve (Balduzzi et al. 2017, arXiv:1702.08591)."""

import torch
from torch import Tensor, nn


class ScalarNet(nn.Module):
    """A fully connected network from one number to one number, with fresh weights.

    Plain: each layer is relu(BN(W h)). Residual: each layer is h + beta W relu(BN(h)). A layer with weights opens
    the network, BN and a ReLU stand before its linear output. All weights have He's deviation. The first BN
    has random shifts, the others none.

    Args:
        depth: hidden layers, the opening one among them.
        width: numbers in each hidden layer.
        residual: add the input of each layer to its output.
        beta: scale of the residual branch; the paper takes 0.1.

    Raises:
        ValueError: if depth or width is below 1.
    """

    def __init__(self, depth: int, *, width: int = 200, residual: bool = False, beta: float = 0.1) -> None:
        super().__init__()
        if depth < 1 or width < 1:
            raise ValueError(f"depth and width must be at least 1, not {depth} and {width}")
        self.residual, self.beta = residual, beta
        self.entrance = nn.Linear(1, width, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, momentum=None) for _ in range(depth))
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth - 1))
        self.exit = nn.Linear(width, 1, bias=False)
        for layer in (self.entrance, *self.layers, self.exit):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        # Without a shift every kink of the first layer would lie at the mean of the inputs.
        nn.init.normal_(self.norms[0].bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1) to (N, 1)."""
        h = self.entrance(x)  # (N, width)
        for norm, layer in zip(self.norms, self.layers, strict=False):
            change = layer(norm(h).relu())
            h = h + self.beta * change if self.residual else change
        return self.exit(self.norms[-1](h).relu())


def input_gradients(net: nn.Module, grid: Tensor) -> Tensor:
    """The derivative of the network at every point of a grid.

    Batch normalisation takes the statistics of the grid and then holds them, so that the network is a function of one
    number and has a derivative.

    Args:
        net: maps (N, 1) to (N, 1); its running statistics are set by this, and it is left in evaluation mode.
        grid: N numbers, (N,).

    Returns:
        The derivatives, (N,).
    """
    x = grid[:, None].detach().clone().requires_grad_()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()  # those of an earlier grid would be averaged in
    with torch.no_grad():
        net.train()(x)
    (gradient,) = torch.autograd.grad(net.eval()(x).sum(), x)
    return gradient[:, 0]


def autocorrelation(series: Tensor, lags: int) -> Tensor:
    """How alike a series is to itself, moved by 0, 1, 2, … places: 1 at lag 0, near 0 where nothing is shared.

    Args:
        series: one or more series of n numbers each, (..., n).
        lags: how many lags, the lag 0 included; at most n.

    Returns:
        (..., lags): the sum of products of deviations from the mean at that distance, over the sum of squares.

    Raises:
        ValueError: if `lags` is below 1 or above n.
    """
    count = series.shape[-1]
    if not 1 <= lags <= count:
        raise ValueError(f"lags must be 1 to {count}, the length of the series, not {lags}")
    deviations = series - series.mean(-1, keepdim=True)
    products = [(deviations[..., : count - lag] * deviations[..., lag:]).sum(-1) for lag in range(lags)]
    return torch.stack(products, -1) / products[0][..., None]

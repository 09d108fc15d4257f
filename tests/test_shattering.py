import pytest
import torch
from torch import nn

from resnet_utils.shattering import ScalarNet, autocorrelation, input_gradients

GRID = torch.linspace(-2, 2, 64)


def test_the_derivative_of_a_straight_line_is_its_slope():
    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, -3)
    torch.testing.assert_close(input_gradients(net, GRID), torch.full((64,), -3.0))


@pytest.mark.parametrize("residual", [True, False])
def test_the_gradient_equals_finite_differences_of_the_function(residual):
    torch.manual_seed(0)
    net = ScalarNet(3, width=20, residual=residual).double()
    grid = GRID.double()
    gradient = input_gradients(net, grid)
    with torch.no_grad():
        slopes = (net(grid[:, None] + 1e-7) - net(grid[:, None] - 1e-7))[:, 0] / 2e-7
    torch.testing.assert_close(gradient, slopes, rtol=1e-4, atol=1e-4)


def test_the_statistics_of_an_earlier_grid_are_forgotten():
    torch.manual_seed(0)
    net = ScalarNet(3, width=20)
    first = input_gradients(net, GRID)
    input_gradients(net, 5 * GRID + 1)
    torch.testing.assert_close(input_gradients(net, GRID), first)


def test_a_residual_net_whose_branch_counts_nothing_is_as_deep_as_one_layer():
    torch.manual_seed(0)
    deep = ScalarNet(10, width=20, residual=True, beta=0.0)
    shallow = ScalarNet(1, width=20)
    shallow.entrance, shallow.exit = deep.entrance, deep.exit
    shallow.norms[0].bias = deep.norms[-1].bias
    torch.testing.assert_close(input_gradients(deep, GRID), input_gradients(shallow, GRID))


def test_a_series_that_changes_its_sign_each_time_is_its_own_opposite_at_lag_one():
    series = torch.tensor([1.0, -1.0]).repeat(50)
    torch.testing.assert_close(autocorrelation(series, 3), torch.tensor([1.0, -0.99, 0.98]))


def test_white_noise_has_no_autocorrelation_and_its_sums_have_much():
    noise = torch.randn(50, 256, generator=torch.Generator().manual_seed(0))
    white, brown = (autocorrelation(series, 6).mean(0) for series in (noise, noise.cumsum(1)))
    assert white[1:].abs().max() < 0.05
    assert brown[1:].min() > 0.8


@pytest.mark.parametrize(
    ("depth", "residual", "low", "high"), [(1, False, 0.8, 1), (24, False, -0.15, 0.15), (24, True, 0.6, 1)]
)
def test_depth_shatters_the_gradient_of_a_plain_net_and_less_that_of_a_residual_one(depth, residual, low, high):
    torch.manual_seed(0)
    gradients = [input_gradients(ScalarNet(depth, residual=residual), GRID) for _ in range(5)]
    assert low < autocorrelation(torch.stack(gradients), 2)[:, 1].mean() < high


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        ScalarNet(0)
    with pytest.raises(ValueError, match="1 to 64"):
        autocorrelation(GRID, 65)

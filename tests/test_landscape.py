import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_utils import models
from resnet_utils.landscape import filter_normalised_direction, loss_slice

LABELS = torch.tensor([0, 2, 1, 2])


def test_each_filter_of_the_direction_is_as_long_as_the_networks():
    torch.manual_seed(0)
    model = models.build("resnet8", 3)
    with torch.no_grad():
        model.conv1.weight[0] *= 7
    direction = filter_normalised_direction(model, seed=0)
    assert set(direction) == {name for name, _ in model.named_parameters()}
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            lengths = direction[name].flatten(1).norm(dim=1)
            torch.testing.assert_close(lengths, weight.detach().flatten(1).norm(dim=1))
        else:
            assert not direction[name].any(), "batch normalisation and biases stay"


def test_a_direction_depends_on_its_seed_only():
    model = nn.Linear(5, 3)
    first, again, other = (filter_normalised_direction(model, seed)["weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_loss_along_a_known_direction_is_what_the_formula_says():
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    direction = {"weight": torch.tensor([[1.0], [-1.0]])}  # at step a the logits of x = 1 are (a, -a)
    table = loss_slice(model, torch.ones(1, 1), torch.tensor([0]), [direction], [[-1], [0], [2]])
    assert table["step0"].to_list() == [-1, 0, 2]
    assert table["loss"].to_list() == pytest.approx([math.log(1 + math.exp(-2 * a)) for a in (-1, 0, 2)], rel=1e-5)


def test_two_directions_are_added():
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    up, down = ({"weight": torch.tensor(w)} for w in ([[1.0], [0.0]], [[0.0], [1.0]]))
    table = loss_slice(model, torch.ones(1, 1), torch.tensor([0]), [up, down], [[1, 1], [3, 1]])
    assert table["loss"].to_list() == pytest.approx([math.log(2), math.log(1 + math.exp(-2))], rel=1e-5)


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_at_zero_stands_the_loss_of_the_model_itself_which_stays_as_it_was(batch_statistics):
    torch.manual_seed(0)
    model = models.build("plain8", 3)
    x = torch.randn(4, 3, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    direction = filter_normalised_direction(model, seed=0)
    table = loss_slice(model, x, LABELS, [direction], [[1], [0]], batch_statistics=batch_statistics)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        expected = F.cross_entropy(model.train(batch_statistics)(x), LABELS).item()
    assert table["loss"][1] == pytest.approx(expected, rel=1e-5)
    assert table["loss"][0] != pytest.approx(expected, rel=1e-3)


def test_with_the_statistics_of_the_batch_a_longer_filter_changes_nothing():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, eps=1e-12)
    model = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), norm, nn.AdaptiveMaxPool2d(1), nn.Flatten())
    along = {name: w.detach() if w.ndim > 1 else torch.zeros_like(w) for name, w in model.named_parameters()}
    x = torch.randn(4, 1, 6, 6)
    batch = loss_slice(model, x, LABELS, [along], [[0], [2]], batch_statistics=True)["loss"]
    kept = loss_slice(model, x, LABELS, [along], [[0], [2]])["loss"]
    assert batch[0] == pytest.approx(batch[1], rel=1e-4)
    assert kept[0] != pytest.approx(kept[1], rel=1e-2)


def test_a_point_has_one_number_for_each_direction():
    model = nn.Linear(1, 2)
    with pytest.raises(ValueError, match="each of the 1 directions"):
        loss_slice(model, torch.ones(1, 1), LABELS[:1], [filter_normalised_direction(model, 0)], [[0, 1]])

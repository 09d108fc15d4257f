"""The numbers on the one-page summary, held to the networks themselves."""

import re
from pathlib import Path

import pytest
import torch

from resnet_utils import counting, models

PAGE = (Path(__file__).parents[1] / "book" / "summary.md").read_text()
NETWORKS = re.findall(r"^\| (resnet\S+) \| ([^|]+) \| ([\d,]+) \| ([\d.]+) G \|$", PAGE, re.MULTILINE)
SHAPES = dict(re.findall(r"^\| ([^|]+?) \| (\d+(?: x \d+ x \d+)?)(?: logits)? \|$", PAGE, re.MULTILINE))


def test_the_table_of_networks_is_found() -> None:
    assert len(NETWORKS) == 10
    assert len(SHAPES) == 8


@pytest.mark.parametrize(("name", "blocks", "parameters", "billions"), NETWORKS, ids=[row[0] for row in NETWORKS])
def test_a_network_of_the_summary_has_these_blocks_and_costs(name, blocks, parameters, billions) -> None:
    model = models.build(name)
    assert counting.parameters(model) == int(parameters.replace(",", ""))
    size = 224 if models.paper_shortcut(name) == "B" and name != "resnet18-cifar" else 32
    decimals = len(billions.split(".")[1])
    assert round(counting.multiply_adds(model, (3, size, size)) / 1e9, decimals) == float(billions)
    if stages := re.match(r"(\d+(?:, \d+)+)", blocks):
        assert [len(model.get_submodule(stage)) for stage in model.stages] == list(map(int, stages[1].split(", ")))


def test_the_shapes_of_resnet18_are_those_of_the_summary() -> None:
    model = models.build("resnet18").eval()
    shapes = []
    for part in ("relu", "maxpool", *model.stages, "avgpool", "fc"):
        model.get_submodule(part).register_forward_hook(
            lambda _module, _inputs, output: (
                shapes.append(" x ".join(map(str, output.flatten(1).shape[1:])))
                if output.shape[-1] == 1 or output.ndim == 2
                else shapes.append(" x ".join(map(str, output.shape[1:])))
            )
        )
    with torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
    assert shapes == list(SHAPES.values())


def test_a_bottleneck_has_17_sixteenths_and_a_basic_block_18_of_the_squared_channels() -> None:
    for channels in (64, 256, 512):
        assert counting.bottleneck_weights(channels) * 16 == 17 * channels**2
        assert counting.basic_weights(channels) == 18 * channels**2
    assert "1,179,648" in PAGE
    assert counting.basic_weights(256) == 1_179_648
    assert counting.bottleneck_weights(256) == 69_632
    assert round(18 * 16 / 17, 2) == 16.94

"""resnet_utils.measurements: the tables of the lesion and the gradients experiment."""

import pandas as pd
import pytest
import torch

from resnet_utils import measurements, probes, training
from resnet_utils.data import Batches
from resnet_utils.runs import Images, Run, train_all
from resnet_utils.training import FAST

FEW = Images("digits", subset=384, hold_out=96)  # 288 to train on, 96 to test on
SHORT = FAST.with_(epochs=3, batch_size=32, learning_rate=0.05)
TWINS = [Run("plain14", 0, SHORT), Run("resnet14", 0, SHORT)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def trained(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "best_device", lambda: torch.device("cpu"))
        return train_all(TWINS, FEW, checkpoints=folder, snapshots=(1, 2))[1]


def test_the_lesion_table_has_the_error_without_each_block_that_can_be_left_out(trained):
    _, test = FEW.load()
    table = measurements.lesion(trained, test)
    assert list(table["block"]) == [
        *("layer1.0", "layer1.1", "layer2.1", "layer3.1"),  # plain: those that keep the shape
        *("layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1"),
    ]
    assert list(table.columns[:7]) == list(TWINS[0].labels())
    precision = training.best_precision(torch.device("cpu"))
    for _, row in table.iterrows():
        model = trained[TWINS[row["model"] == "resnet14"]]
        assert row["whole_error"] == training.evaluate(model, test, precision=precision)[1]
        without = probes.without_block(model, row["block"])
        assert row["test_error"] == training.evaluate(without, test, precision=precision)[1]


def test_the_gradients_are_those_of_the_fresh_the_kept_and_the_trained_network(trained, folder):
    train, _ = FEW.load()
    table = measurements.gradients(trained, train, FEW, folder, (1, 2))
    assert sorted(set(table["epoch"])) == [0, 1, 2, 3]
    assert len(table) == 2 * 4 * 14  # 13 convolutions and the linear layer
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:256]
    x, y = next(iter(Batches(train.take(chosen), 256)))
    residual = table[table["model"] == "resnet14"]
    for epoch, network in ((0, TWINS[1].fresh(train)), (3, trained[TWINS[1]])):
        expected = probes.gradient_norms(network, x, y)
        found = residual[residual["epoch"] == epoch][list(expected.columns)]
        pd.testing.assert_frame_equal(found.reset_index(drop=True), expected, rtol=1e-4)
    assert residual.groupby("epoch")["weight"].sum().nunique() == 4


def test_a_snapshot_after_the_last_epoch_is_not_asked_for(trained, folder):
    train, _ = FEW.load()
    table = measurements.gradients(trained, train, FEW, folder, (1, 3, 20))
    assert sorted(set(table["epoch"])) == [0, 1, 3]


@pytest.mark.parametrize("where", ["elsewhere", None])
def test_networks_trained_without_snapshots_are_named_with_what_to_do(trained, tmp_path, where):
    train, _ = FEW.load()
    checkpoints = None if where is None else tmp_path / where
    with pytest.raises(ValueError, match=r"the weights of plain14 after epoch 1 were not kept .*train again"):
        measurements.gradients(trained, train, FEW, checkpoints, (1,))

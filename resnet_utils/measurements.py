"""What is measured on the trained networks of an experiment, as one tidy table."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from resnet_utils import probes
from resnet_utils.data import Batches, ImageSet
from resnet_utils.runs import Images, Trained, snapshot
from resnet_utils.training import best_precision, evaluate


def lesion(trained: Trained, test: ImageSet) -> pd.DataFrame:
    """The test error without each block, one at a time (Veit et al. 2016, arXiv:1605.06431).

    Returns:
        The columns of `Run.labels`, block (its name), test_error (% without it) and whole_error (% with all blocks).
        A block of a plain net that changes the shape cannot be left out, so it has no row.
    """
    rows = []
    for run, model in trained.items():
        precision = best_precision(next(model.parameters()).device)
        _, whole = evaluate(model, test, precision=precision)
        for block in probes.removable_blocks(model):
            _, error = evaluate(probes.without_block(model, block), test, precision=precision)
            rows.append(run.labels() | {"block": block, "test_error": error, "whole_error": whole})
    return pd.DataFrame(rows)


def gradients(
    trained: Trained, train: ImageSet, images: Images, checkpoints: Path | str | None, snapshots: Sequence[int]
) -> pd.DataFrame:
    """The gradient at every layer on 256 training images, unaugmented: fresh, after each snapshot, and at the end.

    Returns:
        The columns of `Run.labels`, epoch (0 is fresh) and the columns of `probes.gradient_norms`.

    Raises:
        ValueError: if the networks were trained without these snapshots.
    """
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:256]
    x, y = next(iter(Batches(train.take(chosen), 256)))
    tables = []
    for run, model in trained.items():
        states = {0: run.fresh(train).state_dict()}
        for epoch in (epoch for epoch in snapshots if epoch < run.recipe.epochs):
            path = None if checkpoints is None else snapshot(run, images, checkpoints, epoch)
            if path is None or not path.exists():
                raise ValueError(
                    f"the weights of {run.model} after epoch {epoch} were not kept in {checkpoints}; give a folder for "
                    "checkpoints, or remove the finished checkpoint there, and train again"
                )
            states[epoch] = torch.load(path, weights_only=True)
        states[run.recipe.epochs] = model.state_dict()
        for epoch, state in states.items():
            network = run.fresh(train)
            network.load_state_dict(state)
            tables.append(probes.gradient_norms(network, x, y).assign(epoch=epoch, **run.labels()))
    return pd.concat(tables, ignore_index=True)

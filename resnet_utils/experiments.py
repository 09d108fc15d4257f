"""The book's named experiments, and their settings at each scale.

"quick" runs on handwritten digits in a minute or two on two cores, offline. "full" runs on CIFAR-10 in at most 30
minutes on a Colab T4. The settings stand here and nowhere else.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from resnet_utils import data, models
from resnet_utils.training import FAST, Recipe, fit

SCALES = ("quick", "full")


@dataclass(frozen=True)
class Run:
    """One network to train: its name, the seed of its weights and batches, and its recipe."""

    model: str
    seed: int
    recipe: Recipe


@dataclass(frozen=True)
class Settings:
    """What an experiment trains, and on what.

    Every model is trained by `recipe` once for each seed; the models in `control_models` once more for each rate in
    `control_rates`, so that nobody need suspect that the rate was the trouble.
    """

    experiment: str
    scale: str
    data: str
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    recipe: Recipe
    minutes: str  # how long it takes, and on what
    control_models: tuple[str, ...] = ()
    control_rates: tuple[float, ...] = ()

    def with_(self, **changes: object) -> "Settings":
        """The same settings with these fields changed."""
        return replace(self, **changes)

    def runs(self) -> list[Run]:
        """The networks to train, in order."""
        main = [Run(model, seed, self.recipe) for model in self.models for seed in self.seeds]
        control = [
            Run(model, seed, self.recipe.with_(learning_rate=rate))
            for rate in self.control_rates
            for model in self.control_models
            for seed in self.seeds
        ]
        return main + control

    def __str__(self) -> str:
        recipe = self.recipe
        lines = [
            f"{self.scale} scale, {self.minutes}",
            f"data     {self.data}",
            f"models   {', '.join(self.models)}",
            f"seeds    {', '.join(map(str, self.seeds))}",
            f"recipe   {recipe.epochs} epochs, batches of {recipe.batch_size}, {recipe.schedule} schedule, "
            f"peak learning rate {recipe.learning_rate:g}",
        ]
        if self.control_rates:
            rates = " and ".join(f"{rate:g}" for rate in self.control_rates)
            lines.append(f"control  {', '.join(self.control_models)} again at {rates}")
        return "\n".join(lines)


_DEGRADATION_DEPTHS = {"quick": (8, 20, 56), "full": (20, 56)}
_ALL = {
    ("resnet18", "quick"): Settings(
        experiment="resnet18",
        scale="quick",
        data="digits",
        models=("resnet18-cifar",),
        seeds=(0, 1, 2),
        recipe=FAST.with_(epochs=4, learning_rate=0.02),
        minutes="under a minute on two CPU cores",
    ),
    ("resnet18", "full"): Settings(
        experiment="resnet18",
        scale="full",
        data="cifar10",
        models=("resnet18-cifar",),
        seeds=(0,),
        recipe=FAST.with_(epochs=30),
        minutes="about 15 minutes on a T4 (an estimate)",
    ),
    ("degradation", "quick"): Settings(
        experiment="degradation",
        scale="quick",
        data="digits",
        models=tuple(f"{family}{depth}" for depth in _DEGRADATION_DEPTHS["quick"] for family in ("plain", "resnet")),
        seeds=(0, 1, 2),
        recipe=FAST.with_(epochs=9, learning_rate=0.05),
        minutes="about two minutes on two CPU cores",
        control_models=("plain56",),
        control_rates=(0.02,),
    ),
    ("degradation", "full"): Settings(
        experiment="degradation",
        scale="full",
        data="cifar10",
        models=tuple(f"{family}{depth}" for depth in _DEGRADATION_DEPTHS["full"] for family in ("plain", "resnet")),
        seeds=(0,),
        recipe=FAST.with_(epochs=20),
        minutes="about 25 minutes on a T4 (an estimate)",
        control_models=("plain56",),
        control_rates=(0.04,),
    ),
}


def scale() -> str:
    """The scale asked for by the environment variable RESNET_SCALE; "quick" if it is not set."""
    asked = os.environ.get("RESNET_SCALE", "quick")
    if asked not in SCALES:
        raise ValueError(f"unknown scale {asked!r} in RESNET_SCALE; choose one of {', '.join(map(repr, SCALES))}")
    return asked


def names() -> list[str]:
    """The experiments that `settings` knows."""
    return sorted({name for name, _ in _ALL})


def settings(name: str, scale: str) -> Settings:
    """The settings of an experiment; the environment variable RESNET_EPOCHS, if set, overrides the epochs."""
    if (name, scale) not in _ALL:
        raise ValueError(
            f"no experiment {name!r} at scale {scale!r}; choose one of {', '.join(map(repr, names()))} "
            f"at {' or '.join(map(repr, SCALES))}"
        )
    chosen = _ALL[name, scale]
    epochs = os.environ.get("RESNET_EPOCHS")
    if epochs is None:
        return chosen
    if not epochs.isdecimal() or int(epochs) < 1:
        raise ValueError(f"RESNET_EPOCHS must be a whole number of at least 1, not {epochs!r}")
    return chosen.with_(recipe=chosen.recipe.with_(epochs=int(epochs)))


def run(
    settings: Settings, *, checkpoints: Path | str | None = None, progress: bool | None = None
) -> tuple[pd.DataFrame, dict[Run, nn.Module]]:
    """Train every network of the settings.

    Args:
        settings: what to train.
        checkpoints: a folder; a run found there goes on where it was stopped. None keeps nothing.
        progress: show a bar for each network; None shows it beyond the quick scale.

    Returns:
        The histories of all runs in one table, with the columns of `training.fit` and model, kind ("plain",
        "residual"), depth, seed and peak_rate; and the trained networks by their `Run`.
    """
    train, test = data.load(settings.data)
    progress = settings.scale != "quick" if progress is None else progress
    histories, trained = [], {}
    for run in settings.runs():
        torch.manual_seed(run.seed)
        model = models.build(run.model, len(train.classes), train.channels)
        file = f"{settings.experiment}-{settings.data}-{run.model}-rate{run.recipe.learning_rate:g}-seed{run.seed}.pt"
        checkpoint = None if checkpoints is None else Path(checkpoints) / file
        history = fit(model, train, run.recipe, test=test, seed=run.seed, checkpoint=checkpoint, progress=progress)
        family, depth = models.split_name(run.model)
        labels = {
            "model": run.model,
            "kind": "plain" if family == "plain" else "residual",
            "depth": depth,
            "seed": run.seed,
            "peak_rate": run.recipe.learning_rate,
        }
        histories.append(history.assign(**labels))
        trained[run] = model
    return pd.concat(histories, ignore_index=True), trained


def last_epochs(history: pd.DataFrame) -> pd.DataFrame:
    """The last epoch of every run: what the book reports, never the best test epoch."""
    return history.loc[history.groupby(["model", "seed", "peak_rate"], sort=False)["epoch"].idxmax()]

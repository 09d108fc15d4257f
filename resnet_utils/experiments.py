"""The book's named experiments, and their settings at each scale.

"quick" runs on handwritten digits in a minute or two on two cores, offline. "full" runs on CIFAR-10 in at most 30
minutes on a Colab T4. "record" is what the book's recorded results come from, on a GPU of today; "record-cpu" is the
smaller version of it for two CPU cores. The settings stand here and nowhere else.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from resnet_utils import measurements
from resnet_utils.runs import Images, Run, Trained, train_all
from resnet_utils.training import FAST, Recipe

SCALES = ("quick", "full", "record", "record-cpu")


@dataclass(frozen=True)
class Settings:
    """What an experiment trains, on what, and what it measures.

    Every model is trained by `recipe`, with every shortcut option, once for each seed; the models in `control_models`
    once more for each of `controls`, the recipe with one field changed, say ("learning_rate", 0.02), so that nobody
    need suspect that this choice was the trouble.

    The table of an experiment is the history of its training ("history"), or what is measured on its trained networks:
    the error without each block ("lesion"), or the gradient of every layer, fresh, at the `snapshots` and at the end
    ("gradients").
    """

    experiment: str
    scale: str
    images: Images
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    recipe: Recipe
    minutes: str  # how long it takes, and on what
    shortcuts: tuple[str | None, ...] = (None,)  # None: the option of the paper
    control_models: tuple[str, ...] = ()
    controls: tuple[tuple[str, float], ...] = ()
    snapshots: tuple[int, ...] = ()
    table: str = "history"

    @property
    def data(self) -> str:
        """The name of the data set."""
        return self.images.name

    def with_(self, **changes: object) -> "Settings":
        """The same settings with these fields changed."""
        return replace(self, **changes)

    def runs(self) -> list[Run]:
        """The networks to train, in order."""
        main = [
            Run(model, seed, self.recipe, shortcut)
            for model in self.models
            for shortcut in self.shortcuts
            for seed in self.seeds
        ]
        control = [
            Run(model, seed, self.recipe.with_(**{field: value}), shortcut)
            for field, value in self.controls
            for model in self.control_models
            for shortcut in self.shortcuts
            for seed in self.seeds
        ]
        return main + control

    def __str__(self) -> str:
        recipe = self.recipe
        lines = [
            f"{self.scale} scale, {self.minutes}",
            f"data     {self.images}",
            f"models   {', '.join(self.models)}",
            f"seeds    {', '.join(map(str, self.seeds))}",
            f"recipe   {recipe.epochs} epochs, batches of {recipe.batch_size}, {recipe.schedule} schedule, "
            f"peak learning rate {recipe.learning_rate:g}",
        ]
        if self.shortcuts != (None,):
            lines.append(f"options  {', '.join(map(str, self.shortcuts))} for the shortcuts")
        if self.controls:
            changes = " and ".join(f"{field} {value:g}" for field, value in self.controls)
            lines.append(f"control  {', '.join(self.control_models)} again with {changes}")
        return "\n".join(lines)


def _twins(*depths: int) -> tuple[str, ...]:
    """The plain and the residual network of each depth, in the CIFAR layout."""
    return tuple(f"{family}{depth}" for depth in depths for family in ("plain", "resnet"))


# What the experiments on the small nets share at each scale, so that one checkpoint serves all of them.
_SMALL_NETS = {
    "quick": {
        "images": Images("digits"),
        "seeds": (0, 1, 2),
        "recipe": FAST.with_(epochs=9, learning_rate=0.05),
        "minutes": "about a minute on two CPU cores",
        "snapshots": (1, 3),
    },
    "full": {
        "images": Images("cifar10"),
        "seeds": (0,),
        "recipe": FAST.with_(epochs=20),
        "minutes": "at most 25 minutes on a T4 (an estimate)",
        "snapshots": (1, 5),
    },
    "record": {
        "images": Images("cifar10"),
        "seeds": (0, 1, 2),
        "recipe": FAST.with_(epochs=30),
        "minutes": "about half an hour on an H100 (an estimate)",
        "snapshots": (1, 5, 15),
    },
    "record-cpu": {
        "images": Images("cifar10"),
        "seeds": (0,),
        "recipe": FAST.with_(epochs=10, learning_rate=0.05),  # plain-56's best in the experiment "recipe"
        "minutes": "about 75 minutes on two CPU cores",
        "snapshots": (1, 5),
    },
}
_PLAIN = ("plain20", "plain56", "plain32", "plain44", "plain110")
_OPTIONS = {"models": ("resnet20",), "shortcuts": (None, "B", "C")}  # None is A, as in the degradation experiment
_RESNET18 = {"models": ("resnet18-cifar",), "images": Images("cifar10"), "seeds": (0,)}
_RATES = (("learning_rate", 0.05), ("learning_rate", 0.1), ("learning_rate", 0.4))
_LESION = {"models": ("plain20", "resnet20", "resnet56"), "table": "lesion"}
_GRADIENTS = {"models": _twins(20, 56), "table": "gradients"}
_RECIPE = {
    "images": Images("cifar10", subset=10_000, hold_out=2_000),
    "models": _twins(20, 56),
    "seeds": (0,),
    "recipe": FAST.with_(epochs=5, learning_rate=0.2),
    "minutes": "about 25 minutes on two CPU cores",
    "control_models": _twins(20, 56),
    "controls": _RATES,
}
_ALL = {
    "resnet18": {
        "quick": _RESNET18
        | {
            "images": Images("digits"),
            "seeds": (0, 1, 2),
            "recipe": FAST.with_(epochs=4, learning_rate=0.02),
            "minutes": "under a minute on two CPU cores",
        },
        "full": _RESNET18 | {"recipe": FAST.with_(epochs=30), "minutes": "about 15 minutes on a T4 (an estimate)"},
        "record": _RESNET18
        | {
            "seeds": (0, 1, 2),
            "recipe": FAST.with_(epochs=30),
            "minutes": "about 5 minutes on an H100 (an estimate)",
        },
        "record-cpu": _RESNET18 | {"recipe": FAST.with_(epochs=5), "minutes": "about 45 minutes on two CPU cores"},
    },
    "degradation": {
        "quick": _SMALL_NETS["quick"]
        | {
            "models": _twins(8, 20, 56),
            "control_models": ("plain56",),
            "controls": (("learning_rate", 0.02),),
            "minutes": "about two minutes on two CPU cores",
        },
        "full": _SMALL_NETS["full"]
        | {"models": _twins(20, 56), "control_models": ("plain56",), "controls": (("learning_rate", 0.04),)},
        "record": _SMALL_NETS["record"]
        | {"models": _twins(20, 56, 32, 44, 110), "control_models": _PLAIN, "controls": (("learning_rate", 0.04),)},
        "record-cpu": _SMALL_NETS["record-cpu"] | {"models": _twins(20, 56)},
    },
    # A study of the recipe on training images that are held out, never on the test set.
    "recipe": {
        "quick": {
            "images": Images("digits", hold_out=287),
            "models": ("plain20", "resnet20"),
            "seeds": (0,),
            "recipe": FAST.with_(epochs=4, learning_rate=0.2),
            "minutes": "under a minute on two CPU cores",
            "control_models": ("plain20", "resnet20"),
            "controls": _RATES,
        },
        "full": _RECIPE | {"minutes": "about 10 minutes on a T4 (an estimate)"},
        "record": _RECIPE
        | {
            "images": Images("cifar10", hold_out=5000),
            "models": ("resnet18-cifar", *_twins(20, 56)),
            "recipe": FAST.with_(epochs=10),
            "minutes": "about 15 minutes on an H100 (an estimate)",
            "control_models": ("resnet18-cifar", *_twins(20, 56)),
            "controls": (*_RATES, ("weight_decay", 1e-4), ("weight_decay", 1e-3)),
        },
        "record-cpu": _RECIPE,
    },
    "shortcuts": {scale: shared | _OPTIONS for scale, shared in _SMALL_NETS.items()},
    "lesion": {scale: shared | _LESION for scale, shared in _SMALL_NETS.items()},
    "gradients": {scale: shared | _GRADIENTS for scale, shared in _SMALL_NETS.items()},
}


def scale() -> str:
    """The scale asked for by the environment variable RESNET_SCALE; "quick" if it is not set."""
    asked = os.environ.get("RESNET_SCALE", "quick")
    if asked not in SCALES:
        raise ValueError(f"unknown scale {asked!r} in RESNET_SCALE; choose one of {', '.join(map(repr, SCALES))}")
    return asked


def names() -> list[str]:
    """The experiments that `settings` knows."""
    return list(_ALL)


def settings(name: str, scale: str) -> Settings:
    """The settings of an experiment; the environment variable RESNET_EPOCHS, if set, overrides the epochs."""
    if name not in _ALL or scale not in SCALES:
        raise ValueError(
            f"no experiment {name!r} at scale {scale!r}; choose one of {', '.join(map(repr, names()))} "
            f"at one of {', '.join(map(repr, SCALES))}"
        )
    chosen = Settings(experiment=name, scale=scale, **_ALL[name][scale])
    epochs = os.environ.get("RESNET_EPOCHS")
    if epochs is None:
        return chosen
    if not epochs.isdecimal() or int(epochs) < 1:
        raise ValueError(f"RESNET_EPOCHS must be a whole number of at least 1, not {epochs!r}")
    return chosen.with_(recipe=chosen.recipe.with_(epochs=int(epochs)))


def run(
    settings: Settings,
    *,
    checkpoints: Path | str | None = None,
    progress: bool | None = None,
    at_once: int = 1,
    compiled: bool = False,
    start: Mapping[str, object] | None = None,
) -> tuple[pd.DataFrame, Trained]:
    """Train every network of the settings: see `runs.train_all`. A bar is shown beyond the quick scale, unless told."""
    return train_all(
        settings.runs(),
        settings.images,
        checkpoints=checkpoints,
        snapshots=settings.snapshots,
        at_once=at_once,
        compiled=compiled,
        start=start,
        progress=settings.scale != "quick" if progress is None else progress,
    )


def measure(
    settings: Settings, history: pd.DataFrame, trained: Trained, checkpoints: Path | str | None = None
) -> pd.DataFrame:
    """The table of an experiment, from what `run` returned and the folder with its checkpoints."""
    if settings.table == "history":
        return history
    train, test = settings.images.load()
    if settings.table == "lesion":
        return measurements.lesion(trained, test)
    return measurements.gradients(trained, train, settings.images, checkpoints, settings.snapshots)


def last_epochs(history: pd.DataFrame) -> pd.DataFrame:
    """The last epoch of every run: what the book reports, never the best test epoch."""
    which = ["model", "shortcut", "seed", "peak_rate", "weight_decay"]
    return history.loc[history.groupby([c for c in which if c in history], sort=False)["epoch"].idxmax()]

"""The command line: run a named experiment, train one network, or fetch a data set."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from resnet_utils import bench, data, distributed, experiments, models, records, runs, training
from resnet_utils.experiments import Settings
from resnet_utils.files import atomic, check_writable
from resnet_utils.runs import Run, Trained

PROGRAM = "python -m resnet_utils"
RECORDS = (  # in the order of their weight: where time is short, the first matter most
    ["degradation", "--models", "plain20", "resnet20", "plain56", "resnet56"],
    ["resnet18"],
    ["degradation"],  # with the other depths and the controls; what was trained above is not trained again
    ["shortcuts"],
    ["lesion"],
    ["gradients"],
    ["recipe"],
)
FAILURES = (ValueError, OSError, FloatingPointError, torch.OutOfMemoryError)  # what the package raises with advice
WEIGHTS = ("resnet20", "plain20", "resnet56")  # kept with the degradation record


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    main = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    commands = main.add_subparsers(dest="command", required=True)

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--at-once", type=int, default=1, help="networks that train at the same time")
    shared.add_argument("--compiled", action="store_true", help="train through torch.compile")
    shared.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="folder; goes on from there")
    shared.add_argument("--records", type=Path, help="folder; else the package's own for a whole record, and records")
    shared.add_argument("--allow-dirty", action="store_true", help="record although code is not committed")

    experiment = commands.add_parser("experiment", parents=[shared], help="run a named experiment, write its record")
    experiment.add_argument("name", choices=experiments.names())
    experiment.add_argument("--scale", choices=experiments.SCALES, default="quick")
    experiment.add_argument(
        "--models", nargs="+", metavar="MODEL", help="only these of its models, without the controls"
    )
    experiment.add_argument("--epochs", type=int, help="instead of the number of the scale")

    record = commands.add_parser("record", parents=[shared], help="run all experiments and write their records")
    record.add_argument("--scale", choices=("record", "record-cpu"), help="record on a GPU, else record-cpu")

    train = commands.add_parser("train", help="train one network and print its history; torchrun may start it")
    train.add_argument("model", help=f"one of {', '.join(models.names()[:9])}, … resnet20, plain56, …")
    train.add_argument("--data", choices=data.names(), default="digits")
    train.add_argument("--recipe", choices=("fast", "paper"), default="fast")
    train.add_argument("--epochs", type=int)
    train.add_argument("--batch-size", type=int, help="of all processes together")
    train.add_argument("--learning-rate", type=float)
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--checkpoint", type=Path, help="file; it goes on from there")
    train.add_argument("--compiled", action="store_true", help="train through torch.compile")

    benchmark = commands.add_parser("bench", help="compare our training loop with an ordinary one, on CIFAR-10")
    benchmark.add_argument("--models", nargs="+", metavar="MODEL", default=["resnet20", "resnet56", "resnet18-cifar"])
    benchmark.add_argument("--steps", type=int, default=12, help="steps timed in each round")
    benchmark.add_argument("--rounds", type=int, default=3, help="how often the two loops take turns")
    benchmark.add_argument("--compiled", action="store_true", help="our loop trains through torch.compile")
    benchmark.add_argument("--output", type=Path, help="also write the result to this file, as JSON")

    fetch = commands.add_parser("data", help="find or download a data set and check it")
    fetch.add_argument("name", choices=data.names())
    return main


def run_experiment(asked: argparse.Namespace, start: dict) -> None:
    """Train, measure, and write the record of an experiment.

    `start` is what `records.start` said when this process began: its code is what runs, whatever is on the disk now.
    """
    settings = _settings(asked)
    whole = asked.scale.startswith("record") and not (asked.models or asked.epochs)
    folder = asked.records or (records.FOLDER if whole else Path("records"))
    precision = str(training.best_precision(training.best_device())).removeprefix("torch.")
    start = start | {"command": _command(asked), "precision": precision}
    before = [each for run in settings.runs() for each in runs.starts(run, settings.images, asked.checkpoints)]
    for each in [] if asked.allow_dirty else [*before, start]:
        records.check_clean(each)  # now, not after hours of training
    records.check_replaceable(asked.name, settings.scale, folder)
    for each in (asked.checkpoints, folder):
        check_writable(each)
    print(settings, flush=True)
    history, trained = experiments.run(
        settings,
        checkpoints=asked.checkpoints,
        at_once=asked.at_once,
        compiled=asked.compiled,
        start=start,
        progress=True,
    )
    print(experiments.last_epochs(history).to_string(index=False))
    table = experiments.measure(settings, history, trained, asked.checkpoints)
    train, test = settings.images.load()
    about = {
        "command": start["command"],
        "scale": settings.scale,
        "settings": asdict(settings),
        "seeds": list(settings.seeds),
        "data": {"name": str(settings.images), "train_sha256": train.sha256(), "test_sha256": test.sha256()},
        "precision": precision,
        "seconds": float(history["seconds"].sum()),
        "starts": _starts(settings, asked.checkpoints, start),
    }
    weights = _weights(settings, trained) if settings.experiment == "degradation" else {}
    records.save(asked.name, table, about, weights=weights, folder=folder, allow_dirty=asked.allow_dirty)
    print(f"wrote {folder / asked.name}.csv and .json" + (f", weights of {', '.join(weights)}" if weights else ""))


def run_record(asked: argparse.Namespace, start: dict) -> None:
    """Run all experiments one after the other; one that fails does not stop the others."""
    scale = asked.scale or ("record" if training.best_device().type == "cuda" else "record-cpu")
    common = vars(asked) | {"scale": scale, "records": asked.records or records.FOLDER}
    if not asked.allow_dirty:
        records.check_clean(start)
    failed = []
    for words in RECORDS:
        try:
            each = parser().parse_args(["experiment", *words])
            run_experiment(argparse.Namespace(**vars(each) | common), start)
        except FAILURES as error:
            failed.append(f"{words[0]}: {error}")
            print(failed[-1], file=sys.stderr)
    if failed:
        raise ValueError("some records were not made:\n" + "\n".join(failed))


def run_train(asked: argparse.Namespace) -> None:
    """Train one network and print its history. Started by `torchrun`, its processes train it together."""
    recipe = training.FAST if asked.recipe == "fast" else training.PAPER
    changes = {"epochs": asked.epochs, "batch_size": asked.batch_size, "learning_rate": asked.learning_rate}
    recipe = recipe.with_(**{field: value for field, value in changes.items() if value is not None})
    with distributed.joined():
        train, test = distributed.first_of_machine_first(lambda: data.load(asked.data))
        history = training.fit(
            Run(asked.model, asked.seed, recipe).fresh(train),
            train,
            recipe,
            test=test,
            seed=asked.seed,
            checkpoint=asked.checkpoint,
            compiled=asked.compiled,
            progress=True,
        )
        if distributed.place()[0] == 0:
            print(history.to_string(index=False))


def run_data(asked: argparse.Namespace) -> None:
    """Find, download and check a data set, and print its hashes."""
    for part, images in zip(("train", "test"), data.load(asked.name), strict=True):
        print(f"{asked.name} {part:5} {len(images):6,} images  sha256 {images.sha256()}")


def run_bench(asked: argparse.Namespace, start: dict) -> None:
    """Measure both loops; print a table, and write JSON if asked."""
    result = start | bench.compare(asked.models, steps=asked.steps, rounds=asked.rounds, compiled=asked.compiled)
    where = f"{result['device']}, {result['precision']}, batches of {result['batch_size']}"
    print(f"{where}, medians of {asked.rounds} rounds")
    table = pd.DataFrame(result["networks"])
    print(table.drop(columns=["ratio_min", "ratio_max"]).round(2).to_string(index=False))
    for row in result["networks"]:
        spread = f"[{row['ratio_min']:.2f}, {row['ratio_max']:.2f}]"
        print(f"{row['network']}: {row['ratio']:.2f} times as fast as the ordinary loop {spread}")
    print(f"second load of CIFAR-10, every byte read: {result['second_load_s']:.2f} s")
    if asked.output:
        with atomic(asked.output) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {asked.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 if all went well, 1 with a message if not. What was trained stays in the checkpoints."""
    asked = parser().parse_args(arguments)
    run = {
        "experiment": lambda: run_experiment(asked, records.start()),
        "record": lambda: run_record(asked, records.start()),
        "train": lambda: run_train(asked),
        "bench": lambda: run_bench(asked, records.start()),
        "data": lambda: run_data(asked),
    }
    try:
        run[asked.command]()
    except FAILURES as error:
        print(f"{PROGRAM} {asked.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _settings(asked: argparse.Namespace) -> Settings:
    """The settings of the experiment with what was asked for changed."""
    settings = experiments.settings(asked.name, asked.scale)
    if asked.epochs is not None:
        settings = settings.with_(recipe=settings.recipe.with_(epochs=asked.epochs))
    if asked.models:
        if unknown := [model for model in asked.models if model not in settings.models]:
            known = ", ".join(settings.models)
            raise ValueError(f"{settings.experiment} has no {', '.join(unknown)}; its models are {known}")
        settings = settings.with_(models=tuple(asked.models), control_models=(), controls=())
    return settings


def _command(asked: argparse.Namespace) -> str:
    """The command without the folders of this machine."""
    epochs = asked.epochs or os.environ.get("RESNET_EPOCHS")
    words = ["experiment", asked.name, "--scale", asked.scale]
    words += ["--models", *asked.models] if asked.models else []
    words += ["--epochs", str(epochs)] if epochs else []
    words += ["--at-once", str(asked.at_once)] if asked.at_once > 1 else []
    words += ["--compiled"] if asked.compiled else []
    return f"{PROGRAM} {shlex.join(words)}"


def _starts(settings: Settings, checkpoints: Path, last: dict) -> list[dict]:
    """Every start that trained a part of these networks, in order, and the one that writes the record."""
    every = [start for run in settings.runs() for start in runs.starts(run, settings.images, checkpoints)]
    distinct = {json.dumps(start): start for start in [*every, last]}
    return sorted(distinct.values(), key=lambda start: start["date"])


def _weights(settings: Settings, trained: Trained) -> dict[str, dict[str, torch.Tensor]]:
    """The weights that ship with the book: of the first seed, trained by the main recipe."""
    first = {run.model: model for run, model in reversed(trained.items()) if run.recipe == settings.recipe}
    return {name: first[name].state_dict() for name in WEIGHTS if name in first}


if __name__ == "__main__":
    sys.exit(main())

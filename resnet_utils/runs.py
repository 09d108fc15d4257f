"""Train many networks, one after the other or several at once, so that a run killed at any moment goes on."""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from resnet_utils import checkpoints as checkpoint_files
from resnet_utils import counting, data, models
from resnet_utils.data import ImageSet
from resnet_utils.files import atomic, code_sha256
from resnet_utils.training import Recipe, fit


@dataclass(frozen=True)
class Images:
    """The images to train and to test on.

    With `hold_out` the networks are tested on that many training images, which they do not train on: for choosing
    settings without the test set. With `subset` only that many training images, drawn at random, are used in all.
    """

    name: str
    subset: int = 0
    hold_out: int = 0

    def load(self) -> tuple[ImageSet, ImageSet]:
        """(to train on, to test on)."""
        train, test = data.load(self.name)
        if self.subset:
            _, train = train.hold_out(self.subset)
        return train.hold_out(self.hold_out) if self.hold_out else (train, test)

    def __str__(self) -> str:
        if not self.hold_out:
            return self.name if not self.subset else f"{self.name}-{self.subset}"
        return f"{self.name}-{self.subset or 'all'}-less-{self.hold_out}"


@dataclass(frozen=True)
class Run:
    """One network to train: its name, its shortcut option, the seed of its weights and batches, and its recipe."""

    model: str
    seed: int
    recipe: Recipe
    shortcut: str | None = None

    def file(self, images: Images) -> str:
        """The name of this run's checkpoint. Experiments that train the same network share it."""
        option = f"-option{self.shortcut}" if self.shortcut else ""
        recipe = self.recipe
        how = f"{recipe.epochs}epochs-rate{recipe.learning_rate:g}-decay{recipe.weight_decay:g}"
        return f"{images}-{self.model}{option}-{how}-seed{self.seed}.pt"

    def fresh(self, images: ImageSet) -> nn.Module:
        """The network before its first step."""
        torch.manual_seed(self.seed)
        return models.build(self.model, len(images.classes), images.channels, shortcut=self.shortcut)

    def labels(self) -> dict[str, object]:
        """What tells this run from others, as columns of a table."""
        family, depth = models.split_name(self.model)
        plain = family == "plain"
        return {
            "model": self.model,
            "kind": "plain" if plain else "residual",
            "depth": depth,
            "shortcut": "none" if plain else self.shortcut or models.paper_shortcut(self.model),
            "seed": self.seed,
            "peak_rate": self.recipe.learning_rate,
            "weight_decay": self.recipe.weight_decay,
        }


Trained = dict[Run, nn.Module]


def train_all(
    runs: Sequence[Run],
    images: Images,
    *,
    checkpoints: Path | str | None = None,
    snapshots: Sequence[int] = (),
    at_once: int = 1,
    compiled: bool = False,
    start: Mapping[str, object] | None = None,
    progress: bool = False,
) -> tuple[pd.DataFrame, Trained]:
    """Train every network of `runs`.

    Args:
        runs: what to train.
        images: on what.
        checkpoints: a folder; a run found there goes on where it was stopped. None keeps nothing.
        snapshots: epochs after which the weights are kept in that folder too: see `snapshot`.
        at_once: how many networks train at the same time, each in a process of its own. On a CPU they share its cores.
        compiled: see `training.fit`.
        start: says what trains here (`records.start`). It is kept in the checkpoint of each network that is trained in
            part or in whole: see `starts`.
        progress: show a bar with the time left for all of them.

    Returns:
        The histories in one table, the columns of `Run.labels` behind those of `training.fit`; and the networks.
    """
    if at_once < 1:
        raise ValueError(f"at_once must be at least 1, not {at_once}")
    train, test = images.load()
    with ExitStack() as stack:
        if checkpoints is None and at_once > 1:  # the processes hand their networks over in files
            checkpoints = stack.enter_context(tempfile.TemporaryDirectory())
        folder = None if checkpoints is None else Path(checkpoints)
        done = stack.enter_context(_bar(runs, train, progress))
        trainer = _Trainer(images, folder, tuple(snapshots), compiled, start)
        if at_once > 1:
            _in_processes(runs, trainer, at_once, done)
        histories, trained = [], {}
        for i, run in enumerate(runs):
            model, history = trainer.train(run, train, test, partial(done, i))
            histories.append(history.assign(**run.labels()))
            trained[run] = model
    return pd.concat(histories, ignore_index=True), trained


def snapshot(run: Run, images: Images, checkpoints: Path | str, epoch: int) -> Path:
    """Where the weights of `run` after `epoch` are kept, if its snapshots were asked for."""
    return Path(checkpoints) / "snapshots" / f"{Path(run.file(images)).stem}-epoch{epoch}.pt"


def starts(run: Run, images: Images, checkpoints: Path | str) -> list[dict]:
    """What trained the checkpoint of `run`, one entry for each start that trained an epoch of it."""
    return checkpoint_files.starts(Path(checkpoints) / run.file(images))


@dataclass(frozen=True)
class _Trainer:
    """How to train any one of the runs, in this process or in another."""

    images: Images
    folder: Path | None
    snapshots: tuple[int, ...]
    compiled: bool
    start: Mapping[str, object] | None

    def train(
        self, run: Run, train: ImageSet, test: ImageSet, done: Callable[[float, float], None]
    ) -> tuple[nn.Module, pd.DataFrame]:
        """Train one network; tell `done` after each step the share done, and the share that a checkpoint had done."""
        model = run.fresh(train)
        steps = run.recipe.epochs * -(-len(train) // run.recipe.batch_size)
        before = 1.0  # until a step is taken

        def tell(step: int) -> None:
            nonlocal before
            before = min(before, (step - 1) / steps)
            done(step / steps, before)

        def keep(epoch: int) -> None:
            if self.folder is not None and epoch in self.snapshots:
                with atomic(snapshot(run, self.images, self.folder, epoch)) as temporary:
                    torch.save({name: value.cpu() for name, value in model.state_dict().items()}, temporary)

        history = fit(
            model,
            train,
            run.recipe,
            test=test,
            seed=run.seed,
            checkpoint=None if self.folder is None else self.folder / run.file(self.images),
            compiled=self.compiled,
            start=self.start,
            after_step=tell,
            after_epoch=keep,
        )
        done(1.0, before)
        return model, history


@contextmanager
def _bar(runs: Sequence[Run], train: ImageSet, progress: bool) -> Iterator[Callable[[int, float, float], None]]:
    """A bar for all runs, each weighted by its multiply-adds.

    Yields a function that is told a run's index, the share of its steps that are done, and the share that were done
    before, by a checkpoint.
    """
    if not progress:
        yield lambda i, share, before: None
        return
    shape = (train.channels, *train.images.shape[2:])
    networks = {(run.model, run.shortcut): run for run in runs}
    work = {key: counting.multiply_adds(run.fresh(train), shape) for key, run in networks.items()}
    weights = [run.recipe.epochs * work[run.model, run.shortcut] for run in runs]
    shares, restored = [0.0] * len(runs), [0.0] * len(runs)
    layout = "{percentage:3.0f} % |{bar}| {elapsed} so far, {remaining} left{postfix}"
    with tqdm(total=100.0, mininterval=1, smoothing=0, bar_format=layout) as bar:

        def done(i: int, share: float, before: float) -> None:
            restored[i] = restored[i] if shares[i] else before
            shares[i] = max(share, shares[i])
            percent = [
                100 * sum(w * s for w, s in zip(weights, each, strict=True)) / sum(weights)
                for each in (shares, restored)
            ]
            bar.initial = percent[1]  # took no time here
            bar.set_postfix_str(f"{sum(s == 1 for s in shares)} of {len(runs)} networks", refresh=False)
            bar.update(percent[0] - bar.n)

        yield done


def _in_processes(
    runs: Sequence[Run], trainer: _Trainer, at_once: int, done: Callable[[int, float, float], None]
) -> None:
    """Train all runs to their last checkpoint, `at_once` at the same time. One that fails does not stop the others."""
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    shares = context.Array("d", 2 * len(runs))  # of each run the share done, and the share done before
    setup = (shares, max(1, torch.get_num_threads() // at_once))
    with ProcessPoolExecutor(at_once, mp_context=context, initializer=_begin_worker, initargs=setup) as pool:
        jobs = [pool.submit(_work, i, run, trainer) for i, run in enumerate(runs)]
        waiting = set(jobs)
        try:
            while waiting:
                _, waiting = wait(waiting, timeout=1)
                for i in range(len(runs)):
                    done(i, *shares[2 * i : 2 * i + 2])
        except BaseException:  # Ctrl-C: begin no further network
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    try:
        for job in jobs:
            job.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            f"a training process was killed, most likely for lack of memory. Train fewer than {at_once} at once; "
            "a new start goes on from the checkpoints."
        ) from error


def _begin_worker(shares: Sequence[float], threads: int) -> None:
    """Set up a process of the pool, which hands it shared memory in no other way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    global _shares  # noqa: PLW0603
    _shares = shares
    torch.set_num_threads(threads)


def _work(i: int, run: Run, trainer: _Trainer) -> None:
    """Train run number `i` in a process of the pool."""

    def done(share: float, before: float) -> None:
        _shares[2 * i : 2 * i + 2] = share, before
        if not multiprocessing.parent_process().is_alive():  # killed; a new start would train beside this process
            os._exit(1)

    if (trainer.start or {}).get("code") not in (None, code_sha256()):
        raise ValueError("the package's code was changed while it trained; start again, the checkpoints go on")
    trainer.train(run, *trainer.images.load(), done)

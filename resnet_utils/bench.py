"""Our training loop beside that of an ordinary tutorial, on CIFAR-10, in one run: what `make bench` prints.

The ordinary loop is the one that most tutorials show: a DataLoader with two workers, per-image transforms on PIL
images, float32, and `.item()` in every step. Both train the same network with batches of the same size. They take
turns, each time in a new process, so that a change in the machine's speed meets both and memory is counted apart.
"""

import math
import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from resnet_utils import counting, data, models
from resnet_utils.data import ImageSet
from resnet_utils.training import FAST, best_device, best_precision, fit

BATCH = 128
WARM_UP = 4  # steps before the clock starts


class _EnoughError(Exception):
    """Ends a training whose steps have been timed."""


class _Pictures(Dataset):
    """PIL images transformed one by one."""

    def __init__(self, images: ImageSet) -> None:
        self.pictures = [to_pil_image(image) for image in images.images]
        self.labels = images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(images.images.shape[2:], padding=images.padding),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(images.mean, images.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[i]), self.labels[i]


def ours(name: str, steps: int, compiled: bool = False) -> dict[str, float]:
    """Train `name` by `training.fit` for some steps; images per second, the matrix-product rate, and peak memory."""
    train, model, device = _prepare(name)
    times = []

    def note(step: int) -> None:
        if step in (WARM_UP, WARM_UP + steps):
            _finish(device)
            times.append(perf_counter())
        if step == WARM_UP + steps:
            raise _EnoughError

    with suppress(_EnoughError):
        fit(model, train, FAST.with_(epochs=1, batch_size=BATCH), compiled=compiled, after_step=note)
    rate = steps * BATCH / (times[1] - times[0])
    return {"images_per_s": rate, "peak_mb": _peak_mb(), "matmul_gflops": matmul_gflops(device)}


def ordinary(name: str, steps: int) -> dict[str, float]:
    """Train `name` as an ordinary tutorial does for some steps; images per second and peak memory."""
    train, model, device = _prepare(name)
    model.to(device).train()
    loader = DataLoader(_Pictures(train), batch_size=BATCH, shuffle=True, num_workers=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    running_loss, start = 0.0, 0.0
    for step, (x, y) in enumerate(loader, start=1):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x.to(device)), y.to(device))
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        if step == WARM_UP:
            start = perf_counter()
        if step == WARM_UP + steps:
            seconds = perf_counter() - start  # before the loader stops its workers
            return {"images_per_s": steps * BATCH / seconds, "peak_mb": _peak_mb()}
    raise ValueError(f"{steps} steps are more than an epoch of {len(loader)}; time fewer")


def matmul_gflops(device: torch.device, size: int = 4096) -> float:
    """How fast the device multiplies square matrices in `best_precision`: the best of five, in 10^9 operations/s."""
    a = torch.randn(size, size, device=device).to(best_precision(device))
    products = 1 if device.type == "cpu" else 20  # one takes a GPU too little time to be measured alone
    seconds = []
    for _ in range(5):
        start = perf_counter()
        for _ in range(products):
            a @ a
        _finish(device)
        seconds.append(perf_counter() - start)
    return products * 2 * size**3 / min(seconds) / 1e9


def load_seconds() -> float:
    """How long it takes to load CIFAR-10 once it has been decoded, and to read every byte of it."""
    start = perf_counter()
    for images in data.load("cifar10"):
        images.images.sum(dtype=torch.int64)
    return perf_counter() - start


def compare(names: Sequence[str], *, steps: int = 12, rounds: int = 3, compiled: bool = False) -> dict[str, object]:
    """Measure both loops on each network; medians over the rounds.

    Args:
        names: networks for `models.build`.
        steps: steps that are timed in each round, after a few that are not.
        rounds: how often the two loops take turns.
        compiled: whether our loop trains through `torch.compile`.

    Returns:
        precision, batch_size, steps, rounds, compiled, second_load_s, and "networks": for each its name, images_per_s
        of both loops, their ratio (median and range of the rounds), gflops of our loop (10^9 operations/s; the backward
        pass counted as two forward passes), share (of the matrix-product rate measured beside it) and peak_mb of both.
    """
    data.load("cifar10")  # decodes the images if that was never done
    device = best_device()
    table = []
    for name in names:
        turns = [_turn(name, steps, compiled, ours_first=turn % 2 == 0) for turn in range(rounds)]
        operations = 3 * 2 * counting.multiply_adds(models.build(name), (3, 32, 32))
        ratios = [own["images_per_s"] / other["images_per_s"] for own, other in turns]
        shares = [own["images_per_s"] * operations / own["matmul_gflops"] / 1e9 for own, _ in turns]
        own, other = ({key: statistics.median(turn[i][key] for turn in turns) for key in turns[0][i]} for i in (0, 1))
        table.append(
            {
                "network": name,
                "images_per_s": own["images_per_s"],
                "ordinary_images_per_s": other["images_per_s"],
                "ratio": statistics.median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
                "gflops": own["images_per_s"] * operations / 1e9,
                "matmul_gflops": own["matmul_gflops"],
                "share": statistics.median(shares),
                "peak_mb": own["peak_mb"],
                "ordinary_peak_mb": other["peak_mb"],
            }
        )
    return {
        "batch_size": BATCH,
        "steps": steps,
        "rounds": rounds,
        "compiled": compiled,
        "precision": str(best_precision(device)).removeprefix("torch."),
        "second_load_s": _apart(load_seconds),
        "networks": table,
    }


def _turn(name: str, steps: int, compiled: bool, *, ours_first: bool) -> tuple[dict, dict]:
    """One measurement of our loop and one of the ordinary loop."""
    if ours_first:
        own = _apart(ours, name, steps, compiled)
        return own, _apart(ordinary, name, steps)
    other = _apart(ordinary, name, steps)
    return _apart(ours, name, steps, compiled), other


def _prepare(name: str) -> tuple[ImageSet, torch.nn.Module, torch.device]:
    """The training images, a fresh network, and the device."""
    train, _ = data.load("cifar10")
    torch.manual_seed(0)
    return train, models.build(name), best_device()


def _apart(function: Callable, *arguments: object) -> Any:
    """Call the function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _finish(device: torch.device) -> None:
    """Wait for what was asked of a GPU."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def _peak_mb() -> float:
    """The most memory that this process held, and what its workers hold now, in 10^6 bytes; on a GPU, the GPU's.

    NaN where the system does not say: it is read from Linux's /proc, whose figures are in kibibytes.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    asked = [("self/status", "VmHWM:")]
    asked += [(f"{worker.pid}/smaps_rollup", "Pss:") for worker in multiprocessing.active_children()]
    try:
        lines = [line.split() for file, _ in asked for line in Path("/proc", file).read_text().splitlines()]
    except OSError:
        return math.nan
    wanted = {word for _, word in asked}
    return sum(int(line[1]) for line in lines if line[0] in wanted) * 1024 / 1e6

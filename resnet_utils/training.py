"""Recipes, the training loop and evaluation."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from resnet_utils import checkpoints, distributed
from resnet_utils.data import Batches, ImageSet


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: stochastic gradient descent with momentum, and a schedule of its learning rate.

    `schedule` is "step" (a tenth of the rate after 1/2 and again after 3/4 of the steps) or "one-cycle" (up to
    `learning_rate` in the first `warmup` of the steps, then down to zero along a cosine; arXiv:1708.07120).
    """

    epochs: int
    learning_rate: float
    batch_size: int = 128
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_all: bool = True  # False: no weight decay on one-dimensional tensors (biases and batch normalisation)
    schedule: str = "step"
    warmup: float = 0.25

    def __post_init__(self) -> None:
        if self.schedule not in ("step", "one-cycle"):
            raise ValueError(f"unknown schedule {self.schedule!r}; choose 'step' or 'one-cycle'")
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ValueError(f"epochs and batch_size must be at least 1 and learning_rate above 0, got {self}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share of the steps, at least 0 and below 1, not {self.warmup}")

    def with_(self, **changes: object) -> "Recipe":
        """The same recipe with these fields changed."""
        return replace(self, **changes)


PAPER = Recipe(epochs=164, learning_rate=0.1)
"""He et al. 2015, §4.2: batch 128, rate 0.1, a tenth at 32,000 and 48,000 of 64,000 steps (164 epochs of CIFAR-10)."""

FAST = Recipe(epochs=24, learning_rate=0.2, nesterov=True, weight_decay=5e-4, decay_all=False, schedule="one-cycle")
"""One cycle, Nesterov momentum, no decay of one-dimensional tensors: most of the accuracy in a fraction of the time."""


def best_device() -> torch.device:
    """CUDA if there is a GPU, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def best_precision(device: torch.device) -> torch.dtype:
    """The number format that trains fastest there: bfloat16, float16 (with a gradient scaler) or float32.

    On a GPU bfloat16 from compute capability 8.0; a T4 (7.5) emulates it slowly, so float16 there. On a CPU bfloat16
    only where the processor multiplies it in hardware; others emulate it.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot say: float32
        if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
            return torch.bfloat16
    return torch.float32


@contextmanager
def _advice_on_memory() -> Iterator[None]:
    """Turn a GPU's lack of memory into an error that says what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise torch.OutOfMemoryError(
            "the GPU has no memory left. Restart the runtime, which frees what other notebooks hold, train fewer "
            "networks at once, and run again: a checkpoint goes on where it was. If that is not enough, halve "
            "batch_size and learning_rate of the recipe together; that is another run and starts anew."
        ) from error


@_advice_on_memory()
def fit(
    model: nn.Module,
    train: ImageSet,
    recipe: Recipe,
    *,
    test: ImageSet | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    precision: torch.dtype | None = None,
    checkpoint: Path | str | None = None,
    compiled: bool = False,
    start: Mapping[str, object] | None = None,
    progress: bool = False,
    after_step: Callable[[int], None] | None = None,
    after_epoch: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Train `model` in place by `recipe`; return its history, one row an epoch.

    Where several processes are joined (`distributed.joined`) each calls this with the same arguments and computes its
    share of every batch. The first alone evaluates and writes the checkpoint, which all of them must be able to read.

    Args:
        model: maps images (N, C, H, W) to logits (N, classes).
        train: the images to learn from, shuffled and augmented.
        recipe: optimiser, schedule and number of epochs.
        test: evaluated after every epoch; it never influences the training.
        seed: fixes the order of the images and their augmentation (not the initial weights: those are the model's).
        device: None chooses `best_device()`.
        precision: None chooses `best_precision(device)`.
        checkpoint: a file written after every epoch. If it is there, training goes on from it; on a CPU, with as many
            threads, the result is bit-equal to that of a run never stopped.
        compiled: train through `torch.compile`, which fuses small operations. It needs a C++ compiler and a minute.
        start: says what trains here (`records.start`); kept in the checkpoint if an epoch is trained.
        progress: show a bar with the time left.
        after_step: called with the number of steps taken, from 1, after each.
        after_epoch: called with the number of epochs trained, from 1, before the checkpoint of that epoch is written.

    Returns:
        Columns epoch (from 1), learning_rate (at the epoch's end), train_loss and train_error (means over the epoch's
        augmented batches, error in %), test_loss, test_error (%; NaN without `test`) and seconds (of that epoch).

    Raises:
        FloatingPointError: if a loss or a weight is no longer a finite number, with what to try.
        torch.OutOfMemoryError: if the GPU has no memory left, with what to try.
        ValueError: if the checkpoint is damaged or belongs to another run, such as one of more or fewer processes.
        OSError: if the checkpoint cannot be written or read.
    """
    device = best_device() if device is None else torch.device(device)
    precision = best_precision(device) if precision is None else precision
    channels_last = device.type != "mps"  # wrong BatchNorm gradients there: pytorch issue 175189
    model.to(device, memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    optimizer = torch.optim.SGD(_parameter_groups(model, recipe), momentum=recipe.momentum, nesterov=recipe.nesterov)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    state = {"model": model, "optimizer": optimizer, "scaler": scaler}
    rank, processes = distributed.place()
    history, starts = [], []
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        augmentation = [train.padding, train.flip, list(train.mean), list(train.std)]
        run = asdict(recipe) | {"seed": seed, "data": train.sha256(), "augmentation": augmentation}
        run |= {"precision": str(precision), "model": repr(model), "processes": processes}
        if checkpoint.exists():
            history, starts = checkpoints.restore(checkpoint, state, run)
        if len(set(distributed.gathered(len(history)))) > 1:
            raise ValueError(
                f"not all processes found the same checkpoint {checkpoint}; choose a folder that all machines share"
            )
    if len(history) == recipe.epochs:
        return pd.DataFrame(history)
    if start is not None and dict(start) not in starts:
        starts = [*starts, dict(start)]
    where = {"device": device, "channels_last": channels_last, "rank": rank, "processes": processes}
    batches = Batches(train, recipe.batch_size, train=True, seed=seed, **where)
    network = distributed.wrapped(model)
    network = _compiled(network) if compiled else network  # all three hold the same weights

    step, steps = len(history) * len(batches), recipe.epochs * len(batches)
    with tqdm(total=steps, initial=step, disable=not progress or rank > 0, mininterval=1, unit="step") as bar:
        for epoch in range(len(history), recipe.epochs):
            begin = perf_counter()
            model.train()
            sums = torch.zeros(2, device=device)  # summed loss and errors, kept on the device: no waiting for it
            for weight, (x, y) in zip(batches.weights(), batches.epoch(epoch), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = recipe.learning_rate * rate(recipe, step, steps)
                with autocast(device, precision):
                    logits = network(x)
                loss = F.cross_entropy(logits.float(), y)
                optimizer.zero_grad()
                scaler.scale(loss * weight).backward()
                scaler.step(optimizer)  # float16 alone waits for the GPU here, to see whether a gradient overflowed
                scaler.update()
                step += 1
                sums += torch.stack([loss.detach() * len(y), (logits.argmax(1) != y).sum()])
                bar.update()
                if after_step:
                    after_step(step)
            train_loss, train_wrong = (distributed.summed(sums) / len(train)).tolist()
            test_loss, test_error = (math.nan, math.nan)
            if test is not None:
                test_loss, test_error = distributed.by_first(lambda: evaluate(model, test, precision=precision))
            weights_finite = all(p.isfinite().all() for p in model.parameters())
            if not (math.isfinite(train_loss) and weights_finite and (test is None or math.isfinite(test_loss))):
                raise FloatingPointError(
                    f"training diverged in epoch {epoch + 1}, at a loss of {train_loss}. Try a lower learning rate "
                    f"(now {recipe.learning_rate}), a longer warm-up, or precision=torch.float32 (now {precision})."
                )
            history.append(
                {
                    "epoch": epoch + 1,
                    "learning_rate": recipe.learning_rate * rate(recipe, step, steps),
                    "train_loss": train_loss,
                    "train_error": 100 * train_wrong,
                    "test_loss": test_loss,
                    "test_error": test_error,
                    "seconds": perf_counter() - begin,
                }
            )
            bar.set_postfix_str(
                f"epoch {epoch + 1}, train {100 * train_wrong:.1f} %, test {test_error:.1f} % error", refresh=False
            )
            if after_epoch:
                after_epoch(epoch + 1)
            if checkpoint:
                distributed.by_first(lambda: checkpoints.save(checkpoint, state, run, history, starts))
    return pd.DataFrame(history)


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate at `step` of `steps` as a share of the recipe's `learning_rate`."""
    done = min(step / steps, 1.0)
    if recipe.schedule == "step":
        return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
    if done < recipe.warmup:
        return (step + 1) / (recipe.warmup * steps + 1)
    return 0.5 * (1 + math.cos(math.pi * (done - recipe.warmup) / (1 - recipe.warmup)))


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast | nullcontext:
    """The context in which the forward pass uses `precision`."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)


@torch.no_grad()
def predict(
    model: nn.Module, images: ImageSet, *, batch_size: int = 500, precision: torch.dtype = torch.float32
) -> Tensor:
    """The logits of every image, (N, classes) float32 on the CPU, in evaluation mode, on the model's device."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with autocast(device, precision):
        logits = [
            model(x).float() for x, _ in Batches(images, batch_size, device=device, channels_last=device.type != "mps")
        ]
    model.train(was_training)
    return torch.cat(logits).cpu()


def evaluate(
    model: nn.Module, images: ImageSet, *, batch_size: int = 500, precision: torch.dtype = torch.float32
) -> tuple[float, float]:
    """Mean cross-entropy loss (nats) and error (%) of `model` on `images`, in evaluation mode."""
    logits = predict(model, images, batch_size=batch_size, precision=precision)
    loss = F.cross_entropy(logits, images.labels).item()
    error = 100 * (logits.argmax(1) != images.labels).float().mean().item()
    return loss, error


def _compiled(model: nn.Module) -> nn.Module:
    """The network through `torch.compile`, which keeps at most eight graphs of one function: we forget the others."""
    torch.compiler.reset()
    return torch.compile(model, dynamic=False)


def _parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict]:
    """The parameters with weight decay and those without."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": recipe.weight_decay if recipe.decay_all else 0.0},
    ]

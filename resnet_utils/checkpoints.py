"""Checkpoints of a training run: written whole or not at all, read without running what they hold."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from resnet_utils.files import atomic


def save(path: Path, state: Mapping[str, Any], run: Mapping, history: list[dict], starts: list[dict]) -> None:
    """Write the state of a run after an epoch.

    Args:
        path: the file; the one before it is replaced only when the new one is whole.
        state: what has a `state_dict`, by name: model, optimizer, scaler.
        run: what tells this run from others: recipe, seed, data and their augmentation, number format, printed model,
            and how many processes train it.
        history: one row for each epoch so far. The order of the images, their augmentation and the learning rate
            follow from the seed and the number of epochs, so they need no saved state.
        starts: what trained these epochs, in order: see `records.start`.

    Raises:
        OSError: if it cannot be written, because the disk is full or the folder read-only.
    """
    content = {name: part.state_dict() for name, part in state.items()}
    rng = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}
    with atomic(path) as temporary:
        torch.save(content | {"rng": rng, "run": dict(run), "history": history, "starts": starts}, temporary)


def restore(path: Path, state: Mapping[str, Any], run: Mapping) -> tuple[list[dict], list[dict]]:
    """Load a checkpoint into `state`; return its history and its starts.

    Raises:
        ValueError: if the file is damaged, is no checkpoint, or belongs to another run than `run`.
        OSError: if it cannot be read.
    """
    saved = _load(path)
    try:
        before = {"processes": 1} | saved["run"]  # written when there was always one
        other = [key for key in run if before.get(key) != run[key]]
        parts = {name: saved[name] for name in (*state, "rng", "history", "starts")}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(_DAMAGED.format(path)) from error
    if other == ["processes"]:
        raise ValueError(
            f"the checkpoint {path} belongs to another run: its number of processes is {before['processes']}, and here "
            f"are {run['processes']}. Start as many with torchrun, remove it or choose another file."
        )
    if other:
        raise ValueError(
            f"the checkpoint {path} belongs to another run: it differs in {', '.join(other)}. "
            "Remove it or choose another file."
        )
    for name, part in state.items():
        part.load_state_dict(parts[name])
    torch.set_rng_state(parts["rng"]["cpu"])
    if parts["rng"]["cuda"] and torch.cuda.device_count() == len(parts["rng"]["cuda"]):
        torch.cuda.set_rng_state_all(parts["rng"]["cuda"])
    return parts["history"], parts["starts"]


def starts(path: Path) -> list[dict]:
    """What trained a checkpoint; nothing if there is none. Errors as in `restore`."""
    return _load(path)["starts"] if path.exists() else []


_DAMAGED = "the checkpoint {} is damaged or of another kind; remove it to start again"


def _load(path: Path) -> Any:
    content = path.read_bytes()  # a file that cannot be read is not called damaged
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows as errors of many types
        raise ValueError(_DAMAGED.format(path)) from error

"""Checkpoints of a training run: written whole or not at all, read without running what they hold."""

from pathlib import Path
from typing import Any

import torch

from resnet_utils.files import atomic


def save(path: Path, state: dict[str, Any], run: dict, history: list[dict]) -> None:
    """Write the state of a run after an epoch.

    Args:
        path: the file; the one before it is replaced only when the new one is whole.
        state: what has a `state_dict`, by name: model, optimizer, scaler.
        run: what tells this run from others: recipe, seed, hash of the data, the printed model.
        history: one row for each epoch so far. The order of the images, their augmentation and the learning rate
            follow from the seed and the number of epochs, so they need no saved state.

    Raises:
        OSError: if it cannot be written, because the disk is full or the folder read-only.
    """
    content = {name: part.state_dict() for name, part in state.items()}
    rng = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}
    try:
        with atomic(path) as temporary:
            torch.save(content | {"rng": rng, "run": run, "history": history}, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise OSError(
            f"the checkpoint {path} could not be written ({error}). If there was one before it, it is still whole. "
            "Free some space or choose a folder that can be written, then run again: training goes on from there."
        ) from error


def restore(path: Path, state: dict[str, Any], run: dict) -> list[dict]:
    """Load a checkpoint into `state`; return its history.

    Raises:
        ValueError: if the file is damaged, is no checkpoint, or belongs to another run than `run`.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        other = [key for key in run if saved["run"].get(key) != run[key]]
    except Exception as error:  # damage shows as errors of many types
        raise ValueError(f"the checkpoint {path} is damaged or of another kind; remove it to start again") from error
    if other:
        raise ValueError(
            f"the checkpoint {path} belongs to another run: it differs in {', '.join(other)}. "
            "Remove it or choose another file."
        )
    for name, part in state.items():
        part.load_state_dict(saved[name])
    torch.set_rng_state(saved["rng"]["cpu"])
    if saved["rng"]["cuda"] and torch.cuda.device_count() == len(saved["rng"]["cuda"]):
        torch.cuda.set_rng_state_all(saved["rng"]["cuda"])
    return saved["history"]

"""The book's recorded runs: tables and trained weights, each with its provenance. They ship with the package.

A record NAME is two files: NAME.csv, one tidy table, and NAME.json, how it came about. The hashes in the JSON bind
the table and the weights to it. Written by `save`, which `python -m resnet_utils experiment` calls.
"""

import hashlib
import io
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from resnet_utils.files import atomic, code_sha256

FOLDER = Path(__file__).with_name("recorded")
_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn")
SCHEMA = {  # what the JSON of every record holds
    "record": str,
    "command": str,
    "scale": str,
    "settings": dict,  # what was trained, on what, how
    "seeds": list,
    "data": dict,  # name, and sha256 of the training and the test images
    "device": str,
    "precision": str,
    "versions": dict,  # python and the packages that compute
    "commit": str,  # of the code that wrote the record
    "date": str,  # UTC, when the record was written
    "seconds": float,  # of training and evaluation, all networks together
    "starts": list,  # every start that trained a part of it, and the one that wrote it: see `start`
    "rows": int,
    "table_sha256": str,
    "weights_sha256": dict,  # by the name of the weights
}


def names(folder: Path = FOLDER) -> list[str]:
    """The records that are there."""
    return sorted(path.stem for path in folder.glob("*.json"))


def load(name: str, folder: Path = FOLDER) -> pd.DataFrame:
    """The table of a record.

    Raises:
        ValueError: if there is no such record, or its table is not the one that the provenance describes.
    """
    expected = provenance(name, folder)["table_sha256"]
    content = (folder / f"{name}.csv").read_bytes()
    _check(content, expected, folder / f"{name}.csv")
    return pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=[""])


def provenance(name: str, folder: Path = FOLDER) -> dict:
    """How a record came about: the keys of `SCHEMA`. ValueError if there is no such record."""
    path = folder / f"{name}.json"
    if not path.exists():
        known = ", ".join(map(repr, names(folder))) or "none"
        raise ValueError(
            f"no record {name!r} in {folder}; there is {known}. "
            f"python -m resnet_utils experiment {name} --scale record makes it"
        )
    return json.loads(path.read_text())


def describe(name: str, folder: Path = FOLDER) -> str:
    """Where a record comes from, in Markdown, to stand under its figures."""
    it = provenance(name, folder)
    settings, starts = it["settings"], it["starts"]
    rate = f"{settings['recipe']['learning_rate']:g}" + (", and controls" if settings["controls"] else "")
    devices = " and ".join(dict.fromkeys(start["device"] for start in starts))
    formats = " and ".join(dict.fromkeys(start["precision"] for start in starts))
    torches = " and ".join(dict.fromkeys(start["versions"]["torch"] for start in starts))
    parts = (
        f"{it['data']['name']} (training images sha256 {it['data']['train_sha256'][:8]}…)",
        f"{settings['recipe']['epochs']} epochs at the peak rate {rate}",
        ("seed " if len(it["seeds"]) == 1 else "seeds ") + ", ".join(map(str, it["seeds"])),
        f"{formats} on {devices}",
        f"PyTorch {torches}",
        f"{it['seconds'] / 60:.0f} minutes of training (the networks' times added up)",
        it["date"][:10],
        "code " + ", ".join(dict.fromkeys(_code(start) for start in starts)),
    )
    again = f"To make it again: `{it['command']}`."
    return f"*Recorded run* `{name}`, scale `{it['scale']}`: {'; '.join(parts)}. {again}"


def load_weights(name: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """The trained weights of a network, say "resnet20", for `models.build(name).load_state_dict(…)`.

    Raises:
        ValueError: if there are none of that name, or they are not those that the provenance describes.
    """
    owners = {weights: record for record in names(folder) for weights in provenance(record, folder)["weights_sha256"]}
    if name not in owners:
        raise ValueError(f"no trained weights {name!r}; there are {', '.join(map(repr, sorted(owners))) or 'none'}")
    path = folder / f"{name}.safetensors"
    content = path.read_bytes()
    _check(content, provenance(owners[name], folder)["weights_sha256"][name], path)
    return load_tensors(content)


def save(
    name: str,
    table: pd.DataFrame,
    about: Mapping[str, object],
    *,
    weights: Mapping[str, Mapping[str, Tensor]] | None = None,
    folder: Path = FOLDER,
    allow_dirty: bool = False,
) -> None:
    """Write a record: the table and the weights first, the provenance that names their hashes last.

    Args:
        name: of the record.
        table: one tidy table.
        about: what `SCHEMA` asks for, but for the commit, the date, the device, the versions, the rows and the hashes,
            which are added here; "starts" holds what `start` returned, once for each start of the command.
        weights: state dicts of trained networks, by name.
        folder: where.
        allow_dirty: write although code was changed and not committed, or has no commit. The record then says so.

    Raises:
        ValueError: if the tree was dirty at a start and `allow_dirty` is False, the provenance is incomplete, or a
            record of the scale "record" would be replaced by one of a smaller scale.
    """
    check_replaceable(name, about["scale"], folder)
    starts = about["starts"]
    for each in starts:
        if not allow_dirty:
            check_clean(each)
    csv = table.to_csv(index=False, float_format="%.6g").encode()
    files = {
        f"{key}.safetensors": save_tensors({k: v.cpu().contiguous() for k, v in state.items()})
        for key, state in (weights or {}).items()
    }
    last = starts[-1]
    record = {
        "record": name,
        **about,
        "starts": starts,
        "device": last["device"],
        "versions": last["versions"],
        "commit": last["commit"],
        "date": _now(),
        "rows": len(table),
        "table_sha256": hashlib.sha256(csv).hexdigest(),
        "weights_sha256": {
            file.removesuffix(".safetensors"): hashlib.sha256(data).hexdigest() for file, data in files.items()
        },
    }
    wrong = [key for key, kind in SCHEMA.items() if not isinstance(record.get(key), kind)]
    if wrong or set(record) - set(SCHEMA):
        raise ValueError(f"the provenance of {name!r} lacks or mistypes {wrong}, or has more than {list(SCHEMA)}")
    for file, content in {f"{name}.csv": csv, **files, f"{name}.json": _json(record)}.items():
        with atomic(folder / file) as temporary:
            temporary.write_bytes(content)


def start() -> dict:
    """What tells one start of this program from another.

    Returns:
        date (UTC), commit ("" outside a git checkout), changed (files, in git's words; the records themselves do not
        count, they are no code), code (hash of the package's sources), device, threads and versions.
    """
    return {
        "date": _now(),
        "commit": _git("rev-parse", "HEAD").strip(),
        "changed": _git(
            "status", "--porcelain", "--untracked-files=normal", "--", ".", ":(exclude)resnet_utils/recorded"
        ).splitlines(),
        "code": code_sha256(),
        "device": device_name(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES}
        | (
            {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
            if torch.cuda.is_available()
            else {}
        ),
    }


def check_replaceable(name: str, scale: str, folder: Path = FOLDER) -> None:
    """Raise ValueError if a record of the scale "record" is there and would be replaced by one of a smaller scale."""
    if scale != "record" and name in names(folder) and provenance(name, folder)["scale"] == "record":
        raise ValueError(
            f"{folder} holds the record {name!r} of the scale 'record', and a smaller one ({scale!r}) does not replace "
            "it. Give another folder (--records), or remove that record first."
        )


def check_clean(started: Mapping[str, object]) -> None:
    """Raise ValueError unless what `start` returned names a commit that holds all the code that ran."""
    if started["commit"] and not started["changed"]:
        return
    changed = "; ".join(line.strip() for line in started["changed"])
    what = f"code was changed and not committed ({changed})" if started["commit"] else "the code had no commit"
    raise ValueError(
        f"a record must name the code that made it, and at the start of {started['date']} {what}. "
        "Commit, then run again; or allow it (--allow-dirty), and the record says so."
    )


def device_name() -> str:
    """The GPU, or the processor and the number of cores that this process may use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return f"{_processor()}, its GPU"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores"


def _code(start: Mapping[str, object]) -> str:
    """The code of a start, for people: its commit, and whether it was changed."""
    if not start["commit"]:
        return "without a commit"
    return f"`{start['commit'][:7]}`" + (" with changes that are not committed" if start["changed"] else "")


def _processor() -> str:
    """The name of the processor, as the system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    """What git says of the checkout that holds this file; nothing if there is none, or it does not track this file."""
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", str(here)], check=True, capture_output=True)
        return subprocess.run([*git, *arguments], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "" if arguments[0] == "rev-parse" else "git does not answer"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _json(record: Mapping[str, object]) -> bytes:
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def _check(content: bytes, expected: str, path: Path) -> None:
    """Raise ValueError unless the bytes are those that the provenance names."""
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(
            f"{path} is not the file that its provenance describes: a save was interrupted, or the file was changed. "
            "Restore it from git, or run the record's command again."
        )

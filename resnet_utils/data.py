"""Image sets as uint8 tensors in memory, and batches augmented all at once.

An `ImageSet` holds a whole data set. `Batches` shuffles, augments and normalises it on the device: one gather for
crop and flip, no worker processes, no per-image Python.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from resnet_utils import cifar10


@dataclass(frozen=True)
class ImageSet:
    """Images, their labels, and how to augment and normalise them.

    `mean` and `std` are those of the training set's channels, on the scale 0 to 1. Augmentation pads with `padding`
    black pixels, crops at random to the old size, and mirrors half of the images if `flip`.
    """

    name: str
    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    flip: bool

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            given = f"{tuple(self.images.shape)} {self.images.dtype}"
            raise ValueError(f"{self.name}: images must be (N, C, H, W) torch.uint8, not {given}")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            given = f"{tuple(self.labels.shape)} {self.labels.dtype}"
            raise ValueError(f"{self.name}: labels must be ({len(self.images)},) torch.int64, not {given}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    def take(self, indices: Tensor) -> "ImageSet":
        """The images at these indices, as a set of the same kind."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def hold_out(self, count: int, seed: int = 0) -> tuple["ImageSet", "ImageSet"]:
        """(the rest, `count` images drawn at random): choose settings on the second, never on the test set."""
        if not 0 < count < len(self):
            raise ValueError(f"cannot hold out {count} of {len(self)} images; choose 1 to {len(self) - 1}")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[count:].sort().values), self.take(order[:count].sort().values)

    def sha256(self) -> str:
        """Hash of all pixels and labels, to tell whether two runs saw the same data."""
        digest = hashlib.sha256(self.images.contiguous().numpy())
        digest.update(self.labels.numpy())
        return digest.hexdigest()


def names() -> list[str]:
    """The data sets that `load` knows."""
    return list(_LOADERS)


def load(name: str) -> tuple[ImageSet, ImageSet]:
    """The training set and the test set of "digits" or "cifar10".

    Raises:
        ValueError: for an unknown name, and for incomplete or altered files.
        OSError: if CIFAR-10 is not there and cannot be downloaded; the message says what to do.
    """
    if name not in _LOADERS:
        raise ValueError(f"unknown data set {name!r}; choose one of {', '.join(map(repr, _LOADERS))}")
    return _LOADERS[name]()


def _digits() -> tuple[ImageSet, ImageSet]:
    """1,797 handwritten digits of 8x8 pixels (Alpaydin & Kaynak 1998), which scikit-learn ships; 1,437 / 360."""
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)  # values are 0 to 16
    labels = torch.from_numpy(bunch.target).long()
    indices = torch.arange(len(labels))
    train, test = train_test_split(indices, test_size=360, stratify=labels, random_state=0)
    pixels = images[train].float() / 255
    whole = ImageSet(
        name="digits",
        images=images,
        labels=labels,
        classes=tuple("0123456789"),
        mean=(pixels.mean().item(),),
        std=(pixels.std().item(),),
        padding=1,
        flip=False,  # a mirrored 2 is no digit
    )
    return whole.take(train.sort().values), whole.take(test.sort().values)


def _cifar10() -> tuple[ImageSet, ImageSet]:
    """60,000 colour photographs of 32x32 pixels in ten classes; 50,000 / 10,000."""
    tensors = cifar10.tensors()
    train, test = (
        ImageSet(
            name="cifar10",
            images=tensors[f"{split}_images"],
            labels=tensors[f"{split}_labels"],
            classes=cifar10.CLASSES,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            padding=4,  # He et al. 2015, §4.2
            flip=True,
        )
        for split in ("train", "test")
    )
    return train, test


_LOADERS = {"digits": _digits, "cifar10": _cifar10}


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 images (N, C, H, W) to float32 with mean 0 and deviation 1 by channel, keeping the memory format."""
    return _standardise(images, *_shift_and_scale(mean, std, images.device))


def _shift_and_scale(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel on the scale 0 to 255, shaped (1, C, 1, 1)."""
    return tuple(torch.tensor(values).mul(255).view(1, -1, 1, 1).to(device) for values in (mean, std))


def _standardise(images: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return images.float().sub_(shift).div_(scale)


def augment(images: Tensor, *, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Shift every image at random by up to `padding` pixels and mirror half of them, all in one gather.

    Args:
        images: (N, C, H, W) uint8.
        padding: black pixels added on each side before the random crop.
        flip: whether to mirror each image left to right with probability 1/2.
        generator: source of the random numbers, on the CPU.

    Returns:
        (N, C, H, W) uint8, in channels_last memory format.
    """
    padded = _pad(images, padding)
    every = torch.arange(len(images), device=images.device)
    draw = _draw(len(images), padding, flip, generator, images.device)
    return _crop(padded, every, *draw, size=images.shape[2:])


def _pad(images: Tensor, padding: int) -> Tensor:
    """(N, C, H, W) to (N, H + 2 padding, W + 2 padding, C): a pixel's channels lie together, for the gather."""
    return F.pad(images, (padding,) * 4).permute(0, 2, 3, 1).contiguous()


def _draw(
    count: int, padding: int, flip: bool, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Top, left (each 0 to 2 padding) and mirrored (bool) for `count` crops. Drawn on the CPU: equal on all devices."""
    top = torch.randint(2 * padding + 1, (count,), generator=generator)
    left = torch.randint(2 * padding + 1, (count,), generator=generator)
    mirrored = (torch.rand(count, generator=generator) < 0.5) & flip
    return top.to(device), left.to(device), mirrored.to(device)


def _crop(padded: Tensor, which: Tensor, top: Tensor, left: Tensor, mirrored: Tensor, *, size: torch.Size) -> Tensor:
    """Cut one crop of H x W = `size` out of each image `which`; (n, C, H, W) in channels_last memory format."""
    _, padded_height, padded_width, channels = padded.shape
    height, width = size
    rows = top[:, None] + torch.arange(height, device=padded.device)  # (n, H)
    columns = torch.arange(width, device=padded.device).expand(len(which), width)  # (n, W)
    columns = left[:, None] + torch.where(mirrored[:, None], width - 1 - columns, columns)
    pixel = (which[:, None] * padded_height + rows)[:, :, None] * padded_width + columns[:, None, :]  # (n, H, W)
    return padded.view(-1, channels)[pixel].permute(0, 3, 1, 2)


class Batches:
    """Normalised float32 batches (n, C, H, W) and their labels (n,), made on the device.

    Args:
        images: the set to go through.
        batch_size: images in a batch; the last one of an epoch may be smaller.
        train: shuffle and augment; False goes through the images in order, unchanged.
        seed: with the epoch's number it fixes order and augmentation, so a resumed run needs no saved state.
        device: where the images are kept and the batches made.
        channels_last: memory format of the batches.
        rank: which share of every batch to make, from 0, where several processes train together.
        processes: how many they are. Their shares together are the batch that a process alone would make.

    Raises:
        ValueError: if a batch has no image, or fewer images than processes.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        train: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        channels_last: bool = False,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        smallest = len(images) % batch_size or batch_size
        if smallest < processes:
            raise ValueError(
                f"{len(images)} images in batches of {batch_size} leave a last batch of {smallest}, and {processes} "
                "processes need an image each; choose another batch_size"
            )
        self.images = images
        self.batch_size = batch_size
        self.rank = rank
        self.processes = processes
        self.train = train
        self.seed = seed
        self.device = torch.device(device)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.padding = images.padding if train else 0
        self.padded = _pad(images.images.to(self.device), self.padding)
        self.labels = images.labels.to(self.device)
        # Made once: a copy to a GPU in every step would make the processor wait for it.
        self.shift_and_scale = _shift_and_scale(images.mean, images.std, self.device)

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.epoch(0)

    def weights(self) -> list[float]:
        """What makes the mean over the processes of their mean losses the mean over the images, batch by batch.

        It is processes · (images in this share) / (images in the batch), so 1 where the shares are equal.
        """
        starts = range(0, len(self.images), self.batch_size)
        sizes = [min(self.batch_size, len(self.images) - start) for start in starts]
        return [self.processes * len(range(self.rank, size, self.processes)) / size for size in sizes]

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch `number`, counted from 0."""
        count = len(self.images)
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + number)
        order = torch.randperm(count, generator=generator) if self.train else torch.arange(count)
        order = order.to(self.device)
        top, left, mirrored = _draw(count, self.padding, self.train and self.images.flip, generator, self.device)
        for start in range(0, count, self.batch_size):
            part = slice(start + self.rank, start + self.batch_size, self.processes)
            which = order[part]
            x = _crop(self.padded, which, top[part], left[part], mirrored[part], size=self.images.images.shape[2:])
            x = _standardise(x, *self.shift_and_scale)
            yield x.contiguous(memory_format=self.format), self.labels[which]

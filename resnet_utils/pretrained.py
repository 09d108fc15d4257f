"""Published ImageNet weights in our classes, and what to do with a trained body: its features, and a new head.

`load` goes through torchvision's list of published weights and the cache of `torch.hub`, so a file that torchvision
has fetched before is used again.
"""

import hashlib
import http.client
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from resnet_utils.models import ResNet, build

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
TIMEOUT_SECONDS = 5  # without a connection, or without one byte arriving


@dataclass(frozen=True)
class Pretrained:
    """A network with published weights, and what belongs to them.

    `classes` names the 1,000 outputs. `top1_error` is the published error in % on ImageNet's validation images. `file`
    holds the weights on this computer. What they want to see, `published(name).transforms()` makes of an image.
    """

    model: ResNet
    classes: tuple[str, ...]
    top1_error: float
    file: Path


def published(name: str, version: str = "IMAGENET1K_V1") -> torchvision.models.WeightsEnum:
    """torchvision's entry for published weights: `url`, `transforms()` and `meta`. It needs no network.

    Args:
        name: one of `NAMES`.
        version: torchvision's name of the weights: "IMAGENET1K_V1", or from 50 layers on "IMAGENET1K_V2".

    Raises:
        ValueError: for an unknown name or version, with the valid choices.
    """
    if name not in NAMES:
        raise ValueError(f"no published weights for {name!r}; choose one of {', '.join(map(repr, NAMES))}")
    versions = torchvision.models.get_model_weights(name)
    if version not in versions.__members__:
        raise ValueError(f"{name} has no weights {version!r}; choose one of {', '.join(versions.__members__)}")
    return versions[version]


def load(name: str, version: str = "IMAGENET1K_V1") -> Pretrained:
    """Our network of this name with torchvision's published weights, in evaluation mode on the CPU.

    The file is looked for in the cache of `torch.hub` (`$TORCH_HOME/hub/checkpoints`), and downloaded to there once
    if it is not in it. Its hash is checked every time, and every name and shape in it must fit (`strict=True`).

    Args:
        name, version: see `published`.

    Raises:
        ValueError: for an unknown name or version, and for a file that is not the published one.
        OSError: if the weights are not there and cannot be downloaded; the message says what to do.
    """
    entry = published(name, version)
    file = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[1]
    if not file.exists():
        _download(entry.url, file)
    with open(file, "rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    if not sha256.startswith(_hash_in(file.name)):
        raise ValueError(
            f"{file} is not the file that was published: its sha256 begins with {sha256[:8]}, not with "
            f"{_hash_in(file.name)}. Remove it and load again."
        )
    model = build(name)
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True), strict=True)
    return Pretrained(
        model=model.eval(),
        classes=tuple(entry.meta["categories"]),
        top1_error=round(100 - entry.meta["_metrics"]["ImageNet-1K"]["acc@1"], 3),
        file=file,
    )


@torch.no_grad()
def features(model: ResNet, x: Tensor, *, batch_size: int = 250) -> Tensor:
    """What the last linear layer sees: the pooled output of the last stage, in evaluation mode.

    Args:
        model: a network whose blocks end in a ReLU (not a pre-activation one); its mode is restored.
        x: normalised images (N, C, H, W).
        batch_size: images at a time.

    Returns:
        (N, D) with D the inputs of `model.fc`: 2,048 in ResNet-50, 64 in the CIFAR layout.
    """
    seen: list[Tensor] = []
    hook = model.fc.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    was_training = model.training
    model.eval()
    try:
        for part in x.split(batch_size):
            model(part)
    finally:
        hook.remove()
        model.train(was_training)
    return torch.cat(seen)


def fit_head(x: Tensor, labels: Tensor) -> nn.Linear:
    """The linear layer that separates features best: multinomial logistic regression with scikit-learn's L2 penalty.

    The penalty sees each feature scaled by its mean and deviation in `x`; the layer that is returned takes `x` itself.

    Args:
        x: features (N, D).
        labels: classes (N,) from 0 to classes - 1, of three or more classes, each there at least once.

    Returns:
        A layer from D features to the logits of the classes.

    Raises:
        ValueError: if a class has no label, or there are fewer than three.
    """
    classes = labels.unique().tolist()
    if classes != list(range(max(3, len(classes)))):
        raise ValueError(f"labels must be 0, 1, 2, … with none left out, at least three; got the classes {classes}")
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    found = LogisticRegression(max_iter=1000).fit(((x - mean) / std).numpy(), labels.numpy())
    weight = torch.tensor(found.coef_, dtype=torch.float32) / std  # undoes the scaling
    head = nn.Linear(x.shape[1], len(classes))
    head.load_state_dict(
        {"weight": weight, "bias": torch.tensor(found.intercept_, dtype=torch.float32) - weight @ mean}
    )
    return head


def _hash_in(file_name: str) -> str:
    """The first hexadecimal digits of the sha256, which stand in the name of a published file."""
    return re.search(r"-([a-f0-9]{8,})\.", file_name)[1]


def _download(url: str, file: Path) -> None:
    """Fetch a file into the cache of `torch.hub`; it appears there whole or not at all."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _timeout(TIMEOUT_SECONDS):
            torch.hub.download_url_to_file(url, str(file), _hash_in(file.name), progress=False)
    except (OSError, RuntimeError, http.client.HTTPException) as error:  # RuntimeError: a wrong hash
        raise OSError(
            f"the weights {file.name} are not in {file.parent}, and the download from {url} failed ({error}). "
            f"Go online, or get the file in another way, put it there and run again."
        ) from error


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """A limit for all new connections: `torch.hub` has no option for it and would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

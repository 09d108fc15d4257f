"""resnet_utils.cifar10: finding, downloading, checking and decoding, on a stand-in of fifty images.

The stand-in has three training and two test images of each class, kept in the three ways in which CIFAR-10 is met. The
mirrors are a server on this machine that misbehaves as real ones do. The tests at the end use the real images.
"""

import hashlib
import io
import os
import pickle
import random
import socket
import struct
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import torch
from helpers import CIFAR10, real_cifar10
from PIL import Image

from resnet_utils import cifar10, data
from resnet_utils.cifar10 import ARCHIVE, CLASSES, tensors

PER_CLASS = {"train": 3, "test": 2}
BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


class StandIn:
    """Fifty images of random pixels with file names, in no order, and the files that hold them."""

    def __init__(self) -> None:
        chance = np.random.default_rng(0)
        self.items = {}
        for split, count in PER_CLASS.items():
            numbers = chance.permutation(10_000)[: 10 * count]
            self.items[split] = [
                (i % 10, f"{CLASSES[i % 10]}_s_{n:06}.png", chance.integers(0, 256, (32, 32, 3), dtype=np.uint8))
                for i, n in enumerate(numbers.tolist())
            ]
            random.Random(0).shuffle(self.items[split])
        self.batches = {}
        for split, names in BATCHES.items():
            size = len(self.items[split]) // len(names)
            for i, name in enumerate(names):
                part = self.items[split][i * size : (i + 1) * size]
                batch = {
                    b"data": np.stack([image.transpose(2, 0, 1).reshape(-1) for _, _, image in part]),
                    b"labels": [label for label, _, _ in part],
                    b"filenames": [file.encode() for _, file, _ in part],
                }
                self.batches[name] = pickle.dumps(batch)
        self.archive = self.pack(self.batches)

    def pack(self, batches: dict[str, bytes]) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for name, content in {"readme.html": b"<html>", **batches}.items():
                member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return file.getvalue()

    def write_pictures(self, root: Path) -> None:
        for split, items in self.items.items():
            for label, name, image in items:
                path = root / "cifar10" / split / CLASSES[label] / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)

    def write_batches(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, content in self.batches.items():
            (folder / name).write_bytes(content)

    def write_archive(self, root: Path) -> None:
        (root / "cifar10").mkdir(parents=True)
        (root / "cifar10" / ARCHIVE).write_bytes(self.archive)

    def check(self, found: dict[str, torch.Tensor]) -> None:
        """Assert that these are the images, in order of class and file name."""
        assert set(found) == {"train_images", "train_labels", "test_images", "test_labels"}
        for split, count in PER_CLASS.items():
            images, labels = found[f"{split}_images"], found[f"{split}_labels"]
            assert images.shape == (10 * count, 3, 32, 32)
            assert images.dtype == torch.uint8
            assert labels.dtype == torch.int64
            assert labels.tolist() == [label for label in range(10) for _ in range(count)]
            by_name = {(label, name): image for label, name, image in self.items[split]}
            for image, key in zip(images, sorted(by_name), strict=True):
                assert np.array_equal(image.numpy(), by_name[key].transpose(2, 0, 1))


@pytest.fixture(scope="module")
def made():
    return StandIn()


@pytest.fixture
def standin(made, monkeypatch):
    """The stand-in, with sizes and checksums of `cifar10` set to its own."""
    md5 = {split: {n: hashlib.md5(made.batches[n]).hexdigest() for n in names} for split, names in BATCHES.items()}
    monkeypatch.setattr(cifar10, "_PER_CLASS", PER_CLASS)
    monkeypatch.setattr(cifar10, "_BATCH_MD5", md5)
    monkeypatch.setattr(cifar10, "ARCHIVE_BYTES", len(made.archive))
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", hashlib.md5(made.archive).hexdigest())
    return made


class Bomb:
    """Unpickled, it makes a file: a stand-in for code that an altered batch would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


# The three ways to keep it


@pytest.mark.parametrize("way", ["pictures", "batches beside", "batches inside", "archive"])
def test_every_way_gives_the_same_tensors_in_the_order_of_class_and_file_name(standin, tmp_path, way):
    if way == "pictures":
        standin.write_pictures(tmp_path)
    elif way == "archive":
        standin.write_archive(tmp_path)
    else:  # as torchvision unpacks it below its root, or in a folder cifar10
        standin.write_batches(tmp_path / ("cifar10" if way == "batches inside" else "") / "cifar-10-batches-py")
    standin.check(tensors(tmp_path, mirrors=()))


def test_the_second_load_is_mapped_from_the_decoded_file_without_the_source(standin, tmp_path):
    standin.write_archive(tmp_path)
    tensors(tmp_path, mirrors=())
    (tmp_path / "cifar10" / ARCHIVE).unlink()
    assert files_below(tmp_path) == {"cifar10-uint8.pt"}
    second = tensors(tmp_path, mirrors=())
    standin.check(second)
    if sys.platform == "linux":
        assert str(tmp_path / "cifar10" / "cifar10-uint8.pt") in Path("/proc/self/maps").read_text()


def test_writing_into_mapped_images_does_not_change_the_file(standin, tmp_path):
    standin.write_archive(tmp_path)
    tensors(tmp_path, mirrors=())
    tensors(tmp_path, mirrors=())["train_images"].zero_()
    standin.check(tensors(tmp_path, mirrors=()))


def test_a_damaged_decoded_file_is_named_with_what_to_do(standin, tmp_path):
    standin.write_archive(tmp_path)
    tensors(tmp_path, mirrors=())
    decoded = tmp_path / "cifar10" / "cifar10-uint8.pt"
    whole = decoded.read_bytes()
    for content in (b"", b"<html>", whole[: len(whole) // 2], whole[:-10]):
        decoded.write_bytes(content)
        with pytest.raises(ValueError, match=r"cifar10-uint8.pt is damaged; remove it"):
            tensors(tmp_path, mirrors=())
    decoded.unlink()
    standin.check(tensors(tmp_path, mirrors=()))


def test_load_gives_both_sets_with_their_names_and_the_papers_augmentation(standin, tmp_path, monkeypatch):
    standin.write_pictures(tmp_path)
    monkeypatch.setenv("RESNET_UTILS_DATA", str(tmp_path))
    train, test = data.load("cifar10")
    assert (len(train), len(test)) == (30, 20)
    for part in (train, test):
        assert part.name == "cifar10"
        assert part.classes[:4] == ("airplane", "automobile", "bird", "cat")
        assert part.classes[4:] == ("deer", "dog", "frog", "horse", "ship", "truck")
        assert part.mean == (0.4914, 0.4822, 0.4465)
        assert part.std == (0.2470, 0.2435, 0.2616)
        assert (part.padding, part.flip) == (4, True)
    standin.check(
        {
            "train_images": train.images,
            "train_labels": train.labels,
            "test_images": test.images,
            "test_labels": test.labels,
        }
    )


def test_the_folder_is_that_of_the_variable_or_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESNET_UTILS_DATA", str(tmp_path))
    assert cifar10.data_folder() == tmp_path
    monkeypatch.setattr(cifar10.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    for unset in (lambda: monkeypatch.setenv("RESNET_UTILS_DATA", ""), lambda: monkeypatch.delenv("RESNET_UTILS_DATA")):
        unset()
        assert cifar10.data_folder() == tmp_path / "cache" / "resnet_utils"


# What is incomplete, altered or cannot be written


def test_a_missing_image_is_counted_in_the_error(standin, tmp_path):
    standin.write_pictures(tmp_path)
    next((tmp_path / "cifar10" / "test" / "frog").iterdir()).unlink()
    with pytest.raises(ValueError, match=r"test images in .*: expected 2 of each class, found .*frog 1, horse 2"):
        tensors(tmp_path, mirrors=())
    assert "cifar10-uint8.pt" not in files_below(tmp_path)


def test_an_image_too_many_is_counted_in_the_error(standin, tmp_path):
    standin.write_pictures(tmp_path)
    Image.new("RGB", (32, 32)).save(tmp_path / "cifar10" / "train" / "cat" / "mine.png")
    with pytest.raises(ValueError, match=r"train images in .*: expected 3 of each class, found .*cat 4, deer 3"):
        tensors(tmp_path, mirrors=())


def test_a_missing_test_folder_is_an_incomplete_set(standin, tmp_path):
    standin.write_pictures(tmp_path)
    (tmp_path / "cifar10" / "test").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"test images in .*: expected 2 of each class, found airplane 0"):
        tensors(tmp_path, mirrors=())


def test_an_image_of_another_size_is_named(standin, tmp_path):
    standin.write_pictures(tmp_path)
    path = next((tmp_path / "cifar10" / "train" / "ship").iterdir())
    Image.new("RGB", (32, 31)).save(path)
    with pytest.raises(ValueError, match=rf"train image {path.name} in .*has shape \(31, 32, 3\), not \(32, 32, 3\)"):
        tensors(tmp_path, mirrors=())


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_broken_image_is_named(standin, tmp_path, content):
    standin.write_pictures(tmp_path)
    path = next((tmp_path / "cifar10" / "train" / "ship").iterdir())
    path.write_bytes(path.read_bytes()[:1500] if content is None else content)
    with pytest.raises(ValueError, match=rf"{path.name} cannot be read as an image"):
        tensors(tmp_path, mirrors=())


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_an_altered_batch_is_named_and_never_unpickled(standin, tmp_path, name):
    standin.write_batches(tmp_path / "cifar-10-batches-py")
    bomb = pickle.dumps(Bomb(tmp_path / "made by the pickle"))
    (tmp_path / "cifar-10-batches-py" / name).write_bytes(bomb)
    with pytest.raises(ValueError, match=rf"batch {name} has been altered .*not opened"):
        tensors(tmp_path, mirrors=())
    assert not (tmp_path / "made by the pickle").exists()
    pickle.loads(bomb)  # the bomb does work
    assert (tmp_path / "made by the pickle").exists()


def test_a_missing_batch_is_named_with_what_to_do(standin, tmp_path):
    standin.write_batches(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py" / "data_batch_5").unlink()
    with pytest.raises(ValueError, match=r"batch data_batch_5 is missing; remove cifar-10-batches-py"):
        tensors(tmp_path, mirrors=())


def test_an_altered_archive_is_removed_and_never_unpickled(standin, tmp_path):
    standin.write_archive(tmp_path)
    bomb = pickle.dumps(Bomb(tmp_path / "made by the pickle"))
    (tmp_path / "cifar10" / ARCHIVE).write_bytes(standin.pack({**standin.batches, "data_batch_3": bomb}))
    with pytest.raises(ValueError, match=rf"{ARCHIVE} had .* bytes with md5 .*, expected .*; removed"):
        tensors(tmp_path, mirrors=())
    assert files_below(tmp_path) == set()
    assert not (tmp_path / "made by the pickle").exists()


@pytest.mark.parametrize("error", [PermissionError("read-only"), RuntimeError("disk full, as torch says it")])
def test_a_folder_that_cannot_be_written_warns_and_the_images_load(standin, tmp_path, monkeypatch, error):
    standin.write_pictures(tmp_path)

    def save(_content, path):
        path.write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(torch, "save", save)
    with pytest.warns(UserWarning, match=r"could not keep the decoded images in .*Set RESNET_UTILS_DATA"):
        found = tensors(tmp_path, mirrors=())
    standin.check(found)
    assert all(name.endswith(".png") for name in files_below(tmp_path))


# Downloading

PAGE = b"<html>Please log in.</html>" * 100
CHUNKED = ("Transfer-Encoding", "chunked")


class Mirror(ThreadingHTTPServer):
    """A server of the archive on this machine; the first part of a path says how it behaves."""

    daemon_threads = True

    def __init__(self, archive: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.archive = archive
        self.requests = []  # (behaviour, first byte asked for)
        self.finished = threading.Event()

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/{ARCHIVE}"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def reply(self, status: int, body: bytes, length: int | None, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Connection", "close")):
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_GET(self) -> None:
        behaviour, archive = self.path.split("/")[1], self.server.archive
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.server.requests.append((behaviour, start))
        total = len(archive)
        rest, half = archive[start:], archive[start : (start + total) // 2]
        part = ("Content-Range", f"bytes {start}-{total - 1}/{total}")
        wrong = bytes(255 - byte for byte in rest)
        match behaviour:
            case "good":
                self.reply(206, rest, len(rest), part)
            case "good-unsized":
                self.reply(206, rest, None, part)
            case "no-ranges":
                self.reply(200, archive, total)
            case "another-range":  # answers with the whole whatever was asked for
                self.reply(206, archive, total, ("Content-Range", f"bytes 0-{total - 1}/{total}"))
            case "busy":
                self.reply(503, b"busy", 4)
            case "cut":
                self.reply(206, half, len(rest), part)
            case "cut-in-chunks":
                self.reply(206, b"%x\r\n%b\r\n%x\r\n%b" % (len(half), half, 5000, half[:10]), None, part, CHUNKED)
            case "reset":
                self.reply(206, half, len(rest), part)
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            case "nonsense":
                self.wfile.write(b"NONSENSE\r\n\r\n")
                self.close_connection = True
            case "stall":
                self.reply(206, half, len(rest), part)
                self.wfile.flush()
                self.server.finished.wait(10)
            case "silent":
                self.server.finished.wait(10)
            case "page":
                self.reply(200, PAGE, len(PAGE))
            case "page-unsized":
                self.reply(200, PAGE, None)
            case "page-padded":
                self.reply(200, PAGE, total)
            case "too-long":
                self.reply(206, rest + PAGE, len(rest + PAGE), part)
            case "too-long-unsized":
                self.reply(206, rest + PAGE, None, part)
            case "odd-length":
                self.reply(206, rest, "many", part)
            case "other-bytes":
                self.reply(206, wrong, len(wrong), part)


@pytest.fixture
def mirror(standin, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Mirror(standin.archive)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.finished.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_archive_is_downloaded_with_progress_once(standin, mirror, tmp_path, capsys):
    standin.check(tensors(tmp_path, mirrors=[mirror.url("good")]))
    assert mirror.requests == [("good", 0)]
    shown = capsys.readouterr().err
    assert "CIFAR-10: 100%" in shown
    assert files_below(tmp_path) == {ARCHIVE, "cifar10-uint8.pt"}
    standin.check(tensors(tmp_path, mirrors=[mirror.url("good")]))
    assert mirror.requests == [("good", 0)]


FAULTS = [
    "busy",
    "cut",
    "cut-in-chunks",
    "reset",
    "nonsense",
    "page",
    "page-unsized",
    "page-padded",
    "too-long",
    "too-long-unsized",
    "odd-length",
    "other-bytes",
    "stall",
    "silent",
]
BREAKING_OFF = ("cut", "cut-in-chunks", "reset", "stall", "page-unsized", "page-padded")


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_faulty_mirror_the_next_one_delivers(standin, mirror, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(cifar10, "TIMEOUT_SECONDS", 0.5)
    mirrors = [mirror.url(fault), mirror.url("good")]
    path = tmp_path / "cifar10" / ARCHIVE
    cifar10.download(path, mirrors)
    assert path.read_bytes() == standin.archive
    assert files_below(tmp_path) == {ARCHIVE}
    assert mirror.requests[-1][0] == "good"


@pytest.mark.parametrize("fault", FAULTS)
def test_when_all_mirrors_fail_the_error_names_them_the_folder_and_the_variable(
    standin, mirror, tmp_path, monkeypatch, fault
):
    monkeypatch.setattr(cifar10, "TIMEOUT_SECONDS", 0.3)
    mirrors = [mirror.url(fault), mirror.url("busy")]
    with pytest.raises(OSError, match="could not be downloaded") as caught:
        tensors(tmp_path, mirrors)
    for name in (*mirrors, str(tmp_path / "cifar10"), "RESNET_UTILS_DATA", "503"):
        assert name in str(caught.value)
    if fault in ("stall", "silent"):
        assert "timed out" in str(caught.value)
    left = {ARCHIVE + ".part"} if fault in BREAKING_OFF else set()
    assert files_below(tmp_path) == left


def test_a_download_that_broke_off_goes_on_where_it_stopped(standin, mirror, tmp_path):
    with pytest.raises(OSError, match="the connection ended after"):
        tensors(tmp_path, mirrors=[mirror.url("cut")])
    half = len(standin.archive) // 2
    assert (tmp_path / "cifar10" / (ARCHIVE + ".part")).read_bytes() == standin.archive[:half]
    standin.check(tensors(tmp_path, mirrors=[mirror.url("good")]))
    assert mirror.requests == [("cut", 0), ("good", half)]
    assert (tmp_path / "cifar10" / ARCHIVE).read_bytes() == standin.archive


@pytest.mark.parametrize("server", ["no-ranges", "another-range", "good-unsized"])
def test_a_server_may_ignore_the_range_asked_for(standin, mirror, tmp_path, server):
    path = tmp_path / "cifar10" / ARCHIVE
    cifar10.download(path, [mirror.url("cut"), mirror.url(server)])
    assert path.read_bytes() == standin.archive
    assert mirror.requests == [("cut", 0), (server, len(standin.archive) // 2)]


def test_wrong_bytes_of_an_earlier_try_cost_the_next_mirror_one_more_request(standin, mirror, tmp_path):
    path = tmp_path / "cifar10" / ARCHIVE
    cifar10.download(path, [mirror.url("page-unsized"), mirror.url("good")])
    assert path.read_bytes() == standin.archive
    assert [start for _, start in mirror.requests] == [0, len(PAGE), 0]


def test_a_part_that_is_complete_already_needs_no_request(standin, mirror, tmp_path):
    path = tmp_path / "cifar10" / ARCHIVE
    path.parent.mkdir()
    path.with_name(ARCHIVE + ".part").write_bytes(standin.archive)
    cifar10.download(path, [mirror.url("good")])
    assert path.read_bytes() == standin.archive
    assert mirror.requests == []


def test_a_complete_part_of_wrong_bytes_is_downloaded_anew_from_the_first_mirror(standin, mirror, tmp_path):
    path = tmp_path / "cifar10" / ARCHIVE
    path.parent.mkdir()
    path.with_name(ARCHIVE + ".part").write_bytes(bytes(len(standin.archive)))
    cifar10.download(path, [mirror.url("good")])
    assert path.read_bytes() == standin.archive
    assert mirror.requests == [("good", 0)]


def test_bytes_of_the_right_size_but_another_md5_never_get_the_final_name(standin, mirror, tmp_path):
    path = tmp_path / "cifar10" / ARCHIVE
    with pytest.raises(OSError, match=r"md5 .*, expected .*; removed"):
        cifar10.download(path, [mirror.url("other-bytes"), mirror.url("other-bytes")])
    assert files_below(tmp_path) == set()
    assert mirror.requests == [("other-bytes", 0), ("other-bytes", 0)]


def test_a_folder_that_cannot_be_made_is_said_before_any_request(standin, mirror, tmp_path):
    (tmp_path / "cifar10").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"(?s)File exists.*RESNET_UTILS_DATA"):
        tensors(tmp_path, mirrors=[mirror.url("good")])
    assert mirror.requests == []


def test_the_real_mirrors_are_asked_over_https_for_the_published_archive():
    assert len(cifar10.MIRRORS) == 3
    assert all(url.startswith("https://") and url.endswith("/cifar-10-python.tar.gz") for url in cifar10.MIRRORS)
    assert (cifar10.ARCHIVE_BYTES, cifar10.ARCHIVE_MD5) == (170_498_071, "c58f30108f718f92721af3b95e74349a")


# The real images


@real_cifar10
def test_the_real_cifar10_has_its_published_size_order_and_statistics():
    train, test = data.load("cifar10")
    assert train.images.shape == (50_000, 3, 32, 32)
    assert test.images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(train.labels).tolist() == [5000] * 10
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    assert train.sha256() == "cbb443f4c27a75d61fb8f81d8f02d7b75a4bb8cad15278790ceb7894df405986"
    assert test.sha256() == "1df80df5c0e7a6e8b618bf8221aa5a162b9625fd78033e1334ac202bf7124339"
    values = torch.arange(256, dtype=torch.float64) / 255
    for channel, (mean, std) in enumerate(zip(train.mean, train.std, strict=True)):
        counts = torch.bincount(train.images[:, channel].flatten(), minlength=256).double()
        found = (counts * values).sum() / counts.sum()
        deviation = ((counts * (values - found) ** 2).sum() / counts.sum()).sqrt()
        assert found.item() == pytest.approx(mean, abs=5e-5)
        assert deviation.item() == pytest.approx(std, abs=5e-5)


@real_cifar10
def test_the_real_cifar10_loads_in_under_a_second_the_second_time():
    data.load("cifar10")
    start = perf_counter()
    data.load("cifar10")
    assert perf_counter() - start < 1


@real_cifar10
@pytest.mark.skipif(not (CIFAR10 / "train").is_dir(), reason="the real CIFAR-10 is not kept as pictures here")
def test_the_real_tensors_are_the_pictures_in_order_of_class_and_file_name():
    for images, split, count in zip(data.load("cifar10"), ("train", "test"), (5000, 1000), strict=True):
        for label, name in enumerate(CLASSES):
            paths = sorted((CIFAR10 / split / name).iterdir(), key=lambda path: path.name)
            for k in (0, 1, count // 2, count - 1):
                picture = np.asarray(Image.open(paths[k]))
                assert np.array_equal(images.images[label * count + k].permute(1, 2, 0).numpy(), picture)
                assert images.labels[label * count + k].item() == label

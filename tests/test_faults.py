"""What a reader's machine does to a run: a full disk, a folder that cannot be written, a kill at a bad moment.

These tests have the rights of an ordinary user (`make test` sees to it), and the faults are real ones.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import resnet_utils
from resnet_utils import data, models
from resnet_utils.training import FAST, fit

HOME = Path(resnet_utils.__file__).parents[1]
RUN = """
import os, resource, signal, sys, time
import torch
from resnet_utils import checkpoints, data, models
from resnet_utils.training import FAST, fit
torch.set_num_threads(1)
torch.manual_seed(0)
model = models.build("resnet8", in_channels=1)
images = data.load("digits")[0].take(torch.arange(96))
recipe = FAST.with_(epochs=4, batch_size=32, learning_rate=0.05)
"""
FIT = "fit(model, images, recipe, device='cpu', checkpoint=sys.argv[1]{more})\n"


def start(path: Path, prepare: str = "", more: str = "") -> subprocess.CompletedProcess:
    """Train four epochs of three steps in a process of its own, with a checkpoint at `path`."""
    command = [sys.executable, "-c", RUN + prepare + FIT.format(more=more), str(path)]
    return subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False, env=os.environ)


@pytest.fixture(scope="module")
def never_stopped():
    """The weights of that run when nothing happens to it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = models.build("resnet8", in_channels=1)
    images = data.load("digits")[0].take(torch.arange(96))
    fit(model, images, FAST.with_(epochs=4, batch_size=32, learning_rate=0.05), device="cpu")
    torch.set_num_threads(threads)
    return model.state_dict()


def finished(path: Path) -> int:
    """Epochs in the checkpoint, which can be read whole."""
    return len(torch.load(path, weights_only=True)["history"])


def assert_goes_on_to_the_same_end(path: Path, expected: dict) -> None:
    assert start(path).returncode == 0
    found = torch.load(path, weights_only=True)["model"]
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_these_tests_have_the_rights_of_an_ordinary_user(tmp_path):
    tmp_path.chmod(0o555)
    try:
        writable = os.access(tmp_path, os.W_OK)
    finally:
        tmp_path.chmod(0o755)
    assert not writable, (
        "root may write anywhere: run `make test`, or `setpriv --bounding-set=-all --inh-caps=-all pytest`"
    )


def test_killed_in_the_middle_of_an_epoch_it_ends_as_if_never_stopped(tmp_path, never_stopped):
    path = tmp_path / "run.pt"
    kill = ", after_step=lambda step: step == 8 and os.kill(os.getpid(), signal.SIGKILL)"
    assert start(path, more=kill).returncode == -signal.SIGKILL
    assert finished(path) == 2
    assert_goes_on_to_the_same_end(path, never_stopped)


@pytest.mark.parametrize("moment", ["half of the file is written", "the file is written and not yet renamed"])
def test_killed_while_it_writes_a_checkpoint_it_ends_as_if_never_stopped(tmp_path, never_stopped, moment):
    path = tmp_path / "run.pt"
    half = moment.startswith("half")
    prepare = f"""
real = torch.save
def save(content, target):
    real(content, target)
    if len(content["history"]) == 3:
        if {half}:
            os.truncate(target, os.path.getsize(target) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = save
"""
    assert start(path, prepare).returncode == -signal.SIGKILL
    assert finished(path) == 2
    assert_goes_on_to_the_same_end(path, never_stopped)
    assert path.exists()


def test_a_full_disk_keeps_the_last_checkpoint_and_says_what_to_do(tmp_path, never_stopped):
    path = tmp_path / "run.pt"
    # From epoch 3 on the system refuses every byte past the first 100,000 of a file, as a full disk would.
    fill = ", after_epoch=lambda epoch: epoch == 3 and resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    stopped = start(path, more=fill)
    assert stopped.returncode == 1
    assert f"OSError: {path} could not be written" in stopped.stderr
    assert "Free some space or choose a folder that can be written, then run again" in stopped.stderr
    assert finished(path) == 2
    assert list(tmp_path.iterdir()) == [path]
    assert_goes_on_to_the_same_end(path, never_stopped)


def test_a_read_only_folder_for_checkpoints_is_named_with_what_to_do(tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    try:
        stopped = start(folder / "run.pt")
        assert list(folder.iterdir()) == []
    finally:
        folder.chmod(0o755)
    assert stopped.returncode == 1
    assert f"OSError: {folder / 'run.pt'} could not be written" in stopped.stderr
    assert "choose a folder that can be written" in stopped.stderr


def test_a_truncated_checkpoint_is_refused_and_kept(tmp_path):
    path = tmp_path / "run.pt"
    assert start(path, "recipe = recipe.with_(epochs=1)\n").returncode == 0
    os.truncate(path, path.stat().st_size - 1000)
    before = path.read_bytes()
    stopped = start(path, "recipe = recipe.with_(epochs=1)\n")
    assert (
        f"ValueError: the checkpoint {path} is damaged or of another kind; remove it to start again" in stopped.stderr
    )
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_model_is_refused_and_kept(tmp_path):
    path = tmp_path / "run.pt"
    assert start(path, "recipe = recipe.with_(epochs=1)\n").returncode == 0
    before = path.read_bytes()
    other = "recipe = recipe.with_(epochs=1)\nmodel = models.build('plain8', in_channels=1)\n"
    stopped = start(path, other)
    assert "belongs to another run: it differs in model. Remove it or choose another file." in stopped.stderr
    assert path.read_bytes() == before


def test_a_loss_that_is_no_number_stops_with_what_to_try(tmp_path):
    path = tmp_path / "run.pt"
    stopped = start(path, more=", after_step=lambda step: step == 5 and model.fc.weight.data.fill_(float('nan'))")
    assert stopped.returncode == 1
    assert (
        "FloatingPointError: training diverged in epoch 2, at a loss of nan. Try a lower learning rate"
        in stopped.stderr
    )
    assert finished(path) == 1


def test_a_cache_folder_that_cannot_be_written_is_said_and_the_images_load(tmp_path):
    home = tmp_path / "data"
    made = """
import sys
sys.path.insert(0, "tests")
from pathlib import Path
import pytest
from test_cifar10 import StandIn, PER_CLASS
from resnet_utils import cifar10
cifar10._PER_CLASS = PER_CLASS
standin = StandIn()
home = Path(sys.argv[1])
if not home.exists():
    standin.write_pictures(home)
else:
    standin.check(cifar10.tensors(home, mirrors=()))
"""
    for _ in range(2):
        command = [sys.executable, "-W", "default", "-c", made, str(home)]
        shown = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False, env=os.environ)
        assert shown.returncode == 0, shown.stderr
        (home / "cifar10").chmod(0o555)
    (home / "cifar10").chmod(0o755)
    assert "could not keep the decoded images" in shown.stderr
    assert "Set RESNET_UTILS_DATA to a folder that can be written." in shown.stderr
    assert not list(home.rglob("*.pt"))


def test_a_cache_folder_that_cannot_be_made_is_named_with_the_variable(tmp_path):
    home = tmp_path / "read-only"
    home.mkdir()
    home.chmod(0o555)
    ask = "from resnet_utils import cifar10; cifar10.tensors(mirrors=['http://127.0.0.1:9/x'])"
    environment = os.environ | {"RESNET_UTILS_DATA": str(home)}
    command = [sys.executable, "-c", ask]
    try:
        shown = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False, env=environment)
    finally:
        home.chmod(0o755)
    assert shown.returncode == 1
    assert "CIFAR-10 could not be downloaded. Mirrors tried:" in shown.stderr
    for part in ("http://127.0.0.1:9/x", "Permission denied", str(home / "cifar10"), "set RESNET_UTILS_DATA"):
        assert part in shown.stderr
    assert list(home.iterdir()) == []

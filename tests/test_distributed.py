"""resnet_utils.distributed: two gloo processes, started by torchrun, that train one network with the loop of one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import resnet_utils
from resnet_utils import data, distributed, models
from resnet_utils.data import Batches
from resnet_utils.training import FAST, evaluate, fit

HOME = Path(resnet_utils.__file__).parents[1]
# 99 images in batches of 32: the last batch holds three, so that the two processes have shares of two and one.
SETTING = """
import os, signal, sys, time
from datetime import timedelta
from pathlib import Path
import torch
from helpers import StoppedError, stop_at
from torch import nn
from resnet_utils import data, distributed, models
from resnet_utils.training import FAST, fit

torch.set_num_threads(1)
folder = Path(sys.argv[1])
images = data.load("digits")[0].take(torch.arange(99))
test = data.load("digits")[1].take(torch.arange(60))
recipe = FAST.with_(epochs=3, batch_size=32, learning_rate=0.05)


def without_norm():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))


def resnet(seed=0):
    torch.manual_seed(seed)
    return models.build("resnet8", in_channels=1)


def train(model, **options):
    return fit(model, images, recipe, device="cpu", precision=torch.float32, **options)
"""
TOGETHER = """
def refused(**options):
    try:
        train(resnet(), **options)
    except ValueError as error:
        return str(error)


with distributed.joined():
    rank, processes = distributed.place()
    found = {"processes": processes}

    model, gradients = without_norm(), []
    keep = lambda step: gradients.append([p.grad.clone() for p in model.parameters()])
    history = train(model, test=test, after_step=keep)
    found["without norm"] = model.state_dict(), history.to_dict("list"), gradients

    mine = resnet(seed=rank)  # other weights in each process: those of the first must win
    path = folder / "two.pt"
    history = train(mine, test=test, checkpoint=path)
    found["never stopped"] = mine.state_dict(), history.to_dict("list")

    def write():
        time.sleep(0.3)
        (folder / f"written by {rank}").touch()

    distributed.by_first(write)
    found["written when waited for"] = (folder / "written by 0").exists() and not (folder / "written by 1").exists()

    half, resumed = folder / "half.pt", resnet()
    try:
        train(resnet(), test=test, checkpoint=half, after_step=stop_at(6))
    except StoppedError:
        pass
    taken = []
    history = train(resumed, test=test, checkpoint=half, after_step=taken.append)
    found["resumed"] = resumed.state_dict(), history.to_dict("list"), taken

    found["of one process"] = refused(checkpoint=folder / "one.pt")
    (folder / str(rank)).mkdir()
    if rank == 0:
        os.link(path, folder / "0" / "run.pt")
    found["not shared"] = refused(checkpoint=folder / str(rank) / "run.pt")

    order = folder / "order"
    def first():
        before = order.exists()
        time.sleep(0.2 * (rank == 0))
        order.touch()
        return before
    found["somebody was before"] = distributed.first_of_machine_first(first)

tasks = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]  # Linux has this folder
found["threads"] = [name for name in tasks if "gloo" in name]
torch.save(found, folder / f"found{rank}.pt")
"""


def torchrun(folder: Path, *words: str, processes: int = 2) -> subprocess.CompletedProcess:
    """Start the processes and wait for their end, for five minutes at most: half of `distributed.TIMEOUT`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}  # for helpers
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment, timeout=300
    )


def run(folder: Path, code: str) -> subprocess.CompletedProcess:
    script = folder / "script.py"
    script.write_text(SETTING + code)
    return torchrun(HOME, str(script), str(folder))


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """The images, recipe and networks of the script, in this process."""
    names = {"__name__": "setting"}
    before, threads = sys.argv, torch.get_num_threads()
    sys.argv = ["script", "."]
    exec(SETTING, names)
    sys.argv = before
    yield names
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def found(setting, tmp_path_factory):
    """What each of the two processes found, and the folder of their checkpoints."""
    folder = tmp_path_factory.mktemp("together")
    setting["train"](setting["resnet"](), checkpoint=folder / "one.pt")
    ended = run(folder, TOGETHER)
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    return [torch.load(folder / f"found{rank}.pt", weights_only=False) for rank in (0, 1)], folder


def test_there_are_two_processes(found):
    assert [each["processes"] for each in found[0]] == [2, 2]


def test_the_gradients_are_those_of_one_process_on_the_same_global_batch(found, setting):
    """The first batch, of 32 images, by hand: before any step all have the same weights."""
    model = setting["without_norm"]()
    x, y = next(Batches(setting["images"], 32, train=True).epoch(0))
    assert len(y) == 32
    F.cross_entropy(model(x), y).backward()
    for process in found[0]:
        for p, gradient in zip(model.parameters(), process["without norm"][2][0], strict=True):
            torch.testing.assert_close(gradient, p.grad, atol=1e-6, rtol=1e-4)


def test_the_gradients_are_right_where_the_shares_are_not_equal(found, setting):
    """All twelve steps, with shares of two and one in steps 4, 8 and 12, against one process."""
    model, gradients = setting["without_norm"](), []
    setting["train"](model, after_step=lambda _: gradients.append([p.grad.clone() for p in model.parameters()]))
    for process in found[0]:
        assert len(process["without norm"][2]) == len(gradients) == 12
        for theirs, ours in zip(process["without norm"][2], gradients, strict=True):
            for a, b in zip(theirs, ours, strict=True):
                torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_without_norm_two_processes_learn_what_one_learns(found, setting):
    model = setting["without_norm"]()
    history = setting["train"](model, test=setting["test"])
    weights, theirs, _ = found[0][0]["without norm"]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(weights[name], value, atol=1e-5, rtol=1e-3)
    for column in ("train_loss", "train_error", "test_loss", "test_error"):
        np.testing.assert_allclose(theirs[column], history[column], rtol=1e-3)


@pytest.mark.parametrize("which", ["without norm", "never stopped", "resumed"])
def test_after_the_steps_both_processes_hold_the_same_parameters_and_history(found, which):
    first, second = (process[which] for process in found[0])
    for name, value in first[0].items():
        if "running" not in name:  # of the first process; the second has counted its own last share
            assert torch.equal(value, second[0][name]), name
    assert {**first[1], "seconds": 0} == {**second[1], "seconds": 0}


def test_the_weights_of_the_first_process_are_those_that_train(found, setting):
    """Its network began with seed 0, that of the second with seed 1; the resumed run began with seed 0 in both."""
    (one, _), (two, _, _) = found[0][0]["never stopped"], found[0][0]["resumed"]
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_with_norm_two_processes_are_another_run_than_one(found, setting):
    model = setting["resnet"]()
    setting["train"](model)
    weights = found[0][0]["never stopped"][0]
    assert not torch.allclose(weights["fc.weight"], model.fc.weight, atol=1e-4)


def test_a_stopped_run_resumed_by_as_many_processes_equals_one_never_stopped(found):
    for process in found[0]:
        _, history = process["never stopped"]
        _, resumed, taken = process["resumed"]
        assert taken == list(range(5, 13))
        assert {**history, "seconds": 0} == {**resumed, "seconds": 0}
    first = found[0][0]
    assert all(torch.equal(value, first["resumed"][0][name]) for name, value in first["never stopped"][0].items())


def test_the_first_process_alone_writes_the_checkpoint_and_the_others_wait_for_it(found):
    processes, folder = found
    for process in processes:
        assert process["written when waited for"]
    saved = torch.load(folder / "two.pt", weights_only=True)
    assert saved["run"]["processes"] == 2
    first, second = (process["never stopped"][0] for process in processes)
    assert all(torch.equal(saved["model"][name], value) for name, value in first.items())
    assert not torch.equal(first["bn1.running_mean"], second["bn1.running_mean"])


def test_the_history_evaluates_the_saved_network(found, setting):
    processes, folder = found
    model = setting["resnet"]()
    model.load_state_dict(torch.load(folder / "two.pt", weights_only=True)["model"])
    loss, error = evaluate(model, setting["test"])
    assert processes[1]["never stopped"][1]["test_loss"][-1] == pytest.approx(loss, rel=1e-4)
    assert processes[1]["never stopped"][1]["test_error"][-1] == pytest.approx(error)


def test_a_checkpoint_of_another_number_of_processes_is_refused_with_both_numbers(found, setting):
    processes, folder = found
    for process in processes:
        assert (
            "one.pt belongs to another run: its number of processes is 1, and here are 2."
            in (process["of one process"])
        )
    before = (folder / "two.pt").read_bytes()
    with pytest.raises(ValueError, match=r"two.pt .* its number of processes is 2, and here are 1. Start as many"):
        setting["train"](setting["resnet"](), checkpoint=folder / "two.pt")
    assert (folder / "two.pt").read_bytes() == before


def test_a_checkpoint_that_only_one_process_sees_is_refused_by_all(found):
    for rank, process in enumerate(found[0]):
        assert f"not all processes found the same checkpoint {found[1] / str(rank) / 'run.pt'}" in process["not shared"]


def test_one_process_of_a_machine_goes_first(found):
    assert [process["somebody was before"] for process in found[0]] == [False, True]


def test_no_thread_of_gloo_is_left_that_could_abort_python_at_its_end(found):
    assert [process["threads"] for process in found[0]] == [[], []]


def test_what_would_keep_the_group_of_the_processes_is_imported_before_they_join():
    code = "import sys, resnet_utils.distributed; print('torch.distributed.nn.functional' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True).stdout == "True\n"


def test_a_killed_process_ends_the_job_with_an_error_and_the_last_checkpoint_stays(tmp_path):
    kill = """
def die(step):
    if step == 6 and distributed.place()[0] == 1:
        os.kill(os.getpid(), signal.SIGKILL)

with distributed.joined():
    train(resnet(), checkpoint=folder / "run.pt", after_step=die)
"""
    ended = run(tmp_path, kill)  # it ends long before the processes would give up waiting for each other
    assert ended.returncode != 0
    assert "SIGKILL" in ended.stderr
    assert len(torch.load(tmp_path / "run.pt", weights_only=True)["history"]) == 1


def test_a_process_that_hangs_ends_the_job_after_the_timeout(tmp_path):
    hang = """
with distributed.joined(timeout=timedelta(seconds=15)):
    train(resnet(), after_step=lambda step: time.sleep(1000 * (step == 6) * distributed.place()[0]))
"""
    ended = run(tmp_path, hang)
    assert ended.returncode != 0
    assert "rank      : 0" in ended.stderr.split("Root Cause")[1]  # the one that waited
    assert "timeout" in ended.stderr.lower() or "timed out" in ended.stderr.lower()


def test_the_command_line_trains_with_two_processes_and_prints_one_table(tmp_path):
    words = [
        "-m",
        "resnet_utils",
        "train",
        "resnet8",
        "--epochs",
        "2",
        "--learning-rate",
        "0.05",
        "--batch-size",
        "256",
    ]
    ended = torchrun(tmp_path, *words, "--checkpoint", "run.pt")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("test_error") == 1
    assert len(ended.stdout.strip().splitlines()) == 3
    saved = torch.load(tmp_path / "run.pt", weights_only=True)["run"]
    assert (saved["processes"], saved["batch_size"], saved["epochs"]) == (2, 256, 2)


# Alone


def test_alone_everything_is_done_at_once_and_nothing_changes(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model, values = nn.Linear(2, 2), torch.tensor([1.0, 2.0])
    with distributed.joined():
        assert distributed.place() == (0, 1)
        assert distributed.wrapped(model) is model
        assert distributed.summed(values).tolist() == [1.0, 2.0]
        assert distributed.by_first(lambda: "done") == "done"
        assert distributed.first_of_machine_first(lambda: "done") == "done"
        assert distributed.gathered(3) == [3]
    assert not torch.distributed.is_initialized()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(ValueError, match="process 3 of this machine has no GPU, there are 2; say --nproc-per-node=2"),
        distributed.joined(),
    ):
        pass


@pytest.mark.parametrize(("count", "batch_size", "processes"), [(99, 32, 2), (64, 16, 4), (10, 7, 3), (5, 100, 3)])
@pytest.mark.parametrize("train", [False, True])
def test_the_shares_of_all_processes_are_the_batch_of_one(count, batch_size, processes, train):
    images = data.load("digits")[0].take(torch.arange(count))
    alone = list(Batches(images, batch_size, train=train, seed=4).epoch(3))
    shares = [
        list(Batches(images, batch_size, train=train, seed=4, rank=rank, processes=processes).epoch(3))
        for rank in range(processes)
    ]
    assert [len(each) for each in shares] == [len(alone)] * processes
    for step, (x, y) in enumerate(alone):
        for rank, batches in enumerate(shares):
            assert torch.equal(batches[step][0], x[rank::processes])
            assert torch.equal(batches[step][1], y[rank::processes])


def test_the_weights_of_the_shares_give_every_image_the_same_weight():
    """Seven images for three processes: shares of three, two and two."""
    images = data.load("digits")[0].take(torch.arange(13))
    weights = [Batches(images, 7, rank=rank, processes=3).weights() for rank in range(3)]
    assert weights == [[3 * 3 / 7, 3 * 2 / 6], [3 * 2 / 7, 1], [3 * 2 / 7, 1]]
    assert Batches(images, 7).weights() == [1, 1]


def test_a_last_batch_with_fewer_images_than_processes_is_refused():
    images = data.load("digits")[0].take(torch.arange(65))
    with pytest.raises(
        ValueError, match="65 images in batches of 32 leave a last batch of 1, and 2 processes need an image each"
    ):
        Batches(images, 32, processes=2)


def test_a_finished_run_is_returned_before_any_batch_is_made(setting, tmp_path, monkeypatch):
    history = setting["train"](setting["resnet"](), checkpoint=tmp_path / "run.pt")
    monkeypatch.setattr("resnet_utils.training.Batches", None)
    again = setting["train"](setting["resnet"](seed=5), checkpoint=tmp_path / "run.pt")
    pd.testing.assert_frame_equal(history, again, check_exact=True)


def test_a_checkpoint_from_before_there_were_several_processes_goes_on(setting, tmp_path):
    path = tmp_path / "run.pt"
    recipe = FAST.with_(epochs=1, batch_size=32, learning_rate=0.05)
    fit(models.build("resnet8", in_channels=1), setting["images"], recipe, device="cpu", checkpoint=path)
    saved = torch.load(path, weights_only=True)
    del saved["run"]["processes"]
    torch.save(saved, path)
    again = fit(models.build("resnet8", in_channels=1), setting["images"], recipe, device="cpu", checkpoint=path)
    assert again["seconds"].tolist() == [saved["history"][0]["seconds"]]

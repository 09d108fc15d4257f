"""resnet_utils.runs: many networks, in one process or in several, stopped and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import resnet_utils
from resnet_utils import data, models, runs, training
from resnet_utils.files import code_sha256
from resnet_utils.runs import Images, Run, snapshot, starts, train_all
from resnet_utils.training import FAST, fit

FEW = Images("digits", subset=160, hold_out=64)  # 96 to train on, 64 to test on
SHORT = FAST.with_(epochs=3, batch_size=32, learning_rate=0.05)
TWINS = [Run("plain8", 0, SHORT), Run("resnet8", 0, SHORT)]
HOME = Path(resnet_utils.__file__).parents[1]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(training, "best_device", lambda: torch.device("cpu"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: results are equal only for equal numbers of threads
    yield
    torch.set_num_threads(threads)


def without_seconds(history: pd.DataFrame) -> pd.DataFrame:
    return history.drop(columns="seconds")


def assert_same_networks(a, b):
    assert a.keys() == b.keys()
    for run, model in a.items():
        for name, value in model.state_dict().items():
            assert torch.equal(value, b[run].state_dict()[name]), f"{run.model} {name}"


# The images


def test_images_without_a_subset_are_the_training_and_the_test_set():
    train, test = Images("digits").load()
    expected = data.load("digits")
    assert (train.sha256(), test.sha256()) == tuple(images.sha256() for images in expected)


@pytest.mark.parametrize(("subset", "hold_out"), [(0, 200), (300, 0), (300, 50)])
def test_held_out_images_come_from_the_training_set_and_are_not_trained_on(subset, hold_out):
    train, test = Images("digits", subset=subset, hold_out=hold_out).load()
    whole, real_test = data.load("digits")
    assert len(train) == (subset or len(whole)) - hold_out
    if not hold_out:
        assert test.sha256() == real_test.sha256()
        return
    assert len(test) == hold_out
    pixels = {image.numpy().tobytes() for image in whole.images}
    mine = [{image.numpy().tobytes() for image in part.images} for part in (train, test)]
    assert mine[0] | mine[1] <= pixels
    assert len(mine[0] & mine[1]) <= 1  # the digits hold a few equal images


def test_the_name_of_a_checkpoint_tells_apart_whatever_may_be_trained():
    named = [Images("digits"), Images("digits", subset=300), Images("digits", hold_out=50), FEW, Images("cifar10")]
    every = [
        Run(model, seed, SHORT.with_(**{field: value}), shortcut)
        for model in ("resnet8", "plain8")
        for seed in (0, 1)
        for field, value in {"epochs": 4, "learning_rate": 0.2, "weight_decay": 0.1}.items()
        for shortcut in (None, "B", "C")
    ]
    files = {run.file(images) for run in every for images in named}
    assert len(files) == len(every) * len(named)


def test_labels_say_which_option_the_shortcuts_have():
    assert Run("resnet8", 0, SHORT).labels()["shortcut"] == "A"
    assert Run("resnet8", 0, SHORT, "C").labels()["shortcut"] == "C"
    assert Run("resnet18-cifar", 0, SHORT).labels()["shortcut"] == "B"
    assert Run("plain8", 0, SHORT).labels()["shortcut"] == "none"


@pytest.mark.parametrize(("shortcut", "parameters"), [(None, 0), ("B", 1)])
def test_the_option_of_a_run_is_built(shortcut, parameters):
    images, _ = FEW.load()
    model = Run("resnet8", 0, SHORT, shortcut).fresh(images)
    projections = [name for name, _ in model.named_parameters() if "downsample" in name]
    assert bool(projections) == bool(parameters)


# One process or several


def test_networks_trained_at_once_equal_those_trained_one_after_the_other(tmp_path):
    alone, nets = train_all(TWINS, FEW)
    together, others = train_all(TWINS, FEW, checkpoints=tmp_path, at_once=2)
    pd.testing.assert_frame_equal(without_seconds(alone), without_seconds(together), check_exact=True)
    assert_same_networks(nets, others)


def test_several_at_once_need_no_folder_and_leave_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    history, _ = train_all(TWINS, FEW, at_once=2)
    assert len(history) == 6
    assert list(tmp_path.iterdir()) == []


def test_one_that_diverges_does_not_stop_the_others(tmp_path):
    wild = Run("plain8", 0, SHORT.with_(learning_rate=1e30))
    with pytest.raises(FloatingPointError, match=r"diverged in epoch 1.*lower learning rate"):
        train_all([wild, *TWINS], FEW, checkpoints=tmp_path, at_once=2)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == sorted(run.file(FEW) for run in TWINS)
    for run in TWINS:
        assert len(torch.load(tmp_path / run.file(FEW), weights_only=True)["history"]) == 3


def test_less_than_one_at_once_is_refused():
    with pytest.raises(ValueError, match="at_once must be at least 1, not 0"):
        train_all(TWINS, FEW, at_once=0)


PARENT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
import sys
from resnet_utils.runs import Images, Run, train_all
from resnet_utils.training import FAST
if __name__ == "__main__":
    recipe = FAST.with_(epochs={epochs}, batch_size=32, learning_rate=0.05)
    images = Images("digits", subset=160, hold_out=64)
    train_all([Run(name, 0, recipe) for name in ("plain8", "resnet8")], images, checkpoints={folder!r}, at_once=2)
"""


def begin(tmp_path: Path, epochs: int) -> subprocess.Popen:
    """Start training the twins in the background, with a script that its processes can import."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(folder=str(tmp_path / "checkpoints"), epochs=epochs))
    environment = os.environ | {"PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.PIPE, text=True)


def workers(process: subprocess.Popen) -> list[int]:
    """The processes below it that train."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [int(pid) for pid, parent, args in rows if int(parent) == process.pid and "spawn_main" in args]


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_killed_with_its_processes_it_goes_on_and_ends_as_one_never_stopped(tmp_path):
    epochs = 60
    folder = tmp_path / "checkpoints"
    process = begin(tmp_path, epochs)
    wait_for(lambda: len(list(folder.glob("*.pt"))) == 2)
    children = workers(process)
    assert len(children) == 2
    process.kill()
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))  # nobody trains on in vain
    every = [Run(name, 0, SHORT.with_(epochs=epochs)) for name in ("plain8", "resnet8")]
    done = [len(torch.load(folder / run.file(FEW), weights_only=True)["history"]) for run in every]
    assert all(0 < epochs_done < epochs for epochs_done in done)
    resumed, nets = train_all(every, FEW, checkpoints=folder)
    whole, others = train_all(every, FEW)
    pd.testing.assert_frame_equal(without_seconds(resumed), without_seconds(whole), check_exact=True)
    assert_same_networks(nets, others)


def test_when_the_system_kills_a_process_the_error_says_what_to_try(tmp_path):
    process = begin(tmp_path, 500)
    wait_for(lambda: len(list((tmp_path / "checkpoints").glob("*.pt"))) == 2)
    os.kill(workers(process)[0], signal.SIGKILL)
    _, message = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "ChildProcessError: a training process was killed, most likely for lack of memory" in message
    assert "Train fewer than 2 at once; a new start goes on from the checkpoints." in message


def test_ctrl_c_stops_all_and_a_new_start_goes_on(tmp_path):
    process = begin(tmp_path, 500)
    wait_for(lambda: len(list((tmp_path / "checkpoints").glob("*.pt"))) == 2)
    children = workers(process)
    for pid in (process.pid, *children):  # a terminal sends it to the whole group
        os.kill(pid, signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in message
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children), seconds=20)
    for run in (Run(name, 0, SHORT.with_(epochs=500)) for name in ("plain8", "resnet8")):
        assert len(torch.load(tmp_path / "checkpoints" / run.file(FEW), weights_only=True)["history"]) < 500


def test_code_that_changes_on_the_disk_while_it_trains_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the package's code was changed while it trained; start again"):
        train_all(TWINS, FEW, checkpoints=tmp_path, at_once=2, start={"code": "of another version"})
    history, _ = train_all(TWINS, FEW, checkpoints=tmp_path, at_once=2, start={"code": code_sha256()})
    assert len(history) == 6


# What is kept beside the checkpoints


def test_snapshots_are_the_weights_after_their_epoch(tmp_path):
    run = TWINS[1]
    train_all([run], FEW, checkpoints=tmp_path, snapshots=(1, 3))
    assert not snapshot(run, FEW, tmp_path, 2).exists()
    expected = {}
    train, test = FEW.load()
    model = run.fresh(train)

    def keep(epoch):
        expected[epoch] = {name: value.clone() for name, value in model.state_dict().items()}

    fit(model, train, run.recipe, test=test, device="cpu", after_epoch=keep)
    assert list(expected) == [1, 2, 3]
    for epoch in (1, 3):
        kept = torch.load(snapshot(run, FEW, tmp_path, epoch), weights_only=True)
        for name, value in expected[epoch].items():
            assert torch.equal(kept[name], value), f"epoch {epoch}, {name}"


def test_without_a_folder_nothing_is_kept_and_snapshots_do_no_harm():
    history, _ = train_all(TWINS[:1], FEW, snapshots=(1,))
    assert len(history) == 3


def test_every_start_that_trained_an_epoch_is_noted_once(tmp_path, monkeypatch):
    run, (first, second, third) = TWINS[0], [{"date": str(i), "commit": "abc"} for i in range(3)]
    assert starts(run, FEW, tmp_path) == []
    real = runs.fit

    def stopped(*arguments, **options):
        def stop(step):
            if step == 5:  # in the second of three epochs
                raise KeyboardInterrupt

        return real(*arguments, **options | {"after_step": stop})

    with monkeypatch.context() as patch:
        patch.setattr(runs, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            train_all([run], FEW, checkpoints=tmp_path, start=first)
    assert starts(run, FEW, tmp_path) == [first]
    train_all([run], FEW, checkpoints=tmp_path, start=second)
    assert starts(run, FEW, tmp_path) == [first, second]
    train_all([run], FEW, checkpoints=tmp_path, start=third)  # trains nothing
    assert starts(run, FEW, tmp_path) == [first, second]
    assert [path.suffix for path in tmp_path.iterdir()] == [".pt"]  # they live and die with the checkpoint


# The bar


def test_the_bar_counts_a_network_by_its_work_and_shows_the_time_left(capsys):
    small, large = Run("resnet8", 0, SHORT), Run("resnet20", 0, SHORT)
    images, _ = FEW.load()
    with runs._bar([small, large], images, True) as done:
        done(0, 1.0, 0.0)
        done(1, 0.0, 0.0)
    shown = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
    share = int(shown.split("%")[0])
    assert 20 <= share <= 30  # about 7 of all 26 convolutions
    assert "left" in shown
    assert "1 of 2 networks" in shown


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_resumed_run_begins_where_it_was(tmp_path, capsys, at_once):
    train_all(TWINS, FEW, checkpoints=tmp_path, progress=True, at_once=at_once)
    assert "100 % |" in capsys.readouterr().err
    train_all(TWINS, FEW, checkpoints=tmp_path, progress=True, at_once=at_once)
    shown = capsys.readouterr().err
    assert "100 % |" in shown
    assert "2 of 2 networks" in shown


def test_what_a_checkpoint_had_done_does_not_count_as_speed(monkeypatch):
    told = {}

    class Bar:
        def __init__(self, **_options):
            self.n = self.initial = 0

        def __enter__(self):
            return self

        def __exit__(self, *_error):
            told.update(n=self.n, initial=self.initial)

        def set_postfix_str(self, *_arguments, **_options):
            pass

        def update(self, more):
            self.n += more

    monkeypatch.setattr(runs, "tqdm", Bar)
    images, _ = FEW.load()
    with runs._bar(TWINS, images, True) as done:
        done(0, 0.6, 0.5)  # half of it came from a checkpoint
        done(0, 0.8, 0.5)
        done(1, 1.0, 1.0)  # all of it
    assert told["n"] == pytest.approx(90)
    assert told["initial"] == pytest.approx(75)


def test_without_progress_nothing_is_written(capsys):
    train_all(TWINS[:1], FEW)
    assert capsys.readouterr() == ("", "")


def test_every_model_of_the_book_can_be_a_run():
    images, _ = FEW.load()
    for name in ("resnet18-cifar", "preact8", "plain20"):
        assert isinstance(Run(name, 0, SHORT).fresh(images), models.ResNet)

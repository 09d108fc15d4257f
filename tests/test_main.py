"""python -m resnet_utils: every command, on small things, and what it says when something is wrong."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import real_cifar10

import resnet_utils
from resnet_utils import __main__, bench, data, experiments, records, training
from resnet_utils.__main__ import main, parser

CLEAN = {"date": "2026-01-02T03:04:05", "commit": "0123abc", "changed": [], "device": "cpu", "versions": {"a": "1"}}


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """A folder of its own, the CPU, few digits, a clean commit, and no override from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESNET_EPOCHS", raising=False)
    monkeypatch.setattr(training, "best_device", lambda: torch.device("cpu"))
    train, test = data.load("digits")
    few = train.take(torch.arange(300)), test.take(torch.arange(60))
    monkeypatch.setattr(data, "load", lambda _name: few)
    monkeypatch.setattr(records, "start", lambda: dict(CLEAN))


def experiment(name, *more):
    return main(["experiment", name, "--models", "plain20", "resnet20", "--epochs", "1", *more])


# Experiments


@pytest.mark.parametrize("name", ["degradation", "lesion", "gradients"])
def test_an_experiment_writes_its_record_and_says_where(name, tmp_path, capsys):
    assert experiment(name) == 0
    shown = capsys.readouterr()
    assert f"wrote {Path('records') / name}.csv and .json" in shown.out
    assert "100 %" in shown.err
    assert "left" in shown.err
    found = records.provenance(name, tmp_path / "records")
    words = f"experiment {name} --scale quick --models plain20 resnet20 --epochs 1"
    assert found["command"] == f"python -m resnet_utils {words}"
    assert found["starts"] == [CLEAN | {"command": found["command"], "precision": found["precision"]}]
    assert found["settings"]["models"] == ["plain20", "resnet20"]
    assert found["settings"]["recipe"]["epochs"] == 1
    assert found["data"]["train_sha256"] == data.load("digits")[0].sha256()
    assert found["precision"] == str(training.best_precision(torch.device("cpu"))).removeprefix("torch.")
    table = records.load(name, tmp_path / "records")
    assert found["seconds"] > 0
    assert set(table["model"]) == {"plain20", "resnet20"}
    assert set(table["seed"]) == {0, 1, 2}


def test_the_weights_of_the_first_seed_and_the_main_recipe_are_kept_with_the_degradation(tmp_path, capsys):
    assert experiment("degradation") == 0
    assert "weights of resnet20, plain20" in capsys.readouterr().out
    settings = experiments.settings("degradation", "quick")
    settings = settings.with_(models=("resnet20",), seeds=(0,), controls=(), recipe=settings.recipe.with_(epochs=1))
    _, trained = experiments.run(settings)
    kept = records.load_weights("resnet20", tmp_path / "records")
    (model,) = trained.values()
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_a_second_call_goes_on_from_the_checkpoints_and_trains_nothing(tmp_path, monkeypatch):
    assert experiment("degradation") == 0
    first = (tmp_path / "records" / "degradation.csv").read_bytes()
    assert len(list((tmp_path / "checkpoints").glob("*.pt"))) == 6
    later = CLEAN | {"commit": "later"}
    monkeypatch.setattr(records, "start", lambda: later)
    assert experiment("lesion") == 0  # the same networks
    assert experiment("degradation") == 0
    assert (tmp_path / "records" / "degradation.csv").read_bytes() == first  # the seconds too
    starts = records.provenance("degradation", tmp_path / "records")["starts"]
    assert [start["commit"] for start in starts] == ["0123abc", "later"]


def test_folders_of_this_machine_stay_out_of_the_command(tmp_path):
    folders = ["--checkpoints", str(tmp_path / "a"), "--records", str(tmp_path / "b")]
    assert experiment("degradation", *folders, "--allow-dirty") == 0
    command = records.provenance("degradation", tmp_path / "b")["command"]
    assert str(tmp_path) not in command
    assert parser().parse_args(command.split()[3:]).models == ["plain20", "resnet20"]


def test_an_override_by_the_environment_stands_in_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("RESNET_EPOCHS", "1")
    assert main(["experiment", "degradation", "--models", "plain20"]) == 0
    assert records.provenance("degradation", tmp_path / "records")["command"].endswith("--models plain20 --epochs 1")


def test_changed_code_is_refused_before_any_training(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(records, "start", lambda: CLEAN | {"changed": [" M resnet_utils/models.py"]})
    monkeypatch.setattr(experiments, "run", lambda *a, **k: pytest.fail("it trained"))
    assert experiment("degradation") == 1
    assert "not committed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_changed_code_is_refused_before_any_training(monkeypatch, capsys):
    monkeypatch.setattr(records, "start", lambda: CLEAN | {"changed": [" M resnet_utils/models.py"]})
    assert experiment("degradation", "--allow-dirty") == 0
    monkeypatch.setattr(records, "start", lambda: dict(CLEAN))
    monkeypatch.setattr(experiments, "run", lambda *a, **k: pytest.fail("it trained"))
    assert experiment("lesion") == 1
    assert "not committed (M resnet_utils/models.py)" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--records", "--checkpoints"])
def test_a_folder_that_cannot_be_written_is_refused_before_any_training(monkeypatch, tmp_path, capsys, option):
    monkeypatch.setattr(experiments, "run", lambda *a, **k: pytest.fail("it trained"))
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    assert experiment("degradation", option, str(folder)) == 1
    folder.chmod(0o755)
    assert f"{folder} cannot be written" in capsys.readouterr().err


def test_a_full_record_is_not_replaced_by_a_smaller_one_and_that_is_said_before_any_training(
    monkeypatch, tmp_path, capsys
):
    assert experiment("degradation") == 0
    path = tmp_path / "records" / "degradation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scale": "record"}))
    monkeypatch.setattr(experiments, "run", lambda *a, **k: pytest.fail("it trained"))
    assert experiment("degradation") == 1
    assert "does not replace it" in capsys.readouterr().err


def test_a_part_of_an_experiment_does_not_go_into_the_package(monkeypatch):
    folders = []
    monkeypatch.setattr(records, "check_replaceable", lambda _name, _scale, folder: folders.append(folder))
    monkeypatch.setattr(experiments, "run", lambda *a, **k: (_ for _ in ()).throw(ValueError("far enough")))
    for words in (["--models", "plain20"], ["--epochs", "1"], []):
        assert main(["experiment", "degradation", "--scale", "record-cpu", *words]) == 1
    assert folders == [Path("records"), Path("records"), records.FOLDER]


def test_a_model_that_the_experiment_has_not_is_refused_with_those_it_has(capsys):
    assert main(["experiment", "lesion", "--models", "resnet8"]) == 1
    assert "lesion has no resnet8; its models are plain20, resnet20, resnet56" in capsys.readouterr().err


@pytest.mark.parametrize("scale", experiments.SCALES)
def test_records_go_into_the_package_at_the_record_scales_only(monkeypatch, scale):
    folders = []
    monkeypatch.setattr(__main__, "_settings", lambda _asked: cut)
    cut = experiments.settings("degradation", "quick").with_(models=("plain20",), controls=(), seeds=(0,), scale=scale)
    cut = cut.with_(recipe=cut.recipe.with_(epochs=1))
    monkeypatch.setattr(records, "save", lambda *a, folder, **k: folders.append(folder))
    assert main(["experiment", "degradation", "--scale", scale]) == 0
    assert folders == [records.FOLDER if scale.startswith("record") else Path("records")]


# All records


def test_record_runs_every_experiment_the_most_important_networks_first(monkeypatch):
    asked = []
    monkeypatch.setattr(__main__, "run_experiment", lambda each, _start: asked.append(each))
    assert main(["record", "--at-once", "3"]) == 0
    assert {each.name for each in asked} == set(experiments.names())
    assert [each.name for each in asked][:3] == ["degradation", "resnet18", "degradation"]
    assert asked[0].models == ["plain20", "resnet20", "plain56", "resnet56"]
    assert all(each.models is None for each in asked[1:])
    assert {each.scale for each in asked} == {"record-cpu"}
    assert {each.at_once for each in asked} == {3}
    assert {each.records for each in asked} == {records.FOLDER}
    for each in asked:
        assert set(each.models or ()) <= set(experiments.settings(each.name, each.scale).models)


def test_record_is_full_size_on_a_gpu_and_as_asked_elsewhere(monkeypatch):
    asked = []
    monkeypatch.setattr(__main__, "run_experiment", lambda each, _start: asked.append(each))
    assert main(["record", "--scale", "record"]) == 0
    assert {each.scale for each in asked} == {"record"}
    asked.clear()
    monkeypatch.setattr(training, "best_device", lambda: torch.device("cuda"))
    assert main(["record"]) == 0
    assert {each.scale for each in asked} == {"record"}


def test_a_record_that_fails_does_not_stop_the_others_and_is_named(monkeypatch, capsys):
    asked = []

    def run(each, _start):
        asked.append(each.name)
        if each.name == "resnet18":
            raise FloatingPointError("training diverged in epoch 2")

    monkeypatch.setattr(__main__, "run_experiment", run)
    assert main(["record"]) == 1
    assert len(asked) == len(__main__.RECORDS)
    assert "some records were not made:\nresnet18: training diverged in epoch 2" in capsys.readouterr().err


# The other commands


def test_train_prints_the_history_of_one_network(capsys):
    arguments = ["train", "resnet8", "--epochs", "2", "--learning-rate", "0.05", "--checkpoint", "one.pt"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["epoch", "learning_rate", "train_loss", "train_error"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]
    assert main(arguments) == 0  # from the checkpoint
    assert capsys.readouterr().out.splitlines() == lines


def test_an_unknown_network_is_refused_with_the_valid_names(capsys):
    assert main(["train", "resnet19"]) == 1
    assert "unknown model 'resnet19'; choose" in capsys.readouterr().err


def test_data_prints_the_hash_of_both_sets(capsys):
    assert main(["data", "digits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, images in zip(lines, data.load("digits"), strict=True):
        assert images.sha256() in line
        assert f"{len(images)} images" in line


@pytest.mark.parametrize("words", ["", "experiment x", "experiment lesion --scale huge", "data mnist"])
def test_words_that_are_off_are_explained_by_the_parser(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 2
    assert "usage: python -m resnet_utils" in capsys.readouterr().err


def test_it_runs_as_a_module_and_helps():
    home = Path(resnet_utils.__file__).parents[1]
    command = [sys.executable, "-m", "resnet_utils", "--help"]
    shown = subprocess.run(command, cwd=home, capture_output=True, text=True, check=True).stdout
    for name in ("experiment", "train", "bench", "data"):
        assert name in shown


# The benchmark


@real_cifar10
def test_the_benchmark_measures_both_loops_on_the_real_images(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    output = tmp_path / "folder" / "bench.json"
    assert main(["bench", "--models", "resnet8", "--steps", "2", "--rounds", "1", "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "resnet8: " in shown
    assert "times as fast as the ordinary loop" in shown
    result = json.loads(output.read_text())
    (row,) = result["networks"]
    assert row["ratio"] == pytest.approx(row["images_per_s"] / row["ordinary_images_per_s"])
    operations = 3 * 2 * 12.0e6  # resnet8: about 12 million multiply-adds an image
    assert row["gflops"] == pytest.approx(row["images_per_s"] * operations / 1e9, rel=0.1)
    assert row["share"] == pytest.approx(row["gflops"] / row["matmul_gflops"])
    assert 0.02 < row["share"] < 1.2
    assert row["ratio"] > 1
    assert 100 < row["peak_mb"] < 10_000
    again = (bench.load_seconds() for _ in range(3))  # where the machine was busy the first time
    assert any(seconds < 1.5 for seconds in itertools.chain([result["second_load_s"]], again))
    assert result["device"]

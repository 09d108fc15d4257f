"""resnet_utils.records: what is saved is loaded, nothing half-written passes, and every shipped record is sound."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import real_cifar10

from resnet_utils import data, experiments, models, records, training
from resnet_utils.__main__ import WEIGHTS, parser

TABLE = pd.DataFrame({"model": ["plain8", "resnet8"], "shortcut": ["none", "A"], "test_error": [12.3456789, 1 / 3]})
START = {
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "0123abc",
    "changed": [],
    "device": "a processor, 2 cores",
    "precision": "float32",
    "versions": {"python": "3.11", "torch": "2.14.1"},
}
ABOUT = {
    "command": "python -m resnet_utils experiment degradation --scale quick",
    "scale": "quick",
    "settings": {"models": ["plain8", "resnet8"]},
    "seeds": [0],
    "data": {"name": "digits", "train_sha256": "1", "test_sha256": "2"},
    "precision": "float32",
    "seconds": 1.5,
    "starts": [START],
}


def weights():
    torch.manual_seed(0)
    return {"resnet8": models.build("resnet8").state_dict()}


# Saving and loading


def test_a_table_comes_back_as_it_was_to_six_digits(tmp_path):
    records.save("some", TABLE, ABOUT, folder=tmp_path)
    found = records.load("some", tmp_path)
    pd.testing.assert_frame_equal(found, TABLE, rtol=1e-5)
    assert found["test_error"].tolist() == [12.3457, 0.333333]
    assert records.names(tmp_path) == ["some"]


def test_the_provenance_says_what_was_given_and_adds_the_rest(tmp_path):
    records.save("some", TABLE, ABOUT, folder=tmp_path)
    found = records.provenance("some", tmp_path)
    assert set(found) == set(records.SCHEMA)
    assert {key: found[key] for key in ABOUT} == ABOUT
    assert (found["record"], found["rows"], found["commit"]) == ("some", 2, "0123abc")
    assert (found["device"], found["versions"]) == (START["device"], START["versions"])
    assert datetime.fromisoformat(found["date"]).tzinfo is not None


def test_weights_come_back_bit_for_bit_and_load_strictly(tmp_path):
    records.save("some", TABLE, ABOUT, weights=weights(), folder=tmp_path)
    found = records.load_weights("resnet8", tmp_path)
    models.build("resnet8").load_state_dict(found, strict=True)
    for name, value in weights()["resnet8"].items():
        assert torch.equal(found[name], value), name
        assert found[name].dtype == value.dtype


def test_weights_in_another_memory_format_are_saved_too(tmp_path):
    model = models.build("resnet8").to(memory_format=torch.channels_last)
    records.save("some", TABLE, ABOUT, weights={"resnet8": model.state_dict()}, folder=tmp_path)
    assert torch.equal(records.load_weights("resnet8", tmp_path)["conv1.weight"], model.conv1.weight)


def test_a_later_record_replaces_the_earlier_one(tmp_path):
    records.save("some", TABLE, ABOUT, folder=tmp_path)
    records.save("some", TABLE[:1], ABOUT | {"scale": "full"}, folder=tmp_path)
    assert len(records.load("some", tmp_path)) == 1
    assert records.provenance("some", tmp_path)["scale"] == "full"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["some.csv", "some.json"]


def test_a_full_record_is_not_replaced_by_a_smaller_one(tmp_path):
    records.save("some", TABLE, ABOUT | {"scale": "record"}, folder=tmp_path)
    with pytest.raises(
        ValueError, match=r"'some' of the scale 'record', and a smaller one \('record-cpu'\).*--records"
    ):
        records.save("some", TABLE[:1], ABOUT | {"scale": "record-cpu"}, folder=tmp_path)
    assert len(records.load("some", tmp_path)) == 2
    records.save("some", TABLE[:1], ABOUT | {"scale": "record"}, folder=tmp_path)
    assert len(records.load("some", tmp_path)) == 1


def test_the_same_table_is_written_in_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        records.save("some", TABLE, ABOUT, folder=tmp_path / folder)
    assert (tmp_path / "a" / "some.csv").read_bytes() == (tmp_path / "b" / "some.csv").read_bytes()


def test_the_description_names_what_whence_and_how_to_make_it_again(tmp_path):
    other = START | {"commit": "fedcba9876", "device": "a GPU"}
    settings = {"recipe": {"epochs": 7, "learning_rate": 0.25}, "controls": []}
    about = ABOUT | {"starts": [START, other], "seeds": [0, 1], "settings": settings, "seconds": 240.0}
    records.save("some", TABLE, about, folder=tmp_path)
    text = records.describe("some", tmp_path)
    for part in (
        "`some`",
        "digits",
        "7 epochs at the peak rate 0.25",
        "seeds 0, 1",
        "float32",
        "a processor, 2 cores and a GPU",
        "2.14.1",
    ):
        assert part in text
    for part in ("4 minutes", "`0123abc`, `fedcba9`", f"`{ABOUT['command']}`"):
        assert part in text


# What is refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"changed": [" M resnet_utils/models.py"]},
            r"code was changed and not committed \(M resnet_utils/models.py\)",
        ),
        ({"commit": ""}, "the code had no commit"),
    ],
)
def test_code_without_a_commit_is_refused_unless_told_and_then_the_record_says_so(tmp_path, change, said):
    about = ABOUT | {"starts": [START | change, START]}  # it was dirty when a part was trained, not at the end
    with pytest.raises(ValueError, match=f"must name the code that made it.*{said}.*--allow-dirty"):
        records.save("some", TABLE, about, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    records.save("some", TABLE, about, folder=tmp_path, allow_dirty=True)
    assert records.provenance("some", tmp_path)["starts"][0] == START | change


@pytest.mark.parametrize("key", ABOUT)
def test_an_incomplete_provenance_is_refused(tmp_path, key):
    about = {k: v for k, v in ABOUT.items() if k != key}
    with pytest.raises((ValueError, KeyError), match=key):
        records.save("some", TABLE, about, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"seconds": "long"}, {"seeds": 3}, {"mood": "good"}])
def test_a_provenance_of_other_types_or_with_more_is_refused(tmp_path, change):
    with pytest.raises(ValueError, match="the provenance of 'some'"):
        records.save("some", TABLE, ABOUT | change, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_record_is_refused_with_the_known_ones_and_the_command_that_makes_it(tmp_path):
    records.save("some", TABLE, ABOUT, folder=tmp_path)
    with pytest.raises(ValueError, match=r"no record 'other'.*there is 'some'.*experiment other --scale record"):
        records.load("other", tmp_path)


def test_unknown_weights_are_refused_with_the_known_ones(tmp_path):
    records.save("some", TABLE, ABOUT, weights=weights(), folder=tmp_path)
    with pytest.raises(ValueError, match="no trained weights 'plain8'; there are 'resnet8'"):
        records.load_weights("plain8", tmp_path)


@pytest.mark.parametrize("file", ["some.csv", "resnet8.safetensors"])
def test_a_file_that_was_changed_is_refused_by_name(tmp_path, file):
    records.save("some", TABLE, ABOUT, weights=weights(), folder=tmp_path)
    content = bytearray((tmp_path / file).read_bytes())
    content[-2] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file} is not the file that its provenance describes.*Restore it"):
        records.load("some", tmp_path) if file == "some.csv" else records.load_weights("resnet8", tmp_path)


def test_a_save_that_was_interrupted_is_noticed_and_never_taken_for_the_record(tmp_path, monkeypatch):
    records.save("some", TABLE, ABOUT, folder=tmp_path)
    monkeypatch.setattr(records, "_json", lambda _record: pytest.fail("killed before the provenance"))
    real = records.atomic

    def killed_before_the_provenance(path):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(records, "_json", lambda record: json.dumps(record).encode())
    monkeypatch.setattr(records, "atomic", killed_before_the_provenance)
    with pytest.raises(KeyboardInterrupt):
        records.save("some", TABLE[:1], ABOUT, folder=tmp_path)
    with pytest.raises(ValueError, match="a save was interrupted, or the file was changed"):
        records.load("some", tmp_path)


# Where the code comes from


@pytest.fixture
def checkout(tmp_path):
    """A git repository that holds the package, and its `records` module."""
    package = tmp_path / "resnet_utils"
    package.mkdir()
    for path in (records.__file__, Path(records.__file__).with_name("models.py")):  # the commit is that of these copies
        shutil.copy(path, package)

    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "all")
    spec = importlib.util.spec_from_file_location("records_elsewhere", package / "records.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, package, git


def test_a_start_names_the_commit_and_nothing_changed_in_a_clean_checkout(checkout):
    module, _, git = checkout
    found = module.start()
    assert found["commit"] == git("rev-parse", "HEAD")
    assert found["changed"] == []
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert found["threads"] == torch.get_num_threads()
    module.check_clean(found)


@pytest.mark.parametrize("file", ["models.py", "new.py", "deleted"])
def test_changed_new_and_deleted_code_makes_a_checkout_dirty(checkout, file):
    module, package, _ = checkout
    if file == "deleted":
        (package / "models.py").unlink()
    else:
        (package / file).write_text("changed = True\n")
    with pytest.raises(ValueError, match="changed and not committed"):
        module.check_clean(module.start())


def test_the_records_themselves_are_no_code(checkout):
    module, package, _ = checkout
    module.save("some", TABLE, ABOUT | {"starts": [module.start()]})
    assert (package / "recorded" / "some.csv").exists()
    module.check_clean(module.start())  # so that one run of `make record` can write several


def test_outside_a_checkout_there_is_no_commit(checkout):
    module, package, git = checkout
    git("rm", "-q", "--cached", "resnet_utils/records.py")  # installed below a repository that does not hold it
    assert module.start()["commit"] == ""
    shutil.rmtree(package.parent / ".git")
    assert module.start()["commit"] == ""


# What ships

SHIPPED = records.names()


def test_records_ship_and_are_small():
    assert SHIPPED
    sizes = {path.suffix: 0 for path in records.FOLDER.iterdir()}
    for path in records.FOLDER.iterdir():
        sizes[path.suffix] += path.stat().st_size
    assert sizes.pop(".safetensors", 0) < 8e6
    assert sum(sizes.values()) < 1e6
    assert set(sizes) == {".csv", ".json"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_record_keeps_the_schema_and_names_clean_code_on_the_full_cifar10(name):
    found = records.provenance(name)
    assert set(found) == set(records.SCHEMA)
    assert all(isinstance(found[key], kind) for key, kind in records.SCHEMA.items())
    assert found["record"] == name
    assert found["scale"] in ("record", "record-cpu")
    assert found["seconds"] > 60
    for start in found["starts"]:
        records.check_clean(start)
        assert re.fullmatch("[0-9a-f]{40}", start["commit"])
        expected = {"date", "command", "precision", "commit", "changed", "code", "device", "threads", "versions"}
        assert set(start) == expected
    assert found["data"]["name"].startswith("cifar10")


def git(*arguments: str) -> subprocess.CompletedProcess:
    """Run git on the checkout that holds these tests."""
    command = ["git", "-C", str(records.FOLDER.parents[1]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(
    git("rev-parse", "--is-shallow-repository").stdout.strip() != "false", reason="no git checkout with its history"
)
@pytest.mark.parametrize("name", SHIPPED)
def test_the_commits_of_a_shipped_record_are_in_the_history(name):
    for start in records.provenance(name)["starts"]:
        assert git("merge-base", "--is-ancestor", start["commit"], "HEAD").returncode == 0, start["commit"]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_command_of_a_shipped_record_still_parses_and_means_the_same_experiment(name):
    found = records.provenance(name)
    program, *words = found["command"].split("resnet_utils ", 1)
    assert program == "python -m "
    asked = parser().parse_args(shlex.split(words[0]))
    assert (asked.name, asked.scale) == (name, found["scale"])
    settings = experiments.settings(asked.name, asked.scale)
    kept = found["settings"]
    assert kept["models"] == list(asked.models or settings.models)
    assert found["seeds"] == kept["seeds"]
    assert "/" not in found["command"]
    assert not any("/" in start["command"] for start in found["starts"])


@pytest.mark.parametrize("name", SHIPPED)
def test_the_table_of_a_shipped_record_holds_a_row_for_whatever_was_run(name):
    table, kept = records.load(name), records.provenance(name)["settings"]
    assert len(table) == records.provenance(name)["rows"]
    assert set(table["model"]) == set(kept["models"])
    assert set(table["seed"]) == set(kept["seeds"])
    if kept["table"] == "history":
        runs = len(kept["seeds"]) * len(kept["shortcuts"])
        networks = runs * (len(kept["models"]) + len(kept["control_models"]) * len(kept["controls"]))
        assert len(table) == networks * kept["recipe"]["epochs"]
        assert table["epoch"].max() == kept["recipe"]["epochs"]
        assert table.drop(columns=["shortcut"]).notna().all().all()
        assert table[["train_error", "test_error"]].min().min() > 0
        assert table[["train_error", "test_error"]].max().max() <= 95


def test_the_weights_that_ship_are_those_named_and_load_strictly():
    for name in WEIGHTS:
        models.build(name).load_state_dict(records.load_weights(name), strict=True)


@real_cifar10
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_weights_have_the_recorded_error_on_the_real_test_images(name):
    _, test = data.load("cifar10")
    found = records.provenance("degradation")
    assert test.sha256() == found["data"]["test_sha256"]
    model = models.build(name)
    model.load_state_dict(records.load_weights(name))
    history = records.load("degradation").query("model == @name and seed == 0")
    expected = experiments.last_epochs(history[history["peak_rate"] == found["settings"]["recipe"]["learning_rate"]])
    _, error = training.evaluate(model, test, precision=training.best_precision(torch.device("cpu")))
    assert error == pytest.approx(expected["test_error"].item(), abs=0.3)  # other processors round otherwise

"""resnet_utils.experiments: the settings of every experiment, and the runs on a few digits."""

import numpy as np
import pandas as pd
import pytest
import torch

from resnet_utils import data, experiments, models, runs, training
from resnet_utils.experiments import last_epochs, run
from resnet_utils.runs import Run
from resnet_utils.training import best_precision, evaluate

EVERY = [(name, scale) for name in experiments.names() for scale in experiments.SCALES]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No override from outside, and the CPU, where results are exact."""
    monkeypatch.delenv("RESNET_SCALE", raising=False)
    monkeypatch.delenv("RESNET_EPOCHS", raising=False)
    monkeypatch.setattr(training, "best_device", lambda: torch.device("cpu"))


@pytest.fixture
def few_digits(monkeypatch):
    """Makes every data set 96 digits to train on and 60 to test on."""
    train, test = data.load("digits")
    few = train.take(torch.arange(96)), test.take(torch.arange(60))
    monkeypatch.setattr(data, "load", lambda _name: few)
    return few


def cut_down():
    """The degradation experiment on its smallest nets: two kinds, two seeds, and a control."""
    settings = experiments.settings("degradation", "quick")
    return settings.with_(
        models=("plain8", "resnet8"),
        seeds=(0, 1),
        recipe=settings.recipe.with_(epochs=2, batch_size=32),
        control_models=("plain8",),
        controls=(("learning_rate", 0.02),),
    )


# Settings


def test_the_scale_is_quick_unless_the_environment_says_otherwise(monkeypatch):
    assert experiments.scale() == "quick"
    for scale in experiments.SCALES:
        monkeypatch.setenv("RESNET_SCALE", scale)
        assert experiments.scale() == scale


@pytest.mark.parametrize("scale", ["fast", "", "QUICK"])
def test_an_unknown_scale_is_refused_with_the_valid_ones(monkeypatch, scale):
    monkeypatch.setenv("RESNET_SCALE", scale)
    with pytest.raises(
        ValueError,
        match=f"unknown scale '{scale}' in RESNET_SCALE; choose one of 'quick', 'full', 'record', 'record-cpu'",
    ):
        experiments.scale()


@pytest.mark.parametrize(("name", "scale"), [("resnet19", "quick"), ("resnet18", "huge")])
def test_an_unknown_experiment_or_scale_is_refused_with_the_valid_ones(name, scale):
    message = (
        f"no experiment '{name}' at scale '{scale}'; choose one of 'resnet18', 'degradation', .* at one of 'quick', "
    )
    with pytest.raises(ValueError, match=message):
        experiments.settings(name, scale)


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_every_experiment_names_networks_and_data_that_exist(name, scale):
    settings = experiments.settings(name, scale)
    assert (settings.experiment, settings.scale) == (name, scale)
    assert settings.data in data.names()
    assert set(settings.control_models) <= set(settings.models)
    assert bool(settings.control_models) == bool(settings.controls)
    for model in settings.models:
        models.build(model, 10, 3)


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_settings_say_what_will_be_run(name, scale):
    settings = experiments.settings(name, scale)
    text = str(settings)
    for part in (f"{scale} scale", settings.data, settings.minutes, *settings.models, *settings.control_models):
        assert part in text
    for part in (f"seeds    {', '.join(str(seed) for seed in settings.seeds)}", f"{settings.recipe.epochs} epochs"):
        assert part in text
    for value in (settings.recipe.learning_rate, *(value for _, value in settings.controls)):
        assert f" {value:g}" in text
    for option in settings.shortcuts:
        assert option is None or f" {option}," in text or f" {option} for the shortcuts" in text


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_no_network_of_an_experiment_is_trained_twice(name, scale):
    settings = experiments.settings(name, scale)
    runs = settings.runs()
    models = len(settings.models) + len(settings.control_models) * len(settings.controls)
    count = len(settings.seeds) * len(settings.shortcuts) * models
    assert len(runs) == len(set(runs)) == count


def test_quick_is_on_digits_with_several_seeds_and_the_other_scales_on_cifar10():
    for name in experiments.names():
        assert experiments.settings(name, "quick").data == "digits"
        assert len(experiments.settings(name, "quick").seeds) >= 3 or name == "recipe"  # a study compares, not reports
        for scale in ("full", "record", "record-cpu"):
            assert experiments.settings(name, scale).data == "cifar10"


def test_settings_are_chosen_on_images_held_out_and_results_reported_on_the_test_set():
    for name, scale in EVERY:
        assert (experiments.settings(name, scale).images.hold_out > 0) == (name == "recipe")


def test_the_degradation_experiment_pairs_every_plain_net_with_its_residual_twin():
    for scale in experiments.SCALES:
        settings = experiments.settings("degradation", scale)
        plain = {name.removeprefix("plain") for name in settings.models if name.startswith("plain")}
        residual = {name.removeprefix("resnet") for name in settings.models if name.startswith("resnet")}
        assert plain == residual
        assert {"20", "56"} <= plain
        assert all(name.startswith("plain") for name in settings.control_models)
        for field, value in settings.controls:
            assert field == "learning_rate"
            assert value < settings.recipe.learning_rate


def test_runs_are_every_model_with_every_seed_and_then_the_controls():
    settings = cut_down()
    slow = settings.recipe.with_(learning_rate=0.02)
    assert settings.runs() == [
        Run("plain8", 0, settings.recipe),
        Run("plain8", 1, settings.recipe),
        Run("resnet8", 0, settings.recipe),
        Run("resnet8", 1, settings.recipe),
        Run("plain8", 0, slow),
        Run("plain8", 1, slow),
    ]


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_the_environment_may_override_the_epochs_and_nothing_else(monkeypatch, name, scale):
    before = experiments.settings(name, scale)
    monkeypatch.setenv("RESNET_EPOCHS", "7")
    after = experiments.settings(name, scale)
    assert after == before.with_(recipe=before.recipe.with_(epochs=7))
    assert after.recipe.epochs == 7
    assert before.recipe.epochs != 7


@pytest.mark.parametrize("epochs", ["0", "-1", "1.5", "ten", "", "²"])
def test_epochs_that_are_no_whole_number_are_refused(monkeypatch, epochs):
    monkeypatch.setenv("RESNET_EPOCHS", epochs)
    with pytest.raises(ValueError, match=f"RESNET_EPOCHS must be a whole number of at least 1, not '{epochs}'"):
        experiments.settings("resnet18", "quick")


# Runs


def test_a_run_gives_one_table_of_all_histories_and_one_network_for_each_run(few_digits):
    settings = cut_down()
    history, trained = run(settings)
    assert list(history.columns) == [
        "epoch",
        "learning_rate",
        "train_loss",
        "train_error",
        "test_loss",
        "test_error",
        "seconds",
        "model",
        "kind",
        "depth",
        "shortcut",
        "seed",
        "peak_rate",
        "weight_decay",
    ]
    assert np.isfinite(history.select_dtypes("number").to_numpy()).all()
    assert history.index.tolist() == list(range(12))
    rows = history[["model", "kind", "depth", "seed", "peak_rate", "epoch"]].to_numpy().tolist()
    assert rows == [
        [model, kind, 8, seed, rate, epoch]
        for model, kind, rate in (("plain8", "plain", 0.05), ("resnet8", "residual", 0.05), ("plain8", "plain", 0.02))
        for seed in (0, 1)
        for epoch in (1, 2)
    ]
    assert list(trained) == settings.runs()
    for key, model in trained.items():
        chosen = (history["model"] == key.model) & (history["seed"] == key.seed) & (history["epoch"] == 2)
        row = history[chosen & (history["peak_rate"] == key.recipe.learning_rate)]
        loss, error = evaluate(model, few_digits[1], precision=best_precision(torch.device("cpu")))
        assert row["test_loss"].item() == pytest.approx(loss, rel=1e-5)
        assert row["test_error"].item() == pytest.approx(error)
        assert all(block.residual == (key.model == "resnet8") for _, block in model.blocks())


def test_the_same_settings_give_the_same_result_twice(few_digits):
    torch.manual_seed(1)
    first, nets = run(cut_down())
    torch.manual_seed(2)
    second, again = run(cut_down())
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), second.drop(columns="seconds"), check_exact=True)
    for key, model in nets.items():
        assert torch.equal(model.fc.weight, again[key].fc.weight)
    weights = [model.fc.weight for model in nets.values()]
    assert not any(torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


def test_a_network_does_not_depend_on_those_trained_before_it(few_digits):
    _, nets = run(cut_down())
    alone = cut_down().with_(models=("resnet8",), seeds=(1,), control_models=(), controls=())
    (key,) = alone.runs()
    assert torch.equal(run(alone)[1][key].fc.weight, nets[key].fc.weight)


def test_the_seed_of_a_run_fixes_its_weights_and_its_batches(few_digits):
    _, nets = run(cut_down())
    for key, model in nets.items():
        torch.manual_seed(key.seed)
        expected = models.build(key.model, num_classes=10, in_channels=1)
        training.fit(expected, few_digits[0], key.recipe, seed=key.seed)
        assert torch.equal(model.fc.weight, expected.fc.weight)


def test_with_checkpoints_a_second_call_trains_nothing(few_digits, tmp_path):
    folder = tmp_path / "new" / "folder"
    first, nets = run(cut_down(), checkpoints=folder)
    assert sorted(path.name for path in folder.glob("*.pt")) == [
        "digits-plain8-2epochs-rate0.02-decay0.0005-seed0.pt",
        "digits-plain8-2epochs-rate0.02-decay0.0005-seed1.pt",
        "digits-plain8-2epochs-rate0.05-decay0.0005-seed0.pt",
        "digits-plain8-2epochs-rate0.05-decay0.0005-seed1.pt",
        "digits-resnet8-2epochs-rate0.05-decay0.0005-seed0.pt",
        "digits-resnet8-2epochs-rate0.05-decay0.0005-seed1.pt",
    ]
    second, again = run(cut_down(), checkpoints=str(folder))
    pd.testing.assert_frame_equal(first, second, check_exact=True)  # the seconds too
    for key, model in nets.items():
        assert torch.equal(model.fc.weight, again[key].fc.weight)


def test_an_experiment_that_was_stopped_goes_on_and_ends_as_one_never_stopped(few_digits, tmp_path, monkeypatch):
    whole, nets = run(cut_down())
    fit, calls = runs.fit, []

    def stopped_in_the_third_run(*arguments, **options):
        calls.append(1)

        def stop(step):
            if len(calls) == 3 and step == 5:
                raise KeyboardInterrupt

        return fit(*arguments, **options | {"after_step": stop})

    monkeypatch.setattr(runs, "fit", stopped_in_the_third_run)
    with pytest.raises(KeyboardInterrupt):
        run(cut_down(), checkpoints=tmp_path)
    assert len(list(tmp_path.glob("*.pt"))) == 3
    history, resumed = run(cut_down(), checkpoints=tmp_path)
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), history.drop(columns="seconds"), check_exact=True)
    for key, model in nets.items():
        assert torch.equal(model.fc.weight, resumed[key].fc.weight)


def test_a_run_of_other_epochs_rate_or_decay_has_a_checkpoint_of_its_own_and_other_differences_are_refused(
    few_digits, tmp_path
):
    settings = cut_down().with_(models=("plain8",), seeds=(0,), controls=())
    run(settings, checkpoints=tmp_path)
    for change in ({"epochs": 3}, {"learning_rate": 0.1}, {"weight_decay": 0.0}):
        run(settings.with_(recipe=settings.recipe.with_(**change)), checkpoints=tmp_path)
    assert len(list(tmp_path.glob("*.pt"))) == 4
    other = settings.with_(recipe=settings.recipe.with_(batch_size=48))
    with pytest.raises(
        ValueError, match=r"digits-plain8-2epochs-rate0.05-decay0.0005-seed0.pt .*differs in batch_size"
    ):
        run(other, checkpoints=tmp_path)


@pytest.mark.parametrize(
    ("scale", "progress", "shown"), [("quick", None, 0), ("quick", True, 1), ("full", None, 1), ("full", False, 0)]
)
def test_progress_is_shown_beyond_the_quick_scale_unless_told_otherwise(few_digits, capsys, scale, progress, shown):
    settings = cut_down().with_(scale=scale, models=("plain8",), seeds=(0,), controls=())
    run(settings, progress=progress)
    written = capsys.readouterr()
    assert written.out == ""
    assert ("100 %" in written.err and "1 of 1 networks" in written.err and "left" in written.err) == bool(shown)
    assert bool(written.err) == bool(shown)


# The last epoch


def test_the_last_epoch_is_reported_and_not_the_best():
    history = pd.DataFrame(
        {
            "model": ["resnet8"] * 3 + ["plain8"] * 6,
            "seed": [0, 0, 0, 0, 0, 1, 1, 1, 1],
            "peak_rate": [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.02, 0.02],
            "epoch": [1, 2, 3, 2, 1, 1, 2, 1, 2],  # rows of plain8, seed 0 in another order
            "test_error": [9.0, 2.0, 5.0, 8.0, 4.0, 3.0, 7.0, 1.0, 6.0],
        }
    )
    last = last_epochs(history)
    assert last["test_error"].tolist() == [5.0, 8.0, 7.0, 6.0]
    assert last["epoch"].tolist() == [3, 2, 2, 2]
    assert list(last.columns) == list(history.columns)


def test_the_last_epochs_of_an_experiment_are_one_row_for_each_run(few_digits):
    history, trained = run(cut_down())
    last = last_epochs(history)
    assert len(last) == len(trained) == 6
    assert last["epoch"].tolist() == [2] * 6

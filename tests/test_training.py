"""resnet_utils.training: recipes, the loop against one written by hand, checkpoints and evaluation."""

import copy
import math
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import StoppedError, stop_at
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnet_utils import data, models, training
from resnet_utils.data import Batches
from resnet_utils.training import FAST, PAPER, Recipe, best_precision, evaluate, fit, predict, rate

COLUMNS = ["epoch", "learning_rate", "train_loss", "train_error", "test_loss", "test_error", "seconds"]
SHORT = FAST.with_(epochs=3, batch_size=32, learning_rate=0.1)  # three steps in each epoch of 96 images


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def few(digits):
    """96 images to train on and 60 to test on."""
    train, test = digits
    return train.take(torch.arange(96)), test.take(torch.arange(60))


def network(name="resnet8", seed=0):
    torch.manual_seed(seed)
    return models.build(name, num_classes=10, in_channels=1)


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def train(model, images, recipe=SHORT, **options):
    """`fit` on the CPU, where results are exact."""
    return fit(model, images, recipe, device="cpu", **options)


def assert_same_weights(a, b):
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def assert_same_history(a, b):
    pd.testing.assert_frame_equal(a.drop(columns="seconds"), b.drop(columns="seconds"), check_exact=True)


# Recipes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosine"}, "unknown schedule 'cosine'; choose 'step' or 'one-cycle'"),
        ({"epochs": 0}, "epochs and batch_size must be at least 1 .* got .*epochs=0"),
        ({"batch_size": 0}, "must be at least 1 .* got .*batch_size=0"),
        ({"learning_rate": 0.0}, "learning_rate above 0, got .*learning_rate=0.0"),
        ({"learning_rate": -0.1}, "learning_rate above 0, got .*learning_rate=-0.1"),
        ({"warmup": 1.0}, "warmup is a share .* below 1, not 1.0"),
        ({"warmup": -0.1}, "warmup is a share .* at least 0 .* not -0.1"),
    ],
)
def test_a_recipe_refuses_values_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**{"epochs": 1, "learning_rate": 0.1, **changes})
    with pytest.raises(ValueError, match=message):
        FAST.with_(**changes)


def test_with_changes_a_copy_and_leaves_the_recipe():
    changed = PAPER.with_(epochs=3, learning_rate=0.5)
    assert (changed.epochs, changed.learning_rate, changed.batch_size) == (3, 0.5, 128)
    assert (PAPER.epochs, PAPER.learning_rate) == (164, 0.1)


def test_the_papers_recipe_is_that_of_section_4_2():
    assert (PAPER.batch_size, PAPER.learning_rate, PAPER.momentum, PAPER.weight_decay) == (128, 0.1, 0.9, 1e-4)
    assert not PAPER.nesterov
    assert PAPER.decay_all
    steps_an_epoch = math.ceil(50_000 / 128)
    assert PAPER.epochs * steps_an_epoch == pytest.approx(64_000, rel=0.005)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 0.001), (63_999, 0.001)]
)
def test_the_papers_rate_is_a_tenth_from_one_half_and_a_hundredth_from_three_quarters(step, expected):
    assert PAPER.learning_rate * rate(PAPER, step, 64_000) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1 / 51),
        (24, 25 / 51),
        (49, 50 / 51),
        (50, 1),
        (100, 0.75),
        (125, 0.5),
        (150, 0.25),
        (199, 1.0966e-4),
        (200, 0),
    ],
)
def test_one_cycle_rises_to_its_peak_at_the_end_of_the_warmup_and_falls_to_zero(step, expected):
    assert rate(FAST.with_(warmup=0.25), step, 200) == pytest.approx(expected, abs=1e-8)


@settings(deadline=None)
@given(st.integers(1, 500), st.floats(0, 0.99), st.sampled_from(["step", "one-cycle"]))
def test_the_rate_stays_above_zero_and_never_passes_its_peak(steps, warmup, schedule):
    recipe = FAST.with_(schedule=schedule, warmup=warmup)
    rates = [rate(recipe, step, steps) for step in range(steps)]
    assert all(0 < value <= 1 for value in rates)
    peak = rates.index(max(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[:peak] == sorted(rates[:peak])
    assert rate(recipe, steps, steps) <= rates[-1]


# The loop


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay_all", [False, True])
@pytest.mark.parametrize("schedule", ["step", "one-cycle"])
def test_fit_equals_gradient_descent_written_by_hand(few, nesterov, decay_all, schedule):
    """Softmax regression: the gradient of the mean cross-entropy is (p - y) x / n, all in numpy."""
    images, _ = few
    recipe = Recipe(
        epochs=4,
        learning_rate=0.05,
        batch_size=40,
        momentum=0.8,
        nesterov=nesterov,
        weight_decay=0.1,
        decay_all=decay_all,
        schedule=schedule,
    )
    model = linear()
    w = model[1].weight.detach().numpy().astype(np.float64)  # (10, 64)
    b = model[1].bias.detach().numpy().astype(np.float64)  # (10,)
    history = train(model, images, recipe, seed=3, precision=torch.float32)

    batches = Batches(images, 40, train=True, seed=3)
    moving_w, moving_b = np.zeros_like(w), np.zeros_like(b)
    step, losses, errors = 0, [], []
    for epoch in range(4):
        loss = wrong = 0
        for x, y in batches.epoch(epoch):
            flat = x.reshape(len(x), -1).numpy().astype(np.float64)
            scores = flat @ w.T + b
            p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            loss += -np.log(p[np.arange(len(y)), y]).sum()
            wrong += (scores.argmax(axis=1) != y.numpy()).sum()
            p[np.arange(len(y)), y] -= 1
            gradient_w = p.T @ flat / len(y) + 0.1 * w
            gradient_b = p.mean(axis=0) + (0.1 * b if decay_all else 0)
            moving_w = 0.8 * moving_w + gradient_w
            moving_b = 0.8 * moving_b + gradient_b
            # Twelve steps: one-cycle warms up for three; the other divides by ten from step 6 and again from step 9.
            if schedule == "step":
                share = [1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01][step]
            else:
                share = [0.25, 0.5, 0.75, *(0.5 + 0.5 * math.cos(math.pi * k / 9) for k in range(9))][step]
            w -= 0.05 * share * (gradient_w + 0.8 * moving_w if nesterov else moving_w)
            b -= 0.05 * share * (gradient_b + 0.8 * moving_b if nesterov else moving_b)
            step += 1
        losses.append(loss / 96)
        errors.append(100 * wrong / 96)
    np.testing.assert_allclose(model[1].weight.detach().numpy(), w, atol=2e-5)
    np.testing.assert_allclose(model[1].bias.detach().numpy(), b, atol=2e-5)
    np.testing.assert_allclose(history["train_loss"], losses, rtol=1e-4)
    np.testing.assert_allclose(history["train_error"], errors, rtol=1e-5)


@pytest.mark.parametrize("decay_all", [False, True])
def test_without_a_gradient_decay_shrinks_matrices_and_the_norms_only_if_asked(few, decay_all):
    class Constant(nn.Module):
        """Logits that no weight changes: every gradient is zero."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10)

        def forward(self, x):
            return torch.zeros(len(x), 10) + 0 * sum(p.sum() for p in self.parameters())

    model = Constant()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, few[0], FAST.with_(epochs=1, learning_rate=0.1, batch_size=32, weight_decay=0.1, decay_all=decay_all))
    for name, p in model.named_parameters():
        if p.ndim > 1 or (decay_all and before[name].any()):  # the norm's bias begins at zero: nothing to shrink
            assert p.norm() < 0.99 * before[name].norm(), name
        else:
            assert torch.equal(p, before[name]), name


def test_resnet8_learns_the_digits_in_four_epochs(digits):
    images, test = digits
    model = network()
    history = train(model, images, FAST.with_(epochs=4, learning_rate=0.1), test=test, precision=torch.float32)
    assert list(history.columns) == COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert np.isfinite(history.to_numpy()).all()
    assert history["test_error"].iloc[-1] < 15
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] / 2
    assert (history["seconds"] > 0).all()
    loss, error = evaluate(model, test)
    assert history["test_loss"].iloc[-1] == pytest.approx(loss, rel=1e-5)
    assert history["test_error"].iloc[-1] == pytest.approx(error)


def test_the_history_gives_the_rate_at_the_end_of_each_epoch_and_no_test_columns_without_a_test(few):
    history = train(linear(), few[0], PAPER.with_(epochs=4, batch_size=32))
    assert history["learning_rate"].tolist() == pytest.approx([0.1, 0.01, 0.001, 0.001])
    assert history[["test_loss", "test_error"]].isna().all(axis=None)
    assert list(history.columns) == COLUMNS


def test_after_step_is_called_with_every_step_from_1(few):
    taken = []
    train(linear(), few[0], SHORT.with_(batch_size=40), after_step=taken.append)
    assert taken == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(few):
    images, test = few
    first, second, other = network(), network(), network()
    history = train(first, images, seed=5, test=test)
    assert_same_history(history, train(second, images, seed=5, test=test))
    assert_same_weights(first, second)
    train(other, images, seed=6)
    assert not torch.equal(first.fc.weight, other.fc.weight)


def test_the_test_set_does_not_influence_the_training(few):
    images, test = few
    alone, watched = network(), network()
    history = train(alone, images)
    with_test = train(watched, images, test=test)
    assert_same_weights(alone, watched)
    columns = ["train_loss", "train_error", "learning_rate"]
    pd.testing.assert_frame_equal(history[columns], with_test[columns], check_exact=True)


def test_a_model_in_evaluation_mode_is_trained_in_training_mode(few):
    model, other = network(), network().eval()
    train(model, few[0])
    train(other, few[0])
    assert other.training
    assert_same_weights(model, other)


def test_fit_leaves_the_global_state_of_torch_and_the_model_clean(few):
    model = network()
    before = torch.get_rng_state()
    train(model, few[0], test=few[1])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")
    assert torch.get_default_dtype() == torch.float32
    assert not torch.are_deterministic_algorithms_enabled()
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
    assert all(p.requires_grad and not p._backward_hooks for p in model.parameters())


def test_progress_is_a_bar_on_stderr_and_without_it_nothing_is_written(few, capsys):
    train(linear(), few[0], test=few[1], progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "9/9" in shown.err
    assert "epoch 3, train " in shown.err
    assert "<00:00" in shown.err  # the time left
    train(linear(), few[0], test=few[1])
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_bfloat16_on_the_cpu_is_used_in_the_forward_pass_and_learns(digits):
    images = digits[0].take(torch.arange(600))
    model, seen = network(), set()
    model.layer2.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    history = train(
        model, images, FAST.with_(epochs=4, learning_rate=0.1, batch_size=64), precision=torch.bfloat16, test=digits[1]
    )
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert history["train_error"].iloc[-1] < history["train_error"].iloc[0] / 2
    assert history["test_error"].iloc[-1] < 30


@pytest.mark.filterwarnings("error")
def test_float16_leaves_out_steps_that_overflow_without_a_warning(few):
    class Loud(nn.Module):
        """Its first gradients are far too large for float16 at the scale with which the scaler begins."""

        def __init__(self):
            super().__init__()
            self.fc = linear()

        def forward(self, x):
            return 1000 * self.fc(x)

    model = Loud()
    before = model.fc[1].weight.detach().clone()
    steps = []

    def keep(_step):
        steps.append(model.fc[1].weight.detach().clone())

    recipe = SHORT.with_(epochs=8, learning_rate=1e-4)
    history = train(model, few[0], recipe, precision=torch.float16, after_step=keep)
    assert torch.equal(steps[0], before)  # left out
    assert not torch.equal(steps[-1], before)
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


# Hooks, memory, compiling


def test_after_epoch_is_called_with_every_epoch_from_1_before_its_checkpoint(few, tmp_path):
    path, seen = tmp_path / "run.pt", []

    def note(epoch):
        written = len(torch.load(path, weights_only=True)["history"]) if path.exists() else 0
        seen.append((epoch, written))

    train(network(), few[0], checkpoint=path, after_epoch=note)
    assert seen == [(1, 0), (2, 1), (3, 2)]


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_when_the_gpu_has_no_memory_left_the_error_says_what_to_do(few, tmp_path, where):
    class Greedy(nn.Module):
        """Runs out of memory in the fourth step, as a GPU would."""

        def __init__(self):
            super().__init__()
            self.fc, self.calls = linear(), 0

        def forward(self, x):
            self.calls += 1
            out = self.fc(x)
            if self.calls == 4 and where == "forward":
                self.refuse()
            if self.calls == 4:
                out.register_hook(lambda _gradient: self.refuse())
            return out

        def refuse(self):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    path = tmp_path / "run.pt"
    with pytest.raises(
        torch.OutOfMemoryError, match=r"no memory left.*fewer networks at once.*halve batch_size"
    ) as caught:
        train(Greedy(), few[0], checkpoint=path)
    assert "Restart the runtime" in str(caught.value)
    assert "2.00 GiB" in str(caught.value.__cause__)
    assert len(torch.load(path, weights_only=True)["history"]) == 1


def test_a_compiled_run_learns_the_same_and_leaves_the_model_as_it_was(few):
    plain, compiled = network(), network()
    expected = train(plain, few[0], precision=torch.float32)
    found = train(compiled, few[0], precision=torch.float32, compiled=True)
    np.testing.assert_allclose(found["train_loss"], expected["train_loss"], rtol=2e-2)
    assert repr(compiled) == repr(plain)
    assert compiled.state_dict().keys() == plain.state_dict().keys()


# A loss that is no number


@pytest.mark.parametrize("poisoned_step", [4, 6])  # the first step of epoch 2, and its last
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_advice_and_keeps_the_last_good_checkpoint(
    few, tmp_path, poisoned_step, value
):
    model, good = network(), network()
    path = tmp_path / "run.pt"

    def poison(step):
        if step == poisoned_step:
            model.fc.weight.data.fill_(value)

    with pytest.raises(FloatingPointError, match=r"diverged in epoch 2.*lower learning rate \(now 0.1\).*float32"):
        train(model, few[0], checkpoint=path, after_step=poison)
    assert list(tmp_path.iterdir()) == [path]
    saved = torch.load(path, weights_only=True)
    assert len(saved["history"]) == 1
    with pytest.raises(StoppedError):
        train(good, few[0], checkpoint=tmp_path / "good.pt", after_step=stop_at(4))
    expected = torch.load(tmp_path / "good.pt", weights_only=True)
    assert all(torch.equal(saved["model"][name], value) for name, value in expected["model"].items())


def test_a_far_too_high_rate_diverges_before_any_checkpoint(few, tmp_path):
    with pytest.raises(FloatingPointError, match=r"diverged in epoch 1, at a loss of nan"):
        train(network(), few[0], SHORT.with_(learning_rate=1e30), checkpoint=tmp_path / "run.pt")
    assert list(tmp_path.iterdir()) == []


def test_float16_stops_although_its_scaler_leaves_the_weights_alone(few, tmp_path):
    class NoNumber(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = linear()

        def forward(self, x):
            return self.fc(x) * math.nan

    model = NoNumber()
    with pytest.raises(FloatingPointError, match=r"at a loss of nan.*now torch.float16"):
        train(model, few[0], precision=torch.float16, checkpoint=tmp_path / "run.pt")
    assert all(p.isfinite().all() for p in model.parameters())
    assert list(tmp_path.iterdir()) == []


# Checkpoints


@pytest.fixture(scope="module")
def never_stopped(few):
    model = network()
    return model, train(model, few[0], seed=2, test=few[1])


@pytest.mark.parametrize("step", [1, 3, 4, 5, 6, 7, 8, 9])
def test_a_run_stopped_at_any_step_and_resumed_equals_one_never_stopped(few, tmp_path, never_stopped, step):
    path = tmp_path / "run.pt"
    with pytest.raises(StoppedError):
        train(network(), few[0], seed=2, test=few[1], checkpoint=path, after_step=stop_at(step))
    finished = (step - 1) // 3
    assert path.exists() == (finished > 0)
    again = network(seed=0 if finished == 0 else 77)  # the checkpoint's weights count, not the new model's
    taken = []
    history = train(again, few[0], seed=2, test=few[1], checkpoint=path, after_step=taken.append)
    assert taken == list(range(3 * finished + 1, 10))
    assert_same_weights(again, never_stopped[0])
    assert_same_history(history, never_stopped[1])
    assert list(tmp_path.iterdir()) == [path]


def test_random_numbers_of_the_model_itself_go_on_where_they_stopped(few, tmp_path):
    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))

    whole = model()
    history = train(whole, few[0])
    resumed = model()
    with pytest.raises(StoppedError):
        train(resumed, few[0], checkpoint=tmp_path / "run.pt", after_step=stop_at(5))
    torch.manual_seed(99)
    assert_same_history(history, train(resumed, few[0], checkpoint=tmp_path / "run.pt"))
    assert_same_weights(whole, resumed)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_it(few, tmp_path, monkeypatch, never_stopped):
    path = tmp_path / "run.pt"
    save = torch.save

    def disk_full(content, target):
        if len(content["history"]) == 2:
            target.write_bytes(b"half of it")
            raise OSError("No space left on device")
        save(content, target)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", disk_full)
        with pytest.raises(OSError, match=r"run.pt could not be written \(No space left.*still whole.*Free some"):
            train(network(), few[0], seed=2, checkpoint=path)
    assert list(tmp_path.iterdir()) == [path]
    resumed = network(seed=77)
    taken = []
    train(resumed, few[0], seed=2, checkpoint=path, after_step=taken.append)
    assert taken == [4, 5, 6, 7, 8, 9]
    assert_same_weights(resumed, never_stopped[0])


def test_a_finished_run_is_read_from_its_checkpoint_and_not_trained_again(few, tmp_path):
    first, second = network(), network(seed=77)
    history = train(first, few[0], checkpoint=tmp_path / "folder" / "run.pt")
    again = train(second, few[0], checkpoint=str(tmp_path / "folder" / "run.pt"), after_step=stop_at(1))
    pd.testing.assert_frame_equal(history, again, check_exact=True)  # the seconds too: nothing ran
    assert_same_weights(first, second)


@pytest.fixture(scope="module")
def saved(few, tmp_path_factory):
    """The bytes of a checkpoint after the first of three epochs."""
    path = tmp_path_factory.mktemp("saved") / "run.pt"
    with pytest.raises(StoppedError):
        train(network(), few[0], checkpoint=path, precision=torch.bfloat16, after_step=stop_at(4))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"recipe": SHORT.with_(learning_rate=0.2)}, "learning_rate"),
        ({"recipe": SHORT.with_(epochs=4, nesterov=False)}, "epochs, nesterov"),
        ({"seed": 1}, "seed"),
        ({"model": "resnet14"}, "model"),
        ({"model": "plain8"}, "model"),  # the same shapes, but another network
        ({"precision": torch.float32}, "precision"),
        ({"images": "fewer"}, "data"),
        ({"images": "shifted more"}, "augmentation"),
        ({"images": "others"}, "data"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_name_and_kept(few, digits, tmp_path, saved, change, differing):
    path = tmp_path / "run.pt"
    path.write_bytes(saved)
    images = {
        "same": few[0],
        "fewer": few[0].take(torch.arange(95)),
        "others": digits[0].take(torch.arange(100, 196)),  # as many, from the same data set
        "shifted more": replace(few[0], padding=2),
    }[change.get("images", "same")]
    model = network(change.get("model", "resnet8"), seed=5)
    before = copy.deepcopy(model)
    options = {"precision": change.get("precision", torch.bfloat16), "seed": change.get("seed", 0)}
    with pytest.raises(ValueError, match=rf"run.pt belongs to another run: it differs in {differing}. Remove it"):
        train(model, images, change.get("recipe", SHORT), checkpoint=path, **options)
    assert_same_weights(model, before)
    assert path.read_bytes() == saved


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_a_truncated_checkpoint_is_refused_by_name_and_kept(few, tmp_path_factory, saved, draw):
    length = draw.draw(st.one_of(st.integers(0, 200), st.integers(0, len(saved) - 1)))
    path = tmp_path_factory.mktemp("truncated") / "run.pt"
    path.write_bytes(saved[:length])
    with pytest.raises(ValueError, match=r"run.pt is damaged or of another kind; remove it to start again"):
        train(network(), few[0], checkpoint=path)
    assert path.read_bytes() == saved[:length]


def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(few, tmp_path, saved):
    path = tmp_path / "run.pt"
    path.write_bytes(saved)
    path.chmod(0)
    with pytest.raises(OSError, match="Permission denied"):
        train(network(), few[0], checkpoint=path)
    path.chmod(0o644)
    assert path.read_bytes() == saved


@pytest.mark.parametrize("missing", ["model", "optimizer", "scaler", "rng", "history", "starts"])
def test_an_incomplete_checkpoint_is_refused_and_the_model_left_alone(few, tmp_path, saved, missing):
    path = tmp_path / "run.pt"
    path.write_bytes(saved)
    content = torch.load(path, weights_only=True)
    del content[missing]
    torch.save(content, path)
    model = network(seed=5)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"run.pt is damaged or of another kind"):
        train(model, few[0], checkpoint=path, precision=torch.bfloat16)
    assert_same_weights(model, before)


@pytest.mark.parametrize("content", [{"conv1.weight": torch.zeros(3)}, [1], 5, {"run": 3}, "text"])
def test_a_file_that_is_no_checkpoint_is_refused_by_name(few, tmp_path, content):
    path = tmp_path / "run.pt"
    if content == "text":
        path.write_text("epoch 1")
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"run.pt is damaged or of another kind; remove it to start again"):
        train(network(), few[0], checkpoint=path)


def test_a_checkpoint_that_would_run_code_is_refused_without_running_it(few, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made by the checkpoint"),)

    torch.save({"run": Bomb()}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"run.pt is damaged or of another kind"):
        train(network(), few[0], checkpoint=tmp_path / "run.pt")
    assert not (tmp_path / "made by the checkpoint").exists()


# Evaluation


@pytest.mark.parametrize("training_mode", [False, True])
@pytest.mark.parametrize("batch_size", [7, 60, 500])
def test_evaluate_and_predict_equal_a_computation_by_hand_and_leave_the_model_alone(few, training_mode, batch_size):
    model = network()
    train(model, few[0])
    images = few[1]
    model.eval()
    with torch.no_grad():
        normalised = (images.images.float() / 255 - images.mean[0]) / images.std[0]
        expected = torch.cat([model(image[None]) for image in normalised])
    model.train(training_mode)
    before = copy.deepcopy(model.state_dict())
    logits = predict(model, images, batch_size=batch_size)
    assert logits.shape == (60, 10)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)

    scores = expected.double().numpy()
    labels = images.labels.numpy()
    right = scores[np.arange(60), labels]
    loss, error = evaluate(model, images, batch_size=batch_size)
    assert loss == pytest.approx((np.log(np.exp(scores).sum(axis=1)) - right).mean(), rel=1e-4)
    assert error == pytest.approx(100 * sum(s.argmax() != y for s, y in zip(scores, labels, strict=True)) / 60)

    assert model.training == training_mode
    assert all(module.training == training_mode for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.is_grad_enabled()


def test_predict_in_bfloat16_is_close_and_still_float32(few):
    model = network()
    train(model, few[0])
    exact, rough = predict(model, few[1]), predict(model, few[1], precision=torch.bfloat16)
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(rough, exact, atol=0.2, rtol=0.1)


# Device and precision


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"architecture": "arm64", "neon": True}, torch.float32),
    ],
)
def test_a_cpu_uses_bfloat16_only_where_it_multiplies_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert best_precision(torch.device("cpu")) == expected


def test_a_cpu_of_which_an_older_torch_cannot_say_what_it_has_uses_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert best_precision(torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_a_gpu_uses_bfloat16_from_compute_capability_8_and_float16_before(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert best_precision(torch.device("cuda")) == expected


def test_mps_uses_float32():
    assert best_precision(torch.device("mps")) == torch.float32


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(1, 1, "cuda"), (1, 0, "cuda"), (0, 1, "mps"), (0, 0, "cpu")])
def test_the_best_device_is_cuda_then_mps_then_the_cpu(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    assert training.best_device() == torch.device(expected)


@pytest.mark.parametrize(("has", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_fit_uses_the_best_precision_of_the_device(few, monkeypatch, has, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has})
    seen = []
    model = network()
    model.conv1.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    train(model, few[0].take(torch.arange(4)), SHORT.with_(epochs=1))
    assert seen == [expected]

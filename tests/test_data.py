"""resnet_utils.data: image sets, batches and augmentation, on the handwritten digits and on made-up images."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from resnet_utils import data
from resnet_utils.data import Batches, ImageSet, augment, normalise


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def made_up(count, channels=3, height=6, width=5, *, padding=2, flip=True, seed=0):
    """Images of random pixels; the label of an image is its index, so a batch tells which images it holds."""
    generator = torch.Generator().manual_seed(seed)
    return ImageSet(
        name="made up",
        images=torch.randint(1, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator),
        labels=torch.arange(count),
        classes=tuple(str(i) for i in range(count)),
        mean=(0.5, 0.4, 0.3)[:channels],
        std=(0.2, 0.25, 0.3)[:channels],
        padding=padding,
        flip=flip,
    )


def crop_by_hand(image, padding, top, left, mirrored):
    """One image (C, H, W) as numpy: pad with black, cut H x W at (top, left), mirror; a pixel at a time."""
    channels, height, width = image.shape
    result = np.zeros_like(image)
    for channel, row, column in itertools.product(range(channels), range(height), range(width)):
        source_column = left + (width - 1 - column if mirrored else column) - padding
        source_row = top + row - padding
        if 0 <= source_row < height and 0 <= source_column < width:
            result[channel, row, column] = image[channel, source_row, source_column]
    return result


def gather(batches, epoch=0):
    """All images and labels of an epoch."""
    images, labels = zip(*batches.epoch(epoch), strict=True)
    return torch.cat(images), torch.cat(labels)


# Digits


def test_digits_are_1797_images_in_1437_and_360(digits):
    train, test = digits
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape == (1437, 1, 8, 8)
    assert test.images.shape == (360, 1, 8, 8)
    assert train.channels == test.channels == 1
    assert train.name == test.name == "digits"


def test_digits_are_split_with_equal_shares_of_each_class(digits):
    train, test = digits
    assert torch.bincount(train.labels).tolist() == [142, 146, 142, 146, 145, 145, 145, 143, 139, 144]
    assert torch.bincount(test.labels).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]


def test_digits_stand_in_a_fixed_order(digits):
    train, test = digits
    assert train.sha256() == "cf523fcf146ab6c4a2fc65ac83b5a8f7bbca3d816b439954e27c285d3462cf27"
    assert test.sha256() == "99ac20baf448e93ec299f54c03a2c33ee412f212ef1a8cfed87dcecc7d550da9"


def test_digits_are_scikit_learns_images_each_once_scaled_from_16_to_255(digits):
    bunch = load_digits()
    expected = [
        (*(int(value * 255 / 16 + 0.5) for value in image), int(label))
        for image, label in zip(bunch.data, bunch.target, strict=True)
    ]
    found = [
        (*image.flatten().tolist(), label)
        for part in digits
        for image, label in zip(part.images, part.labels.tolist(), strict=True)
    ]
    assert sorted(found) == sorted(expected)
    for part in digits:
        assert part.images.dtype == torch.uint8
        assert (part.images.min().item(), part.images.max().item()) == (0, 255)


def test_digits_have_ten_classes_and_are_shifted_by_one_pixel_but_never_mirrored(digits):
    for part in digits:
        assert part.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
        assert (part.padding, part.flip) == (1, False)


def test_mean_and_deviation_of_digits_are_those_of_the_training_set(digits):
    train, test = digits
    pixels = train.images.numpy().astype(np.float64) / 255
    assert train.mean == test.mean == pytest.approx((pixels.mean(),), abs=1e-6)
    assert train.std == test.std == pytest.approx((pixels.std(),), abs=1e-5)
    assert train.mean == pytest.approx((0.3054,), abs=5e-5)
    assert train.std == pytest.approx((0.3760,), abs=5e-5)
    assert abs(test.images.float().mean().item() / 255 - test.mean[0]) > 1e-4  # the test set's own is another


def test_an_unknown_data_set_is_refused_with_the_valid_names():
    assert data.names() == ["digits", "cifar10"]
    with pytest.raises(ValueError, match=r"unknown data set 'mnist'; choose one of 'digits', 'cifar10'"):
        data.load("mnist")


# ImageSet


def test_an_image_set_refuses_wrong_shapes_and_types():
    images, labels = torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    rest = {"name": "mine", "classes": ("a",), "mean": (0.5,), "std": (0.5,), "padding": 1, "flip": False}
    ImageSet(images=images, labels=labels, **rest)
    with pytest.raises(ValueError, match=r"mine: images must be \(N, C, H, W\) torch.uint8, not \(4, 8, 8\)"):
        ImageSet(images=images[:, 0], labels=labels, **rest)
    with pytest.raises(ValueError, match=r"torch.uint8, not \(4, 3, 8, 8\) torch.float32"):
        ImageSet(images=images.float(), labels=labels, **rest)
    with pytest.raises(ValueError, match=r"mine: labels must be \(4,\) torch.int64, not \(3,\)"):
        ImageSet(images=images, labels=labels[:3], **rest)
    with pytest.raises(ValueError, match=r"labels must be \(4,\) torch.int64, not \(4,\) torch.int32"):
        ImageSet(images=images, labels=labels.int(), **rest)
    with pytest.raises(ValueError, match=r"labels must be \(4,\) torch.int64, not \(4, 1\)"):
        ImageSet(images=images, labels=labels[:, None], **rest)


def test_take_gives_the_images_at_the_indices_and_keeps_the_rest():
    whole = made_up(7)
    part = whole.take(torch.tensor([5, 0, 5]))
    assert part.labels.tolist() == [5, 0, 5]
    assert torch.equal(part.images[0], whole.images[5])
    assert torch.equal(part.images[1], whole.images[0])
    assert (part.name, part.classes, part.mean, part.std) == (whole.name, whole.classes, whole.mean, whole.std)
    assert (part.padding, part.flip) == (whole.padding, whole.flip)
    assert len(whole) == 7


@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(2, 40), st.integers(0, 2**31))
def test_hold_out_parts_are_disjoint_and_complete(draw, size, seed):
    count = draw.draw(st.integers(1, size - 1))
    whole = made_up(size, 1, 2, 2)
    rest, held = whole.hold_out(count, seed)
    assert (len(rest), len(held)) == (size - count, count)
    assert sorted(rest.labels.tolist() + held.labels.tolist()) == list(range(size))
    for part in (rest, held):
        assert torch.equal(part.images, whole.images[part.labels])
    again = whole.hold_out(count, seed)
    assert torch.equal(again[1].labels, held.labels)


def test_hold_out_draws_other_images_for_another_seed_and_not_the_last_ones():
    whole = made_up(100, 1, 2, 2)
    first, second = (whole.hold_out(20, seed)[1].labels.tolist() for seed in (0, 1))
    assert first != second
    assert min(first) < 50 < max(first)


@pytest.mark.parametrize("count", [-1, 0, 5, 6])
def test_hold_out_refuses_to_leave_a_part_empty(count):
    with pytest.raises(ValueError, match=f"cannot hold out {count} of 5 images; choose 1 to 4"):
        made_up(5).hold_out(count)


def test_the_data_hash_is_that_of_all_pixels_and_then_all_labels():
    images = made_up(3)
    plain = bytes(images.images.flatten().tolist()) + np.array([0, 1, 2], dtype="<i8").tobytes()
    assert images.sha256() == hashlib.sha256(plain).hexdigest()
    changed = images.take(torch.arange(3))
    changed.images[2, 1, 0, 0] ^= 1
    assert changed.sha256() != images.sha256()
    relabelled = images.take(torch.arange(3))
    relabelled.labels[1] = 2
    assert relabelled.sha256() != images.sha256()


# Normalisation and augmentation


def test_normalise_subtracts_the_mean_and_divides_by_the_deviation_channel_by_channel():
    images = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).view(1, 2, 1, 2)
    result = normalise(images, (0.2, 0.5), (0.1, 0.25))
    assert result.dtype == torch.float32
    # (0 - 0.2) / 0.1, (0.2 - 0.2) / 0.1, (0.4 - 0.5) / 0.25, (1 - 0.5) / 0.25
    torch.testing.assert_close(result.flatten(), torch.tensor([-2.0, 0.0, -0.4, 2.0]), atol=1e-6, rtol=0)
    assert images.flatten().tolist() == [0, 51, 102, 255]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 7),
    st.integers(1, 7),
    st.integers(0, 4),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_augment_equals_a_loop_over_images_and_pixels(count, channels, height, width, padding, flip, seed):
    images = made_up(count, channels, height, width, seed=seed).images
    result = augment(images, padding=padding, flip=flip, generator=torch.Generator().manual_seed(seed))
    same = torch.Generator().manual_seed(seed)  # the stream: all tops, all lefts, all coins
    tops = torch.randint(2 * padding + 1, (count,), generator=same).tolist()
    lefts = torch.randint(2 * padding + 1, (count,), generator=same).tolist()
    coins = torch.rand(count, generator=same).tolist()
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    for image, found, top, left, coin in zip(images, result, tops, lefts, coins, strict=True):
        expected = crop_by_hand(image.numpy(), padding, top, left, flip and coin < 0.5)
        assert np.array_equal(found.numpy(), expected)


def test_augmentation_without_padding_and_flip_changes_nothing():
    images = made_up(5).images
    assert torch.equal(augment(images, padding=0, flip=False, generator=torch.Generator()), images)


@pytest.mark.parametrize("flip", [False, True])
def test_every_shift_and_mirroring_occurs_equally_often(flip):
    image = torch.arange(1, 17, dtype=torch.uint8).view(1, 4, 4)
    draws = 20_000
    result = augment(image.expand(draws, 1, 4, 4), padding=2, flip=flip, generator=torch.Generator().manual_seed(0))
    counts = Counter(found.tobytes() for found in result.contiguous().numpy())
    choices = list(itertools.product(range(5), range(5), (False, True) if flip else (False,)))
    possible = {crop_by_hand(image.numpy(), 2, *choice).tobytes() for choice in choices}
    assert set(counts) == possible
    assert len(possible) == len(choices)
    expected = draws / len(choices)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())  # five standard deviations


# Batches


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(1, 35), st.booleans(), st.integers(0, 1000), st.integers(0, 1000))
def test_an_epoch_holds_every_image_once_in_batches_of_the_size_asked_for(count, batch_size, train, seed, epoch):
    batches = Batches(made_up(count, 1, 2, 2), batch_size, train=train, seed=seed)
    labels = [y.tolist() for _, y in batches.epoch(epoch)]
    assert sorted(itertools.chain(*labels)) == list(range(count))
    full, last = divmod(count, batch_size)
    assert [len(y) for y in labels] == [batch_size] * full + [last] * (last > 0)
    assert len(batches) == len(labels)
    assert all(len(x) == len(y) for x, y in batches.epoch(epoch))


@settings(deadline=None, max_examples=20)
@given(st.booleans(), st.integers(0, 3), st.integers(0, 100), st.integers(0, 100))
def test_a_training_batch_holds_normalised_crops_of_the_labelled_images(flip, padding, seed, epoch):
    images = made_up(6, padding=padding, flip=flip)
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (images.mean, images.std))
    mirrorings = (False, True) if flip else (False,)
    for x, y in Batches(images, 4, train=True, seed=seed).epoch(epoch):
        for found, label in zip(x.numpy(), y.tolist(), strict=True):
            image = images.images[label].numpy()
            crops = (
                (crop_by_hand(image, padding, top, left, mirrored) / 255 - mean) / std
                for top in range(2 * padding + 1)
                for left in range(2 * padding + 1)
                for mirrored in mirrorings
            )
            assert any(np.allclose(found, crop, atol=1e-4) for crop in crops)


def test_an_epoch_shifts_and_mirrors_each_image_by_itself():
    images = made_up(1, 1, 6, 6).take(torch.zeros(200, dtype=torch.int64))
    x, _ = gather(Batches(images, 200, train=True))
    assert len(torch.unique(x, dim=0)) > 40  # of 50: five by five shifts, mirrored or not


def test_without_train_the_images_come_in_order_and_unchanged():
    images = made_up(10)
    x, y = gather(Batches(images, 4, seed=3), epoch=5)
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (images.mean, images.std))
    assert y.tolist() == list(range(10))
    np.testing.assert_allclose(x.numpy(), (images.images.numpy() / 255 - mean) / std, atol=1e-5)


def test_seed_and_epoch_fix_order_and_augmentation():
    images = made_up(50)
    torch.manual_seed(1)
    x, y = gather(Batches(images, 16, train=True, seed=3), epoch=7)
    torch.manual_seed(2)
    same_x, same_y = gather(Batches(images, 16, train=True, seed=3), epoch=7)
    assert torch.equal(x, same_x)
    assert torch.equal(y, same_y)
    for seed, epoch in ((3, 8), (4, 7), (7, 3), (3, 0)):
        _, other = gather(Batches(images, 16, train=True, seed=seed), epoch=epoch)
        assert not torch.equal(y, other)


def test_augmentation_changes_from_epoch_to_epoch():
    images = made_up(50)
    batches = Batches(images, 50, train=True)
    (x0, y0), (x1, y1) = gather(batches, 0), gather(batches, 1)
    same = sum(torch.equal(a, b) for a, b in zip(x0[y0.argsort()], x1[y1.argsort()], strict=True))
    assert same < 10  # of 50; one in fifty is drawn alike by chance


def test_the_size_of_a_batch_changes_neither_order_nor_augmentation():
    images = made_up(20)
    for a, b in zip(gather(Batches(images, 3, train=True)), gather(Batches(images, 20, train=True)), strict=True):
        assert torch.equal(a, b)


def test_batches_leave_the_global_random_numbers_and_the_images_alone():
    images = made_up(20)
    before, pixels = torch.get_rng_state(), images.images.clone()
    gather(Batches(images, 8, train=True))
    gather(Batches(images, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(images.images, pixels)


def test_iterating_batches_is_their_epoch_0():
    batches = Batches(made_up(9), 4, train=True)
    assert [y.tolist() for _, y in batches] == [y.tolist() for _, y in batches.epoch(0)]


def test_normalised_training_images_have_mean_0_and_deviation_1(digits):
    x, _ = gather(Batches(digits[0], 500))
    assert x.dtype == torch.float32
    assert x.mean().item() == pytest.approx(0, abs=1e-5)
    assert x.std().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_batches_have_the_memory_format_asked_for(train):
    images = made_up(4, 3, 6, 5)
    x, _ = next(iter(Batches(images, 4, train=train, channels_last=True)))
    assert x.stride() == (90, 1, 15, 3)
    x, _ = next(iter(Batches(images, 4, train=train, channels_last=False)))
    assert x.stride() == (90, 30, 5, 1)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batches_of_no_images_are_refused(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, not {batch_size}"):
        Batches(made_up(4), batch_size)

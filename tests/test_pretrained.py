"""Published weights in our classes, from the cache or a download; features and heads."""

import hashlib
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from helpers import noise_images, unsettle
from sklearn.linear_model import LogisticRegression

from resnet_utils import counting, models, pretrained


@pytest.fixture(scope="module")
def theirs() -> torchvision.models.ResNet:
    """torchvision's ResNet-50 with batch normalisations of its own, so that no two could be exchanged."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None).eval()
    unsettle(model)
    return model


@pytest.fixture(scope="module")
def server(theirs, tmp_path_factory) -> Path:
    """The file that torchvision would publish, named after its hash as theirs are."""
    file = tmp_path_factory.mktemp("server") / "resnet50.pth"
    torch.save(theirs.state_dict(), file)
    return file.rename(file.with_name(f"resnet50-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"))


@pytest.fixture
def hub(monkeypatch, tmp_path, server) -> Path:
    """An empty cache; the entry of ResNet-50 points to our own server."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    entry = pretrained.published("resnet50")
    own = SimpleNamespace(url=server.as_uri(), transforms=entry.transforms, meta=entry.meta)
    monkeypatch.setattr(pretrained, "published", lambda name, version: own)
    return tmp_path / "hub" / "checkpoints"


def test_a_downloaded_network_computes_what_torchvisions_does(hub, theirs, server):
    loaded = pretrained.load("resnet50")
    assert loaded.file == hub / server.name
    assert not loaded.model.training
    assert isinstance(loaded.model, models.ResNet)
    x = noise_images()
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_a_file_in_the_cache_is_used_and_nothing_is_downloaded(hub, theirs, server, monkeypatch):
    hub.mkdir(parents=True)
    shutil.copy(server, hub)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_a, **_k: pytest.fail("went online"))
    loaded = pretrained.load("resnet50")
    assert torch.equal(loaded.model.fc.weight, theirs.fc.weight)


def test_another_file_of_that_name_in_the_cache_is_refused(hub, server):
    hub.mkdir(parents=True)
    (hub / server.name).write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"is not the file that was published: its sha256 begins with .* Remove it"):
        pretrained.load("resnet50")


@pytest.mark.parametrize("fault", ["missing", "altered"])
def test_a_failed_download_says_what_was_tried_and_where_to_put_the_file(hub, server, tmp_path, monkeypatch, fault):
    other = tmp_path / server.name
    if fault == "altered":
        other.write_bytes(server.read_bytes()[:-1])
    entry = SimpleNamespace(url=other.as_uri())
    monkeypatch.setattr(pretrained, "published", lambda name, version: entry)
    with pytest.raises(OSError, match=r"and the download from file:.* failed .*put it there and run again") as caught:
        pretrained.load("resnet50")
    assert str(hub) in str(caught.value)
    assert server.name in str(caught.value)
    assert list(hub.iterdir()) == []  # no half file that a later load would take


def test_without_an_answer_the_download_gives_up_quickly_and_leaves_the_timeout_as_it_was(hub, server, monkeypatch):
    silent = socket.create_server(("127.0.0.1", 0))  # accepts a connection and never answers
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/{server.name}"
    monkeypatch.setattr(pretrained, "published", lambda name, version: SimpleNamespace(url=url))
    monkeypatch.setattr(pretrained, "TIMEOUT_SECONDS", 0.2)
    with silent, pytest.raises(OSError, match="timed out"):
        pretrained.load("resnet50")
    assert socket.getdefaulttimeout() is None


def test_a_missing_network_makes_no_noise(hub, server, monkeypatch, capfd):
    url = f"http://127.0.0.1:9/{server.name}"  # nobody listens there
    monkeypatch.setattr(pretrained, "published", lambda name, version: SimpleNamespace(url=url))
    with pytest.raises(OSError, match=r"Connection refused"):
        pretrained.load("resnet50")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", pretrained.NAMES)
def test_every_published_entry_fits_our_network_of_that_name(name):
    entry = pretrained.published(name)
    with torch.device("meta"):
        ours, other = models.build(name), torchvision.models.get_model(name)
    assert counting.parameters(ours) == entry.meta["num_params"]
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}
    assert len(pretrained._hash_in(entry.url)) == 8
    assert len(entry.meta["categories"]) == 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet20",), r"no published weights for 'resnet20'; choose one of 'resnet18', "),
        (("resnet50-v1",), r"no published weights for 'resnet50-v1'; choose"),
        (("resnet18", "IMAGENET1K_V2"), r"resnet18 has no weights 'IMAGENET1K_V2'; choose one of IMAGENET1K_V1"),
    ],
)
def test_unknown_weights_are_refused_with_the_valid_choices(arguments, message):
    with pytest.raises(ValueError, match=message):
        pretrained.load(*arguments)


# Features


@pytest.mark.parametrize(("name", "length"), [("resnet50", 2048), ("resnet18", 512), ("resnet20", 64)])
def test_the_last_layer_makes_logits_of_the_features(name, length):
    torch.manual_seed(0)
    model = models.build(name, 5).eval()
    unsettle(model)
    x = noise_images(3, 32)
    found = pretrained.features(model, x, batch_size=2)
    assert found.shape == (3, length)
    torch.testing.assert_close(model.fc(found), model(x), rtol=1e-4, atol=1e-4)


def test_features_are_of_evaluation_mode_and_leave_the_model_alone():
    torch.manual_seed(0)
    model = models.build("resnet20").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = pretrained.features(model, noise_images(4, 8))
    assert model.training
    assert not model.fc._forward_pre_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not first.requires_grad
    torch.testing.assert_close(
        pretrained.features(model, noise_images(4, 8)[:1]), first[:1]
    )  # no statistics of the batch


# A new head


def test_a_head_decides_as_logistic_regression_on_scaled_features_does():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 3
    x = torch.randn(30, 4, generator=generator) * torch.tensor([1.0, 10, 0.1, 1]) + 5 * labels[:, None]
    x[:, 3] = 7  # a feature that never changes must do no harm
    head = pretrained.fit_head(x, labels)
    scaled = ((x - x.mean(0)) / x.std(0).clamp_min(1e-6)).numpy()
    expected = LogisticRegression(max_iter=1000).fit(scaled, labels.numpy()).predict_proba(scaled)
    assert head.weight.shape == (3, 4)
    torch.testing.assert_close(head(x).softmax(1), torch.tensor(expected).float(), rtol=1e-3, atol=1e-4)
    assert (head(x).argmax(1) == labels).all()


@pytest.mark.parametrize("labels", [[0, 2, 3], [0, 1, 0], [1, 2, 3]])
def test_labels_with_gaps_are_refused(labels):
    with pytest.raises(ValueError, match=r"labels must be 0, 1, 2, … with none left out, at least three; got"):
        pretrained.fit_head(torch.randn(3, 2), torch.tensor(labels))

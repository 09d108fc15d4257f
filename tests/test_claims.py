"""Every row of the appendix "Claims, checked" is whole, and what can be computed of it is computed here.

A row names its test: row `plus_one` is checked by `test_claim_plus_one`.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import torchvision
from helpers import CIFAR10, unsettle
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_utils import counting, data, models, probes, records, training
from resnet_utils.blocks import BasicBlock, Bottleneck, PreActivationBlock

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "book" / "claims.md"
VERDICTS = r"\*\*(True|False|Half true|Not shown)\*\*|\*\*Only if\*\* .+"
PLACE = r"§|\b(?:figure|table|eq\.|abstract|chapter|description|README)|`\w+`"  # where in the source


@dataclass(frozen=True)
class Claim:
    """A row of the page."""

    statement: str
    seen: str  # "Seen in [a page](address)." or "Common in …"
    verdict: str
    evidence: str
    pages: tuple[str, ...]  # relative to book/
    source: str
    check: str  # the name of a test, or "" where `reason` says why there is none
    reason: str


def claims() -> list[Claim]:
    """The rows of the tables of the page."""
    tables = re.findall(r"```\{list-table\}\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    return [claim(row) for table in tables for row in re.split(r"^\* - ", table, flags=re.MULTILINE)[2:]]


def claim(row: str) -> Claim:
    """Read a row: three cells, in the first and the last of them two paragraphs."""
    cells = [re.sub(r"[ \n]*\n\n\s*", "\n\n", cell).strip() for cell in re.split(r"^  - ", row, flags=re.MULTILINE)]
    assert len(cells) == 3, row
    (statement, seen), (evidence, where) = (re.split(r"\n\n", cells[i]) for i in (0, 2))
    parts = re.fullmatch(
        r"Page: (?P<pages>.+?)\. Source: (?P<source>.+)[.]\s+(?:Test: `(?P<check>\w+)`|Not computed: (?P<reason>.+))\.",
        where,
        re.DOTALL,
    )
    assert parts, where
    pages = tuple(re.findall(r"\{doc\}`[^`<]+<([^`>]+)>`", parts["pages"]))
    check, reason = parts["check"] or "", parts["reason"] or ""
    return Claim(statement, seen, cells[1], evidence, pages, parts["source"], check, reason)


CLAIMS = claims()
EACH = pytest.mark.parametrize("row", CLAIMS, ids=lambda row: row.check or row.statement[:40])


# The page


def test_there_are_at_least_twenty_claims_and_most_of_them_are_computed() -> None:
    assert len(CLAIMS) >= 20
    assert len({row.statement for row in CLAIMS}) == len(CLAIMS)
    assert sum(bool(row.check) for row in CLAIMS) > len(CLAIMS) / 2


def test_at_least_half_of_the_claims_were_seen_somewhere() -> None:
    assert sum(row.seen.startswith("Seen") for row in CLAIMS) >= len(CLAIMS) / 2


@EACH
def test_a_claim_says_where_it_is_made(row: Claim) -> None:
    assert re.fullmatch(r"Seen.* in .*\]\(https?://[^\s)]+\).*\.|Common in (?:tutorials|published code)\.", row.seen)


@EACH
def test_a_claim_has_a_verdict_and_evidence(row: Claim) -> None:
    assert re.fullmatch(VERDICTS, row.verdict)
    assert len(row.evidence) > 40


@EACH
def test_a_claim_names_pages_of_the_book_that_exist(row: Claim) -> None:
    assert row.pages
    for page in row.pages:
        path = PAGE.parent / page
        assert path.with_suffix(".ipynb").is_file() or path.with_suffix(".md").is_file(), page


@EACH
def test_a_claim_has_sources_in_the_bibliography_and_says_where_in_them(row: Claim) -> None:
    known = set(re.findall(r"url\s*=\s*\{(.+?)\}", (ROOT / "book" / "references.bib").read_text()))
    sources = row.source.split(";")
    for source in sources:
        assert set(re.findall(r"\]\((https?://[^\s)]+)\)", source)) <= known, source
        assert re.search(r"\]\(https?://[^\s)]+\).*" + f"(?:{PLACE})", source, re.DOTALL), source


@EACH
def test_a_claim_is_computed_by_a_test_or_says_why_it_cannot_be(row: Claim) -> None:
    assert bool(row.check) != bool(row.reason)
    assert not row.check or callable(globals().get(f"test_claim_{row.check}")), row.check


def test_every_test_of_a_claim_belongs_to_one_row() -> None:
    tests = sorted(name.removeprefix("test_claim_") for name in globals() if name.startswith("test_claim_"))
    assert sorted(row.check for row in CLAIMS if row.check) == tests


# What the tests below share


def on_meta(make) -> nn.Module:
    """A network that has shapes and no numbers: quick to build and to count."""
    with torch.device("meta"):
        return make()


def giga_multiply_adds(model: nn.Module, side: int = 224) -> float:
    """Multiply-adds of a network on the meta device for one image, in 1e9, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops() / 2 / 1e9


def last_epochs(column: str) -> dict[str, float]:
    """The last epoch of the recorded degradation run at its main rate, by network: median over the seeds."""
    table, main = records.load("degradation"), records.provenance("degradation")["settings"]["recipe"]
    table = table[(table["peak_rate"] == main["learning_rate"]) & (table["epoch"] == table["epoch"].max())]
    return table.groupby("model")[column].median().to_dict()


def first_over_last(model: nn.Module) -> float:
    """Gradient norm of the weights in the first block over that in the last, for random images of 8 x 8."""
    norms = probes.gradient_norms(model, torch.randn(16, 1, 8, 8), torch.randint(10, (16,)))
    blocks = norms[norms["layer"].str.startswith("layer")]["weight"]
    return blocks.iloc[0] / blocks.iloc[-1]


# Depth, gradients and degradation


def test_claim_vanishing() -> None:
    table = records.load("gradients")
    table = table[(table["model"] == "plain56") & table["layer"].str.startswith("layer")]
    runs = table.sort_values("index").groupby(["seed", "peak_rate", "epoch"])["weight"]
    assert (runs.first() / runs.last()).min() > 0.01  # below it the book speaks of vanishing
    error = last_epochs("train_error")
    assert error["plain56"] > error["plain20"]


def test_claim_bn_explodes() -> None:
    torch.manual_seed(0)
    ratios = {
        name: [first_over_last(models.build(name, in_channels=1)) for _ in range(3)] for name in ("plain20", "plain56")
    }
    assert min(ratios["plain20"]) > 2
    assert min(ratios["plain56"]) > 10 * max(ratios["plain20"])
    assert max(first_over_last(models.build("resnet56", in_channels=1)) for _ in range(3)) < min(ratios["plain56"]) / 10


def test_claim_overfitting() -> None:
    train, test = last_epochs("train_error"), last_epochs("test_error")
    assert train["plain56"] > train["plain20"]
    assert test["plain56"] > test["plain20"]
    assert train["resnet56"] < train["resnet20"]


def test_claim_cannot_learn() -> None:
    error = last_epochs("train_error")
    assert error["plain56"] < 60  # chance is 90: it learns
    assert error["plain56"] > error["plain20"] > error["resnet20"]  # and that is harder, the more so with depth
    assert error["plain56"] - error["resnet56"] > 2 * (error["plain20"] - error["resnet20"])


def test_claim_plus_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 5, 5, dtype=torch.double, requires_grad=True)
    (x - x).sum().backward()  # F(x) = -x
    assert x.grad.abs().max() == 0

    block = BasicBlock(4, 4).double()
    nn.init.constant_(block.bn2.bias, -100)  # the sum is negative everywhere, and the ReLU after it is closed
    x.grad = None
    block(x).sum().backward()
    assert x.grad.abs().max() == 0

    stage = nn.Sequential(*(PreActivationBlock(4, 4) for _ in range(5))).double()
    branches: list[Tensor] = []
    for block in stage:
        block.conv2.register_forward_hook(lambda _module, _inputs, output: branches.append(output))
    torch.testing.assert_close(stage(x), x + sum(branches))  # eq. 4 of the paper: one term is x itself
    upstream = torch.randn_like(x)
    original = nn.Sequential(*(BasicBlock(4, 4) for _ in range(5))).double()
    for net in (stage, original):  # without the other terms, only what the shortcuts carry is left
        for block in net:
            nn.init.zeros_(block.conv2.weight)
    assert torch.equal(torch.autograd.grad(stage(x), x, upstream)[0], upstream)
    assert not torch.allclose(torch.autograd.grad(original(x), x, upstream)[0], upstream)


# The block and its shortcut


def test_claim_zero_weights() -> None:
    torch.manual_seed(0)
    block, x = BasicBlock(4, 4), torch.randn(2, 4, 5, 5)
    nn.init.zeros_(block.bn2.weight)
    assert torch.equal(block(x), x.relu())
    assert not torch.allclose(block(x), x)
    assert torch.equal(block(x.relu()), x.relu())


def changes(stage: nn.Sequential, x: Tensor) -> list[float]:
    """|block(x) - x| / |x| for each block in a stage."""
    found = []
    for block in stage:
        y = block(x)
        found.append(((y - x).norm() / x.norm()).item())
        x = y
    return found


def test_claim_starts_as_identity() -> None:
    torch.manual_seed(0)
    model, x = models.build("resnet56", in_channels=1), torch.randn(32, 1, 8, 8)
    x = model.relu(model.bn1(model.conv1(x)))
    usual = changes(model.layer1, x)
    assert usual[0] > 0.5
    assert usual[0] > usual[4] > usual[8]
    for block in model.layer1:
        nn.init.zeros_(block.bn2.weight)
    assert changes(model.layer1, x) == [0] * 9


def learned_error(target: float, shortcut: bool) -> float:
    """Error of two matrices after 100 steps towards the mapping x -> target · x, the best of three rates."""
    errors = []
    for rate in (0.03, 0.1, 0.3):
        torch.manual_seed(0)
        first, second = (nn.Linear(16, 16, bias=False) for _ in range(2))
        optimizer = torch.optim.SGD([first.weight, second.weight], lr=rate, momentum=0.9)
        for _ in range(100):
            x = torch.randn(64, 16).relu()
            loss = (second(first(x).relu()) + (x if shortcut else 0) - target * x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors.append(loss.item())
    return min(e for e in errors if math.isfinite(e))


def test_claim_easier() -> None:
    assert learned_error(1, shortcut=True) < learned_error(1, shortcut=False) / 3
    assert learned_error(0, shortcut=False) < learned_error(0, shortcut=True) / 3
    assert learned_error(0.25, shortcut=True) == pytest.approx(learned_error(-0.75, shortcut=False), rel=1e-3)


def test_claim_plain_twin() -> None:
    counts = [counting.parameters(models.build(name)) for name in ("plain20", "resnet20")]
    assert counts == [269_722, 269_722]
    assert counting.parameters(models.build("resnet20", shortcut="B")) == 272_474
    torch.manual_seed(0)
    block, x = BasicBlock(4, 4), torch.randn(2, 4, 5, 5)
    branch = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
    twin = BasicBlock(4, 4, residual=False)
    twin.load_state_dict(block.state_dict())
    assert torch.allclose(twin(x), branch.relu())
    assert (branch < 0).any()  # so the ReLU does something


def test_claim_same_block() -> None:
    from d2l import torch as d2l  # seconds to import

    torch.manual_seed(0)
    ours, x = BasicBlock(4, 4), torch.randn(2, 4, 6, 6)
    unsettle(ours)
    theirs = torchvision.models.resnet.BasicBlock(4, 4)
    theirs.load_state_dict(ours.state_dict())
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    d2ls = d2l.Residual(4)
    d2ls(x)  # lazy: now it knows its channels
    for name in ("conv1", "conv2"):
        d2ls.get_submodule(name).weight.data.copy_(ours.get_submodule(name).weight)  # and some bias, without effect
    for name in ("bn1", "bn2"):
        d2ls.get_submodule(name).load_state_dict(ours.get_submodule(name).state_dict())
    assert torch.allclose(ours(x), d2ls(x), atol=1e-5)
    projection = d2l.Residual(8, use_1x1conv=True, strides=2)
    projection(x)
    assert projection.conv3.bias is not None
    assert sum(isinstance(m, nn.BatchNorm2d) for m in projection.modules()) == 2  # torchvision's has three


def test_claim_bias() -> None:
    torch.manual_seed(0)
    conv, bn, x = nn.Conv2d(3, 4, 3).double(), nn.BatchNorm2d(4).double(), torch.randn(8, 3, 6, 6, dtype=torch.double)
    before = bn(conv(x))
    (before * torch.randn_like(before)).sum().backward()
    assert conv.bias.grad.abs().max() < 1e-9 < conv.weight.grad.abs().max()
    nn.init.constant_(conv.bias, 3)
    torch.testing.assert_close(bn(conv(x)), before)


def test_claim_projections() -> None:
    counts = {
        option: counting.parameters(on_meta(lambda option=option: models.build("resnet34", shortcut=option)))
        for option in "ABC"
    }
    plain = counting.parameters(on_meta(lambda: models.build("plain34")))
    assert plain == counts["A"] < counts["B"] < counts["C"]

    torch.manual_seed(0)
    x = torch.randn(2, 16, 6, 6).relu()
    block = models.build("resnet20", shortcut="C").layer1[1].eval()
    fresh = block(x)
    nn.init.dirac_(block.downsample[0].weight)  # a 1 x 1 convolution can be the identity, and does not start there
    same = BasicBlock(16, 16).eval()
    same.load_state_dict({name: t for name, t in block.state_dict().items() if "downsample" not in name})
    torch.testing.assert_close(block(x), same(x), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(fresh, same(x), atol=0.1)

    digits, _ = data.load("digits")
    recipe = training.FAST.with_(epochs=3, batch_size=64, learning_rate=0.05)
    errors: dict[str, list[float]] = {"A": [], "C": []}
    for option in errors:
        for seed in (0, 1):
            torch.manual_seed(seed)
            model = models.build("resnet20", in_channels=1, shortcut=option)
            history = training.fit(model, digits.take(torch.arange(448)), recipe, seed=seed, device="cpu")
            errors[option].append(history["train_error"].iloc[-1])
    assert min(errors["C"]) > max(errors["A"]) + 10  # to be able to learn more is not to learn more


# Counting


def test_claim_bottleneck_counts() -> None:
    assert counting.parameters_by_kind(BasicBlock(256, 256))["convolution"] == 1_179_648
    assert counting.parameters_by_kind(Bottleneck(256, 64))["convolution"] == 69_632
    for channels in (64, 256, 1024):
        ratio = counting.basic_weights(channels) / counting.bottleneck_weights(channels)
        assert round(ratio, 2) == 16.94


def test_claim_seven_by_seven() -> None:
    small, large = nn.Sequential(*(nn.Conv2d(8, 8, 3) for _ in range(3))), nn.Conv2d(8, 8, 7)
    seen = [counting.measured_receptive_field(net, (8, 11, 11)) for net in (small, large)]
    assert seen == [7, 7]
    weights = [sum(p.numel() for p in net.parameters() if p.ndim == 4) for net in (small, large)]
    assert weights == [27 * 8**2, 49 * 8**2]
    assert round(100 * (weights[1] / weights[0] - 1)) == 81


def test_claim_fifty_layers() -> None:
    model = on_meta(lambda: models.build("resnet50"))
    convolutions = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    projections = [name for name in convolutions if "downsample" in name]
    assert (len(convolutions), len(projections)) == (53, 4)
    assert counting.depth(model) == 49 + 1
    assert not any(p.numel() for m in (model.maxpool, model.avgpool) for p in m.parameters())


def test_claim_flops() -> None:
    assert round(giga_multiply_adds(on_meta(lambda: models.build("resnet50-v1"))), 2) == 3.86
    assert round(giga_multiply_adds(on_meta(lambda: models.build("resnet50"))), 2) == 4.09
    published = torchvision.models.ResNet50_Weights.DEFAULT.meta["_ops"]  # torchvision counts multiply-adds too
    assert round(published, 2) == 4.09


def test_claim_stride() -> None:
    theirs = on_meta(torchvision.models.resnet50)
    papers = on_meta(lambda: models.build("resnet50-v1"))
    shapes = [{name: t.shape for name, t in model.state_dict().items()} for model in (theirs, papers)]
    assert shapes[0] == shapes[1]
    strides = [(net.layer2[0].conv1.stride, net.layer2[0].conv2.stride) for net in (theirs, papers)]
    assert strides == [((1, 1), (2, 2)), ((2, 2), (1, 1))]

    torch.manual_seed(0)
    blocks = [
        Bottleneck(8, 4, 2, nn.Sequential(nn.Conv2d(8, 16, 1, 2), nn.BatchNorm2d(16)), stride_on_first=first)
        for first in (False, True)
    ]
    blocks[1].load_state_dict(blocks[0].state_dict())
    x = torch.randn(2, 8, 6, 6)
    outputs = [block(x) for block in blocks]
    assert outputs[0].shape == outputs[1].shape
    assert not torch.allclose(*outputs, atol=0.01)


def test_claim_vgg_pooling() -> None:
    vgg = on_meta(torchvision.models.vgg16)
    head = [m for m in vgg.classifier if isinstance(m, nn.Linear)]
    in_head = sum(m.weight.numel() for m in head)
    assert in_head == 123_633_664
    assert round(100 * in_head / counting.parameters(vgg)) == 89
    whole = giga_multiply_adds(vgg)
    assert round(100 * in_head / 1e9 / whole) == 1  # a linear layer uses each weight once
    assert giga_multiply_adds(on_meta(lambda: models.build("resnet34"))) < (whole - in_head / 1e9) / 4


def resnet34(layers: tuple[int, ...], pool_stride: int = 2) -> models.ResNet:
    """ResNet-34 with other numbers of blocks, or another stride of the max pooling, on the meta device."""
    model = on_meta(lambda: models.ResNet(BasicBlock, layers))
    model.maxpool = nn.MaxPool2d(3, pool_stride, 1)
    return model


def test_claim_resnet34_loop() -> None:
    one_too_many = tuple(len([0, *range(1, n + 1)]) for n in (3, 4, 6, 3))
    assert one_too_many == (4, 5, 7, 4)
    for layers, depth, parameters in (((3, 4, 6, 3), 34, 21_797_672), (one_too_many, 42, 28_068_392)):
        model = resnet34(layers)
        assert (counting.depth(model), counting.parameters(model)) == (depth, parameters)


def test_claim_max_pool() -> None:
    right, wrong = resnet34((3, 4, 6, 3)), resnet34((3, 4, 6, 3), pool_stride=1)
    assert counting.parameters(right) == counting.parameters(wrong)
    assert round(giga_multiply_adds(right), 2) == 3.66
    assert round(giga_multiply_adds(wrong), 2) == 14.30
    assert round(giga_multiply_adds(resnet34((4, 5, 7, 4), pool_stride=1)), 2) == 18.00


# Training and results


def mean_of_deviations(images: Tensor, correction: int) -> Tensor:
    """The deviation of the pixels of each image and channel, averaged over the images, on the scale 0 to 1."""
    return torch.cat([part.float().div(255).std((2, 3), correction=correction) for part in images.split(5000)]).mean(0)


def test_claim_cifar_std() -> None:
    train, _ = data.load("digits")
    assert train.std[0] == pytest.approx(train.images.double().div(255).std().item(), abs=1e-4)
    assert mean_of_deviations(train.images, correction=0).item() < train.std[0]  # the images differ in brightness too
    if CIFAR10.is_dir():
        train, _ = data.load("cifar10")
        copied = mean_of_deviations(train.images, correction=1)  # PyTorch's default gives the fourth digit
        assert [round(v, 4) for v in copied.tolist()] == [0.2023, 0.1994, 0.2010]
        assert train.std == (0.2470, 0.2435, 0.2616)


def test_claim_softmax() -> None:
    assert isinstance(list(torchvision.models.resnet18().children())[-1], nn.Linear)
    logits, label = torch.zeros(1, 10), torch.tensor([3])
    logits[0, 3] = 1000  # as right and as sure as can be
    assert F.cross_entropy(logits, label) == 0
    assert round(F.cross_entropy(logits.softmax(1), label).item(), 2) == 1.46


def test_claim_bf16(monkeypatch) -> None:
    # PyTorch's own function on a device that has compute capability 7.5, like a T4, and can hold a bfloat16 tensor
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(major=7, minor=5))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda *_: True)
    assert torch.cuda.is_bf16_supported()  # it counts emulation, unless told not to
    assert not torch.cuda.is_bf16_supported(including_emulation=False)

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    assert training.best_precision(torch.device("cuda")) == torch.float16
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 0))
    assert training.best_precision(torch.device("cuda")) == torch.bfloat16


def test_claim_recipe() -> None:
    old, new = (w.meta for w in torchvision.models.ResNet50_Weights)
    assert [meta["_metrics"]["ImageNet-1K"]["acc@1"] for meta in (old, new)] == [76.130, 80.858]
    assert old["num_params"] == new["num_params"]
    assert old["_ops"] == new["_ops"]


@pytest.mark.parametrize("norm", [nn.Identity, nn.BatchNorm2d])
def test_claim_ddp(norm: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = models.ResNet(BasicBlock, (1, 1), widths=(4, 8), stem="cifar", num_classes=5, norm_layer=norm).double()
    x, y = torch.randn(8, 3, 8, 8, dtype=torch.double), torch.randint(5, (8,))

    def gradient(part: slice) -> Tensor:
        return torch.cat(
            [g.flatten() for g in torch.autograd.grad(F.cross_entropy(model(x[part]), y[part]), [*model.parameters()])]
        )

    whole = gradient(slice(0, 8))
    mean = (gradient(slice(0, 4)) + gradient(slice(4, 8))) / 2  # what DistributedDataParallel puts in its place
    assert torch.allclose(whole, mean) == (norm is nn.Identity)
    uneven = (gradient(slice(0, 6)) + gradient(slice(6, 8))) / 2
    assert not torch.allclose(whole, uneven)


# Why it works


def test_claim_do_nothing() -> None:
    table = records.load("lesion")
    cost = (table["test_error"] - table["whole_error"]).groupby([table["model"], table["block"]]).median()
    assert cost["resnet56"].median() < cost["plain20"].median() / 5
    assert (cost["resnet56"] > 0).mean() > 0.5  # mostly it costs something
    assert cost["resnet56"].max() > 5


def test_claim_ensembles() -> None:
    assert round(100 * sum(math.comb(54, k) for k in range(5, 18)) / 2**54, 2) == 0.45
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    for bends in (False, True):
        layers = [nn.Linear(6, 6, bias=False) for _ in range(2)]
        first, second = (nn.Sequential(layer, nn.ReLU() if bends else nn.Identity()) for layer in layers)
        network = x + first(x) + second(x + first(x))
        paths = x + first(x) + second(x) + second(first(x))
        assert torch.allclose(network, paths, atol=1e-6) != bends  # a sum over paths is exact for linear branches

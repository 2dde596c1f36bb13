"""DCAMA and HSNet beyond their goldens: independence from the batch, training, ensembles of shots, checkpoints."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from fsbench.base.errors import CheckpointError
from fsbench.core.evaluation import evaluate_batch
from fsbench.methods.dcama.dcama import DCAMA
from fsbench.methods.emat import EMAT
from fsbench.methods.hsnet import HSNet, PATNet
from fsbench.methods.hsnet.hsnet import HyperpixelLearner
from fsbench.networks.backbones.pyramid_networks import build_pyramid_network
from fsbench.networks.backbones.weight_files import state_digest
from fsbench.runner.engine.checkpoint import convert, load_checkpoint
from tests.methods.small import PYRAMID, pyramid, vit

pytestmark = pytest.mark.usefixtures("tiny", "pyramids")


@pytest.fixture
def data(episodes):
    return episodes(64, 6)


def test_hsnet_has_the_papers_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in HyperpixelLearner([4, 6, 3]).parameters()) == 2_573_794


METHODS = {
    "dcama": lambda: DCAMA(pyramid()),
    "hsnet": lambda: HSNet(pyramid(), width=32),
}


def test_a_class_is_present_where_a_pixel_has_its_label(data):
    torch.manual_seed(0)
    method = DCAMA(pyramid()).eval()
    with torch.no_grad():
        for batch in data.test_dataloader():
            (result,) = evaluate_batch(method, data.protocol, batch)
            assert np.array_equal(result.decided, result.counts[1:, 1] + result.counts[1:, 3] > 0)


@pytest.mark.parametrize(("name", "scales"), [("dcama", 4), ("hsnet", 3)])
def test_only_scales_that_are_read_are_kept(name, scales, data):
    """HSNet reads nothing at 1/4, the largest map of an image."""
    method = METHODS[name]().eval()
    batch = next(iter(data.test_dataloader()))
    with torch.no_grad():
        method.answer_batch(batch)
        whole = method.backbone.encode(batch.pixels(0))
    assert len(whole) == scales
    assert method.backbone.cache.entry_bytes() == {"pyramid": sum(scale.nbytes for scale in whole)}


def test_half_precision_trains_and_predicts(data):
    torch.manual_seed(0)
    method = HSNet(pyramid(), width=32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.batch_loss(next(iter(data.train_dataloader())))["loss"]
        with torch.inference_mode():
            found = evaluate_batch(method.eval(), data.protocol, next(iter(data.test_dataloader())))[0]
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
    assert any(p.grad is not None for p in method.parameters()) and found.counts.sum() > 0


def test_optimisers_are_the_papers():
    sgd = DCAMA(pyramid()).configure_optimizers()
    group = sgd.param_groups[0]
    assert isinstance(sgd, torch.optim.SGD) and len(sgd.param_groups) == 1
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (1e-3, 0.9, True, 1e-4)
    adam = HSNet(pyramid(), width=32).configure_optimizers()
    assert isinstance(adam, torch.optim.Adam) and adam.param_groups[0]["lr"] == 1e-3


@pytest.mark.parametrize("strategy", ["vote", "average", "average_logit", "hsnet_vote", "cross_guided"])
@pytest.mark.parametrize(
    "method",
    [
        lambda: DCAMA(pyramid()),
        lambda: EMAT(vit(), support_side=8),
    ],
    ids=["without presence", "with presence"],
)
def test_every_ensemble_works_for_every_kind_of_method(strategy, method, data):
    """Equal shots say what one says, whatever the ensemble; different ones are counted."""
    torch.manual_seed(0)
    method = method().eval()
    batch = next(iter(data.test_dataloader()))
    single, twin = (next(batch.split()).without_truth() for _ in range(2))
    single.support, single.support_labels, single.valid = (
        t[:, :, :1] for t in (single.support, single.support_labels, single.valid)
    )
    twin.support, twin.support_labels, twin.valid = (
        torch.cat([t, t], 2) for t in (single.support, single.support_labels, single.valid)
    )
    with torch.no_grad():
        expected = method(single)
        method.nshot_strategy, method.keeps_soft_masks = strategy, True
        found = method.predict_shots(twin)
        several = evaluate_batch(method, data.protocol, batch)[0]
    assert torch.equal(found.label_map, expected.label_map)
    torch.testing.assert_close(found.foreground(), expected.foreground(), atol=1e-5, rtol=0)
    assert several.soft.shape == (len(several.classes), 64, 64) and several.soft.std() > 0
    if expected.present is not None:
        assert torch.equal(found.present, expected.present)
    assert int(several.counts[0, :1].sum()) >= 0 and several.label_map.shape == batch.truth.label_maps[0].shape


def test_hsnets_own_rule_is_its_vote(data):
    torch.manual_seed(0)
    method = HSNet(pyramid(), width=32).eval()
    for batch in itertools.islice(data.test_dataloader(), 2):
        episode = next(batch.split()).without_truth()
        with torch.no_grad():
            method.nshot_strategy = "own"
            own = method.predict_shots(episode)
            method.nshot_strategy = "hsnet_vote"
            assert torch.equal(own.label_map, method.predict_shots(episode).label_map)
            passes = [
                method(
                    replace(
                        episode,
                        support=episode.support[:, :, [k]],
                        support_labels=episode.support_labels[:, :, [k]],
                        valid=episode.valid[:, :, [k]],
                    )
                ).logits.softmax(1)[:, 1]
                for k in range(episode.support.shape[2])
            ]
        assert len(passes) > 1 and own.probability.shape[1:] == own.label_map.shape
        torch.testing.assert_close(own.foreground(), sum(passes) / len(passes), atol=1e-5, rtol=0)


FORMS = {m.registry_name: m.released_format for m in (EMAT, DCAMA, HSNet, PATNet)}


@pytest.mark.parametrize(
    ("make", "prefixes", "frozen"),
    [
        (lambda w: DCAMA(pyramid(w)), ["module.model."], "module.feature_extractor."),
        (lambda w: HSNet(pyramid(w), width=32), ["module.hpn_learner."], "module.backbone."),
        (
            lambda w: PATNet(pyramid(w), width=32, anchors="scale"),
            ["module.reference_layer", "module.hpn_learner."],
            "module.backbone.",
        ),
    ],
    ids=["dcama", "hsnet", "patnet"],
)
def test_checkpoints_of_the_authors_both_ways(make, prefixes, frozen, tmp_path):
    """A file in the authors' form evaluates, becomes ours, and comes back with the same tensors in the same order."""
    torch.manual_seed(1)
    weights = build_pyramid_network(PYRAMID).state_dict() | {"fc.weight": torch.randn(3, 64), "fc.bias": torch.randn(3)}
    torch.save(weights, tmp_path / "backbone.pth")
    method = make(str(tmp_path / "backbone.pth"))
    learned = {f"module.{k}": v for k, v in method.released_format.complete(method.state_dict()).items()}
    theirs = {frozen + key: value for key, value in weights.items()} | learned
    assert all(key.startswith((*prefixes, frozen)) for key in theirs)
    torch.save(theirs, tmp_path / "theirs.pt")

    other = make("random:5")
    load_checkpoint(other, tmp_path / "theirs.pt")
    assert all(torch.equal(v, method.state_dict()[k]) for k, v in other.state_dict().items())
    assert other.backbone.digest == method.backbone.digest and "theirs.pt" in other.backbone.weights_id

    assert convert(tmp_path / "theirs.pt", tmp_path / "ours.ckpt", None, FORMS) == "authors' to ours"
    load_checkpoint(method, tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match="trained on the backbone weights"):
        load_checkpoint(make("random:5"), tmp_path / "ours.ckpt")

    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "trained.ckpt")
    direction = convert(tmp_path / "trained.ckpt", tmp_path / "back.pt", tmp_path / "backbone.pth", FORMS)
    assert direction == "ours to authors'"
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert list(back) == list(theirs) and all(torch.equal(back[k], theirs[k]) for k in back)

    convert(tmp_path / "ours.ckpt", tmp_path / "again.pt", tmp_path / "backbone.pth", FORMS)  # the converted one
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert list(again) == list(theirs) and all(torch.equal(again[k], theirs[k]) for k in again)
    form = FORMS["emat"]
    with pytest.raises(CheckpointError, match=r"is of the method '.*', which this version does not know"):
        convert(tmp_path / "ours.ckpt", tmp_path / "x.pt", tmp_path / "backbone.pth", {"emat": form})


def test_swin_weights_under_timms_names_are_not_handed_to_the_authors_program(tmp_path):
    state = {"layers.0.blocks.0.attn.qkv.weight": torch.zeros(3, 1), "layers.1.downsample.norm.weight": torch.zeros(4)}
    torch.save(state, tmp_path / "timm.pth")
    ours = {"state_dict": {}, "fsbench": {"method": "dcama", "backbone_sha256": state_digest(state)}}
    torch.save(ours, tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match="has Swin's weights under timm's names"):
        convert(tmp_path / "ours.ckpt", tmp_path / "theirs.pt", tmp_path / "timm.pth", FORMS)

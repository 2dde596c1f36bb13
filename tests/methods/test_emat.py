"""EMAT and CST beside their goldens: sizes, loss, attention to supports, and EMAT's ablations."""

import pytest
import torch

from fsbench.methods.cst import CST, cst_learner
from fsbench.methods.emat import EMAT, emat_learner
from fsbench.methods.modules.correlation import kept_tokens
from fsbench.networks.backbones.base import BackboneConfig
from tests.methods.small import data, episode, vit

DEMO = BackboneConfig("demo")


def emat(backbone=DEMO, **options):
    torch.manual_seed(0)
    return EMAT(backbone, **{"support_side": 8} | options).eval()


@pytest.mark.parametrize(
    ("learner", "count"),
    [
        (emat_learner(72, 20), 86_020),
        (emat_learner(72, 20, class_token=False), 74_098),
        (cst_learner(72, 12), 366_004),
        (cst_learner(72, 18), 366_004),
    ],
    ids=["emat", "emat_seg", "cst", "cst_large"],
)
def test_parameter_counts_of_the_papers(learner, count):
    assert sum(p.numel() for p in learner.parameters()) == count


@pytest.mark.usefixtures("tiny")
def test_support_attention_is_the_first_layers(episodes):
    """Against the definition, written out for one query patch; and nothing outside the mask."""
    method, found = emat(vit(), support_side=4), episode(episodes(48, 8))
    maps = method.support_attention(found, 0.4, 0.9)
    query = method.features(found, found.query)[0]
    support, masks = method.features(found, found.support[0, 0], supports=True), found.support_masks[0, 0]
    side = int(query.shape[1] ** 0.5)
    patch, layer = int(0.4 * side) * side + int(0.9 * side), method.learner.corrtransformer[0].attn
    for shot in range(2):
        x = (query @ support[shot].mT)[None]
        q, k = layer.q(x)[0, :, patch], layer.kv(x)[0, : layer.q.q_seg.out_channels, patch]
        keep = kept_tokens(masks[shot, None], 4, True)[0]
        for name, kept in (("attention", keep), ("without the mask", torch.ones_like(keep))):
            total = torch.zeros(17)
            for head in range(8):
                rows = slice(head * len(q) // 8, (head + 1) * len(q) // 8)
                for token in q[rows].T:
                    total[kept] += (token @ k[rows][:, kept]).softmax(0) / (8 * q.shape[1])
            torch.testing.assert_close(maps[name][shot].flatten(), total[1:], atol=1e-6, rtol=1e-5)
    assert maps["attention"].flatten(1)[:, ~keep[1:]][1].eq(0).all()


def test_channels_are_heads_layers_or_those_of_the_last_layer(blocks_folder):
    found, methods = (
        episode(data(blocks_folder, 64)),
        (emat(), emat(correlation="layers"), emat(correlation="last_layer")),
    )
    depth, heads = methods[0].backbone.depth, methods[0].backbone.heads
    assert [method.channels for method in methods] == [depth * heads, depth, heads]
    for supports in (False, True):
        rows = found.support[0, 0] if supports else found.query
        of_heads, of_layers, of_last = (method.features(found, rows, supports)[0] for method in methods)
        # channels are head-major, so those of the last layer are each head's last
        assert torch.equal(of_last, of_heads[depth - 1 :: depth])
        assert len(of_layers) == depth and of_layers.shape[-1] == heads * of_heads.shape[-1]
        torch.testing.assert_close(of_layers.norm(dim=-1), torch.ones(of_layers.shape[:-1]))


@pytest.mark.parametrize("backend", ["packed", pytest.param("reference", marks=pytest.mark.slow(1))])
def test_heads_one_after_the_other_answer_alike_and_learn_alike(blocks_folder, backend, monkeypatch):
    monkeypatch.setenv("FSBENCH_ATTENTION", backend)
    together, sequential = emat(), emat(attention_heads="sequential")
    sequential.load_state_dict(together.state_dict())
    found = episode(data(blocks_folder, 64, shot=2))
    with torch.no_grad():
        torch.testing.assert_close(together(found).logits, sequential(found).logits, atol=2e-5, rtol=2e-5)
    batch = next(iter(data(blocks_folder, 64).train_dataloader()))
    for method in (together, sequential):
        method.batch_loss(batch)["loss"].backward()
    own = dict(sequential.named_parameters())
    for name, parameter in together.named_parameters():
        largest = float(parameter.grad.abs().max())
        torch.testing.assert_close(own[name].grad, parameter.grad, atol=1e-4 * largest + 1e-8, rtol=0)


def test_checkpoints_tell_channels():
    assert emat().checkpoint_settings() == {"support_side": 8, "class_token": True}
    assert emat(correlation="layers").checkpoint_settings()["correlation"] == "layers"
    assert "attention_heads" not in emat(attention_heads="sequential").checkpoint_settings()


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow(1))])
@pytest.mark.parametrize("make", [emat, lambda: CST(DEMO, support_side=6)], ids=["emat", "cst"])
def test_half_precision_trains(make, dtype, blocks_folder):
    method, batch = make().train(), next(iter(data(blocks_folder, 64).train_dataloader()))
    exact = method.batch_loss(batch)["loss"].detach()
    with torch.autocast("cpu", dtype=dtype):
        loss = method.batch_loss(batch)["loss"]
    loss.backward()
    torch.testing.assert_close(loss.detach(), exact, atol=0.02, rtol=0.02)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_presence_weighs_a_tenth():
    """As the authors' loss has it (emat.md §5); goldens of the learner state this factor by themselves."""
    assert emat().presence_weight == CST(DEMO, support_side=6).presence_weight == 0.1

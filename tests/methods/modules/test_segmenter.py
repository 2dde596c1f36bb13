"""EMAT and CST beyond their goldens: sizes, independence from the batch, half precision."""

import numpy as np
import pytest
import torch

from fsbench.base.tensor_cache import FeatureCache
from fsbench.core.data_options import Loading
from fsbench.core.evaluation import evaluate_batch
from fsbench.core.loading import LoadingConfig, load_episode
from fsbench.data.episodes.evaluation_order import supports_of
from fsbench.datamodules.loading import distributed
from fsbench.methods.cst import CST, cst_learner
from fsbench.methods.emat import EMAT, emat_learner
from fsbench.methods.modules.correlation import kept_tokens
from fsbench.methods.prototype import Prototype
from tests.fsbench.data.episodes.test_evaluation_order import encoded_twice
from tests.methods.small import vit

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def data(episodes):
    return episodes(48, 8)


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


def test_images_are_encoded_once_but_for_supports_that_become_queries(data):
    method = EMAT(vit(), support_side=8).eval()
    encoded = []
    encode = method.backbone.encode
    method.backbone.encode = lambda pixels: encoded.append(1) or encode(pixels)
    with torch.no_grad():
        for batch in data.test_dataloader():
            method.answer_batch(batch)
    episodes = data.test_dataloader().dataset.episodes
    images = {e.query for e in episodes} | supports_of(episodes)
    assert len(encoded) == len(images) + encoded_twice(episodes)
    assert len(encoded) < sum(2 * 3 for _ in episodes)  # K·(N+1) an episode, the plain way


@pytest.mark.parametrize("kept", [0, 3], ids=["nothing kept", "three features kept"])
def test_neither_the_order_nor_what_is_forgotten_changes_a_result(kept, data):
    """The manifest's order, encoding everything anew, against the order of evaluation, its workers and its batches."""
    torch.manual_seed(0)
    method = EMAT(vit(), support_side=8).eval()
    files = LoadingConfig(data.image_size)
    with torch.inference_mode():
        plain = {}
        for episode in data.manifest.episodes:
            method.backbone.cache.clear()
            (plain[episode.index],) = evaluate_batch(method, data.protocol, load_episode(data.dataset, episode, files))
        method.backbone.cache = FeatureCache(kept * max(method.backbone.cache.entry_bytes().values()))
        for size in (1, 3):
            data.loading = Loading(data.loading.workers, size)
            results = [r for batch in data.test_dataloader() for r in evaluate_batch(method, data.protocol, batch)]
            assert method.backbone.cache.bytes == 0  # every image was shown for the last time
            assert [r.episode for r in results] != sorted(plain) and {r.episode for r in results} == set(plain)
            for result in results:
                expected = plain[result.episode]
                assert np.array_equal(result.counts, expected.counts) and np.array_equal(result.score, expected.score)
                assert np.array_equal(result.label_map, expected.label_map)


@pytest.mark.parametrize("world", [1, 3])
def test_a_process_forgets_what_its_own_share_shows_no_more(world, data, monkeypatch):
    for rank in range(world):
        monkeypatch.setattr(distributed, "ranks", lambda rank=rank: (rank, world))
        shown = [(set(batch.image_names), batch.next_shown) for batch in data.test_dataloader()]
        assert len(shown) == 8 * (rank + 1) // world - 8 * rank // world
        for place, (names, uses) in enumerate(shown):
            assert uses.keys() == names
            last = {name for name, later in uses.items() if later is None}
            assert last == names - set().union(*(later for later, _ in shown[place + 1 :]))


def test_a_tests_expectations_end_with_it(data):
    """Also those of one that stopped in the middle, when the next begins."""
    method = Prototype(vit()).eval()
    for hook in (lambda: method.begin_test(data), method.end_test):
        method.answer_batch(next(iter(data.test_dataloader())))
        assert method.backbone.cache._next_use
        hook()
        assert not method.backbone.cache._next_use


def test_loss_is_that_of_the_paper(data):
    """CE of masks, plus a tenth of CE of presence; void is background (emat.md §5)."""
    torch.manual_seed(0)
    method = EMAT(vit(), support_side=8)
    batch = next(iter(data.train_dataloader()))
    losses = method.batch_loss(batch)
    query = torch.stack([method._query(batch, int(r)) for r in batch.query])
    labels, maps = method.learner(query, method._supports(batch, batch.support[:, 0, 0]), batch.support_masks[:, 0, 0])
    logits = torch.nn.functional.interpolate(maps, (48, 48), mode="bilinear", align_corners=True)
    target = torch.stack(batch.truth.label_maps)
    target = torch.where(target == 255, 0, target).long()
    mask = torch.nn.functional.cross_entropy(logits, target)
    presence = torch.nn.functional.cross_entropy(labels, batch.truth.presence[:, 0].long())
    torch.testing.assert_close(losses["loss"], mask + 0.1 * presence)


@pytest.mark.parametrize("make", [lambda: EMAT(vit(), support_side=8), lambda: CST(vit(), support_side=6)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_trains_and_predicts(make, dtype, data):
    torch.manual_seed(0)
    method = make()
    batch = next(iter(data.train_dataloader()))
    exact = method.batch_loss(batch)["loss"].detach()
    with torch.autocast("cpu", dtype=dtype):
        loss = method.batch_loss(batch)["loss"]
        episode = next(iter(data.test_dataloader()))
        result = method.eval().answer_batch(episode)[0]
    loss.backward()
    torch.testing.assert_close(loss.detach(), exact, atol=0.02, rtol=0.02)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    assert np.isfinite(result.score).all()


def test_support_attention_is_the_first_layers(data):
    """Against the definition, written out for one query patch; and nothing outside the mask."""
    method = EMAT(vit(), support_side=4)
    episode = next(iter(data.test_dataloader())).without_truth()
    found = method.support_attention(episode, 0.4, 0.9)
    query, support = method._query(episode, int(episode.query[0])), method._supports(episode, episode.support[0, 0])
    side = int(query.shape[1] ** 0.5)
    patch = int(0.4 * side) * side + int(0.9 * side)
    layer, masks = method.learner.corrtransformer[0].attn, episode.support_masks[0, 0]
    for shot in range(2):
        x = torch.einsum("cte,cse->cts", query, support[shot])[None]
        q, k = layer.q(x)[0, :, patch], layer.kv(x)[0, : layer.q.q_seg.out_channels, patch]
        keep = kept_tokens(masks[shot, None], 4, True)[0]
        for name, kept in (("attention", keep), ("without the mask", torch.ones_like(keep))):
            total = torch.zeros(17)
            for head in range(8):
                rows = slice(head * len(q) // 8, (head + 1) * len(q) // 8)
                for token in q[rows].T:
                    total[kept] += (token @ k[rows][:, kept]).softmax(0) / (8 * q.shape[1])
            torch.testing.assert_close(found[name][shot].flatten(), total[1:], atol=1e-6, rtol=1e-5)
    assert (found["attention"] <= 1).all() and found["attention"].flatten(1)[:, ~keep[1:]][1].eq(0).all()

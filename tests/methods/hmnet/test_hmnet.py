"""HMNet around its goldens: sizes, ways, shots, and settings that are refused."""

from dataclasses import replace

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.methods.modules.maps import resize
from tests.methods.hmnet.small import on_pspnet, on_vit
from tests.methods.small import data, episode


def test_the_attention_is_the_prior_of_the_foreground(blocks_folder):
    """Cosines with each shot's mean under the mask, scaled to 0..1 in the image, mean over shots (hmnet.md §4)."""
    found, method = episode(data(blocks_folder, 64, shot=2)), on_vit()
    with torch.no_grad():
        assert method(found).attention is None
        method.keeps_soft_masks = True
        attention = method(found).attention
        side = method.head.side
        query = method.features(found, found.query).f3[0]
        total = torch.zeros(side, side)
        for shot, row in enumerate(found.support[0, 0].tolist()):
            support = resize(method.features(found, torch.tensor([row])).f3, side)[0]
            mask = resize((found.support_labels[0, 0, shot] == 1).float()[None, None], side)[0, 0]
            mean = (support * mask).sum((1, 2)) / mask.sum()
            cosine = torch.nn.functional.cosine_similarity(query, mean[:, None, None], dim=0)
            scaled = (cosine - cosine.min()) / (cosine.max() - cosine.min())
            total += resize(scaled[None, None], side)[0, 0]
    assert attention.shape == (1, side, side) and attention.std() > 0.05
    torch.testing.assert_close(attention[0], total / 2, atol=1e-4, rtol=0)


def logits(method, found):
    with torch.inference_mode():
        return method.predict_shots(found).logits.clone()


@pytest.mark.parametrize(
    ("build", "ways", "shots"),
    [(on_vit, 1, 1), (on_vit, 2, 1), (on_vit, 1, 5), (on_vit, 2, 2), (on_pspnet, 1, 1), (on_pspnet, 1, 2)],
)
def test_a_kept_state_is_that_which_is_computed_anew(blocks_folder, build, ways, shots):
    side = 64 if build is on_vit else 65
    found, method = episode(data(blocks_folder, side, way=ways, shot=shots)), build(blocks=4)
    first, cache = logits(method, found), method.backbone.cache
    assert cache.entry_bytes()["states"] > 0
    again = logits(method, found)
    method.end_test()
    assert "states" not in cache.entry_bytes() and torch.equal(logits(method, found), first)
    cache.clear()
    assert torch.equal(again, first) and torch.equal(logits(method, found), first)
    cache.clear()
    cache.max_bytes = 0
    assert torch.equal(logits(method, found), first)


@pytest.mark.parametrize("shots", [1, 2])
def test_the_supports_of_a_second_query_are_not_read_again(blocks_folder, shots):
    found, method = episode(data(blocks_folder, 64, shot=shots)), on_vit()
    cache, row = method.backbone.cache, int(found.query[0])
    images = found.images.clone()
    images[row] = images[row].flip(-1)
    second = replace(found, images=images)
    first = logits(method, found)
    cache.forget_counts()
    other = logits(method, second)
    assert (cache.hits, cache.misses) == (shots, 1)  # only the query is encoded
    assert torch.equal(other, logits(on_vit(), second)) and not torch.equal(other, first)


def test_new_weights_give_a_new_answer(blocks_folder):
    found, method, other = episode(data(blocks_folder, 64)), on_vit(blocks=4), on_vit(blocks=4)
    for parameter in other.head.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    old, new = logits(method, found), logits(other, found)
    method.load_state_dict(other.state_dict())
    assert torch.equal(logits(method, found), new) and not torch.equal(old, new)
    for parameter, before in zip(method.head.parameters(), on_vit(blocks=4).head.parameters(), strict=True):
        parameter.data.copy_(before)
    assert torch.equal(logits(method.eval(), found), old)  # which Lightning calls before a validation


def test_learned_weights_of_shots_need_that_many(blocks_folder):
    method = on_pspnet(shots=3)
    assert sum(p.numel() for p in method.head.kshot_rw.parameters()) == 2 * 3 + 2 + 3 * 2 + 3
    with pytest.raises(SettingsError, match="but the test shows 1 at a time; give --shot 3"):
        method(episode(data(blocks_folder)))
    assert method(episode(data(blocks_folder, shot=3))).label_map.dim() == 2

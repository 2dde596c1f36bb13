"""HMNet around its goldens: sizes, ways, shots, and settings that are refused."""

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


def test_learned_weights_of_shots_need_that_many(blocks_folder):
    method = on_pspnet(shots=3)
    assert sum(p.numel() for p in method.head.kshot_rw.parameters()) == 2 * 3 + 2 + 3 * 2 + 3
    with pytest.raises(SettingsError, match="but the test shows 1 at a time; give --shot 3"):
        method(episode(data(blocks_folder)))
    assert method(episode(data(blocks_folder, shot=3))).label_map.dim() == 2

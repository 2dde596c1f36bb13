"""BAM around its goldens: shots, variants, checkpoints, settings that are refused, and that it learns."""

import pytest
import torch

from fsbench.base.errors import CheckpointError
from fsbench.core.released_format import TRAINED_ON
from fsbench.methods.bam import BAM
from fsbench.networks.backbones.base import BackboneConfig
from tests.methods.small import data, episode


def on_vit(**options):
    torch.manual_seed(0)
    return BAM(BackboneConfig("demo"), **{"width": 8, "base_learner": False} | options).eval()


def on_pspnet(**options):
    torch.manual_seed(0)
    return BAM(BackboneConfig("pspnet_vgg16", "random"), **{"width": 8} | options).eval()


def test_layer_4_of_a_support_sees_nothing_outside_of_its_mask(blocks_folder):
    found, method = episode(data(blocks_folder, 97)), on_pspnet()
    whole, mask = method.features(found, found.support[0, 0]), found.support_masks[0, :, 0]
    with torch.no_grad():
        masked, nothing, everything = (
            method.support(whole, shown).features for shown in (mask, mask & False, mask | True)
        )
    assert torch.equal(masked.f2, whole.f2) and not torch.allclose(masked.f3, whole.f3, atol=1e-6)
    torch.testing.assert_close(everything.f3, whole.f3, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(nothing.f3, masked.f3, atol=1e-6)


def test_the_base_learner_can_be_left_out_of_a_checkpoint_that_has_it():
    method, alone = on_pspnet(), on_pspnet(base_learner=False)
    kept, differing = alone.filter_state_dict(method.state_dict(), "it")
    assert kept.keys() == alone.state_dict().keys() and differing == {"base_learner": True}
    with pytest.raises(CheckpointError, match=r"it was trained with shots: 5; found shots: 1; give --model\.shots 5"):
        method.filter_state_dict(on_pspnet(shots=5).state_dict(), "it")


@pytest.mark.slow(1)
def test_a_pspnet_of_unknown_training_may_have_seen_the_tests_classes(tmp_path):
    """Random weights saw no class, files of ours tell their data set, and what other files saw is not known."""
    method = on_pspnet()
    assert method.saw_classes_of("pascal") == "no"
    weights = {"state_dict": method.backbone.state}
    for name, more in (("theirs", {}), ("ours", {TRAINED_ON: {"dataset": "pascal", "fold": 0, "classes": []}})):
        torch.save(weights | more, tmp_path / f"{name}.ckpt")
    theirs, ours = (
        BAM(BackboneConfig("pspnet_vgg16", str(tmp_path / f"{name}.ckpt")), width=8) for name in ("theirs", "ours")
    )
    assert theirs.saw_classes_of("pascal") == "unknown"
    assert [ours.saw_classes_of(name) for name in ("pascal", "coco")] == ["no", "unknown"]
    ours.backbone.replace_weights(theirs.backbone.state, "another")
    assert ours.saw_classes_of("pascal") == "unknown" and on_vit().saw_classes_of("pascal") == "no"

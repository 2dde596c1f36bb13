"""BAM's test of base and novel classes at once: its draw by a plain loop, its header, BAM's answers."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import PairList
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.methods.bam import BAM
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.protocols.draws.bam_gfss import bam_gfss_episodes
from fsbench.protocols.reading import load_protocol
from fsbench.results.pictures.episodes import batch_query_image, batch_support_images
from tests.data_modules import episodic
from tests.fsbench.protocols.test_gfss import NOVEL, scenes

__all__ = ["scenes"]  # the fixture


def plainly(shown, base, novel, shot, seed, workers, number):
    """The episodes as gfss.md §9 and hmnet.md §11.2 tell them: (query, class, supports)."""
    queries = [name for name, classes in shown.items() if classes]
    torch.manual_seed(seed)
    found = []
    while len(found) < number:
        first = torch.empty((), dtype=torch.int64).random_().item()  # the loader's
        states = []
        for worker in range(workers):
            random.seed(first + worker)
            states.append(random.getstate())
        for place, query in enumerate(queries):
            random.setstate(states[place % workers])
            classes = sorted(shown[query])
            drawn = random.choice(novel) if any(c in base for c in classes) else random.choice(classes)
            candidates = [name for name, other in shown.items() if drawn in other]
            taken = []
            for _ in range(shot):
                random.randint(1, len(candidates))
                place_of = random.randint(1, len(candidates)) - 1
                while candidates[place_of] == query or place_of in taken:
                    place_of = random.randint(1, len(candidates)) - 1
                taken.append(place_of)
            states[place % workers] = random.getstate()
            found.append((query, drawn, tuple(candidates[i] for i in taken[::-1])))
    return found[:number]


def listed(shown):
    return PairList(tuple((name, number) for name, own in shown.items() for number in sorted(own)), "derived")


@pytest.mark.parametrize("shot", [1, 3])
def test_episodes_are_those_of_a_plain_loop(shot):
    generator = np.random.default_rng(shot)
    shown = {f"i{n}": {int(c) for c in generator.choice(8, generator.integers(0, 4)) + 1} for n in range(60)}
    base, novel = [1, 2, 3, 4, 5], [6, 7, 8]
    episodes = bam_gfss_episodes(listed(shown), base, novel, shot=shot, seed=365, streams=8)
    drawn = [next(episodes) for _ in range(150)]  # more than two passes
    found = [(episode.query, episode.classes[-1], episode.supports[-1]) for episode in drawn]
    assert found == plainly(shown, base, novel, shot, 365, 8, 150)
    assert all(e.classes[:5] == tuple(base) and e.supports[:5] == ((),) * 5 for e in drawn)
    assert all(e.query_class in shown[e.query] for e in drawn)
    assert any(e.classes[-1] not in shown[e.query] for e in drawn)


def test_header_draws_and_what_is_refused(scenes):
    data, protocol = Pascal(str(scenes)), load_protocol("bam_gfss")
    header = protocol.manifest(data, Task(0, shot=2)).header
    assert header.class_ids == [*range(6, 21), *NOVEL] and protocol.draw.novel_classes(header) == [*NOVEL]
    assert header.requested == header.official_episodes == 1000 and header.seed == 510 and header.all_classes
    drawn = protocol.manifest(data, Task(0, episodes=8, draws=3))
    assert len(drawn.episodes) == 24 and all(len(e.supports[-1]) == 1 for e in drawn.episodes)
    assert [e.classes for e in drawn.episodes[:8]] == [e.classes for e in drawn.episodes[16:]]
    nested = protocol.manifest(data, Task(0, episodes=8, nested_in=2))
    both = protocol.manifest(data, Task(0, episodes=8, shot=2))
    assert [e.supports[-1] for e in nested.episodes] == [e.supports[-1][:1] for e in both.episodes]
    with pytest.raises(
        DataError, match=r"too few images of some classes .*\(aeroplane 4, .*; 6 each are needed\).*--drop-small"
    ):
        protocol.manifest(data, Task(0, shot=5))
    with pytest.raises(DataError, match=r"0 of 5 classes are left, since --drop-small .*\(aeroplane 4, .*; 6 each"):
        protocol.manifest(data, Task(0, shot=5, drop_small=True))
    with pytest.raises(SettingsError, match=r"kept_support is 0.5, and the protocol bam_gfss has supports with whole"):
        episodic(data, "bam_gfss", kept_support=0.5)
    with pytest.raises(SettingsError, match="train with --protocol pfenet, and test what was trained"):
        protocol.training_pool(data, Task(0))


def test_classes_with_few_images_can_be_left_out(scenes):
    """Class 1 has four images (b2, too), the others three or four: 3 shots leave those of four."""
    header = load_protocol("bam_gfss").manifest(Pascal(str(scenes)), Task(0, shot=3, drop_small=True)).header
    assert header.dropped_classes == [3, 4, 5] and header.class_ids == [*range(6, 21), 1, 2]


def test_bam_labels_base_classes_and_the_novel_one(scenes):
    data = episodic(Pascal(str(scenes)), "bam_gfss", shot=2, image_size=41, workers=0, episodes=4)
    (episode,) = next(iter(data.test_dataloader())).split()
    assert episode.query_sizes.tolist() == [[180, 180]] and episode.support.shape == (1, 16, 2)
    assert episode.counted_pixels.sum() == 24 * 40  # the padding is told, void is not
    names = [data.dataset.class_names[number - 1] for number in data.manifest.episodes[0].classes]
    supports = batch_support_images(episode, names)  # pictures show no supports of base classes, nor padding
    assert [one.caption for one in supports] == [f"support {shot}: {names[15]}" for shot in (1, 2)]
    query = batch_query_image(episode, names)
    assert query.slots.shape == (140, 180) and query.pixels.shape == (31, 41, 3)  # 41 * 140 / 180

    torch.manual_seed(0)
    method = BAM(BackboneConfig("pspnet_vgg16", "random"), width=8).eval()
    logits = torch.randn(1, 61, 3, 3)  # of random weights, which know 60 classes: the first 16 are taken
    logits[0, 0, 0, 0] = logits[0, 15, 2, 2] = logits[0, 40, 1, 1] = 9
    method.base_logits = lambda _: logits
    method.keeps_soft_masks = method.segments_base_classes
    found = {}
    for merge, tau in (("final", 0.0), ("base", 0.0), ("final", 0.999)):
        method.merge, method.merge_tau = merge, tau
        with torch.inference_mode():
            found[merge, tau] = method(episode.without_truth())
    at_input = F.interpolate(logits[:, :16], (41, 41), mode="bilinear", align_corners=True)
    alone = F.interpolate(at_input, (180, 180), mode="bilinear", align_corners=True)[0].argmax(0)
    assert alone.max() == 15 and alone.min() == 0
    assert (found["final", 0.0].label_map == 16).all()  # a probability is above 0 everywhere
    assert torch.equal(found["final", 0.999].label_map, alone)
    assert torch.equal(found["base", 0.0].label_map, torch.where(alone == 0, 16, alone))
    one = found["final", 0.999]
    assert one.probability.shape == (16, 180, 180) and one.attention.shape[0] == 16
    assert not one.attention[:15].any() and one.attention[15].any()
    learned = method.backbone.state
    learned["base_learner.2.bias"] = learned["base_learner.2.bias"][:15]
    with pytest.raises(SettingsError, match=r"has 14 base classes, the test asks for 15; give a PSPNet"):
        method(episode.without_truth())
    assert not BAM(BackboneConfig("demo"), width=8, base_learner=False).segments_base_classes
    with pytest.raises(SettingsError, match="expected final or base, and 0 to below 1"):
        BAM(BackboneConfig("pspnet_vgg16", "random"), merge_tau=1.0)

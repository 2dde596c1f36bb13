"""VRP-SAM around its goldens: annotations, shots, ways, what is kept of frozen networks, checkpoints, and training."""

import math
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.kinds.mask_folder import read_names
from fsbench.methods.vrp_sam import VRPSAM
from fsbench.methods.vrp_sam.encoder import pseudo_mask
from fsbench.networks.backbones.sam import BesideSamConfig
from fsbench.runner.config.registry import config_files
from fsbench.runner.contract.episodes import segmentation_episode
from tests.data_modules import episodic
from tests.methods.small import chosen, data

pytest.importorskip("transformers")


def on_demo(**options) -> VRPSAM:
    torch.manual_seed(0)
    backbone = BesideSamConfig("demo", sam="sam_demo", sam_weights="random:1")
    return VRPSAM(backbone, **{"width": 32, "prompts": 6} | options).eval()


def on_vgg(**options) -> VRPSAM:
    torch.manual_seed(0)
    backbone = BesideSamConfig("vrp_vgg16", "random", sam="sam_demo")
    return VRPSAM(backbone, **{"width": 32, "prompts": 6} | options).eval()


def episode(ways: int = 1, shots: int = 1, number: int = 0):
    return segmentation_episode(0, number, ways, shots, 64).without_truth()


def test_only_foreground_cells_are_compared():
    """The pseudo mask equals the formula of vrp-sam.md §5, also where the mask is fractional, empty or full."""
    torch.manual_seed(0)
    support, query = torch.randn(4, 12, 9, 9), torch.randn(4, 12, 9, 9)
    masks = torch.zeros(4, 1, 9, 9)
    masks[0, :, 2:5, 3:7], masks[1], masks[3, :, 4, 4] = 1, 1, 0.25
    found, cells = pseudo_mask(support, query, masks), (support * masks).flatten(2)
    norms = cells.norm(dim=1)[:, :, None] * query.flatten(2).norm(dim=1)[:, None]
    expected = (torch.einsum("bci,bcj->bij", cells, query.flatten(2)) / (norms + 1e-7)).amax(1)
    torch.testing.assert_close(found, expected.view(4, 1, 9, 9))
    assert not found[2].any() and found[1].min() < found[0].max()


def test_the_number_of_trained_parameters_is_the_papers():
    backbone = BesideSamConfig("vrp_resnet50", "random", sam="sam_vit_b", sam_weights="random")
    assert VRPSAM(backbone).num_trainable_parameters(1) == 1_592_064  # vrp-sam.md §1


def test_annotations_depend_on_seed_and_episode_alone_and_ways_have_their_own():
    method = on_demo(annotation="scribble")
    with torch.no_grad():
        first, again = method(episode(2)).logits, method(episode(2)).logits
        other = on_demo(annotation="scribble", seed=1)(episode(2)).logits
        turned = method(chosen(episode(2), ways=(1, 0))).logits
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.testing.assert_close(turned, first.flip(0))


def test_prompts_of_several_shots_are_joined_in_their_order():
    method, several = on_demo(), episode(1, 3)

    def prompts(shots):
        query, ways = method.ask(chosen(several, shots=shots))
        support = method.join(next(ways))
        return method.head(query.stages, support.features, support.cells).prompts

    with torch.no_grad():
        torch.testing.assert_close(prompts((0, 1, 2)), torch.cat([prompts((shot,)) for shot in range(3)]))


def test_frozen_networks_see_an_image_once_and_their_graph_is_not_held(blocks_folder, monkeypatch):
    method, seen = on_vgg().train(), []
    for name in ("encode", "encode_square"):
        own = getattr(type(method.backbone), name)
        monkeypatch.setattr(
            type(method.backbone),
            name,
            lambda self, *args, own=own, name=name: (seen.append(name), own(self, *args))[1],
        )
    module = data(blocks_folder, size=32, batch_size=2)
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    losses = method.losses_of_step(batch)
    query = method.query(method.features(batch, batch.query))
    assert not any(x.requires_grad for x in (*query.stages, query.encoding) if x is not None)
    losses["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())
    network = method.backbone.sam.promptable(torch.device("cpu")).model
    assert all(p.grad is None for p in network.parameters())
    before = seen.count("encode")
    method.losses_of_step(batch)
    assert before == len(batch.image_names) == seen.count("encode")


def test_what_it_was_told_follows_the_annotation():
    told = {kind: on_demo(annotation=kind).supervision for kind in ("mask", "box", "point", "scribble")}
    assert told == {
        "mask": ("masks",), "box": ("masks", "boxes"), "point": ("masks", "points"), "scribble": ("masks", "scribbles"),
    }  # fmt: skip
    assert on_demo().saw_test_classes == "no"


def test_maps_for_people_are_of_the_query_and_show_what_was_drawn():
    method, given = on_demo(annotation="point"), episode()
    maps = method.query_maps(given)
    assert list(maps) == ["annotation of the support", "pseudo mask", "attention of the prompts"]
    picture, image = maps["annotation of the support"], given.images[given.support[0, 0, 0]].permute(1, 2, 0)
    changed = (picture != image).any(2)
    assert 20 <= int(changed.sum()) <= 20 * 9
    torch.testing.assert_close(maps["attention of the prompts"].sum(), torch.tensor(1.0))


@pytest.mark.slow(3)
def test_training_on_pascal_goes_through_the_images_of_bams_list(real_data, tmp_path):
    """As the authors' program, whose epoch on this sample has 74 items and 10 steps; hsnet's has 157 pairs (§8, §9)."""
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (tmp_path / folder).symlink_to(real_data / "voc-mini" / folder)
    lists = shutil.copytree(real_data / "voc-mini/ImageSets", tmp_path / "ImageSets") / "Segmentation"
    sbd = [
        name
        for name in read_names(real_data / "official-lists/hmnet/pascal/sbd_data.txt")
        if (tmp_path / f"JPEGImages/{name}.jpg").is_file()
    ]
    (lists / "sbd_train.txt").write_text("".join(f"{name}\n" for name in sbd))
    options = {}
    for file in config_files("vrp_sam", "pascal"):
        given = yaml.safe_load(file.read_text()).get("data", {}).get("init_args", {})
        options |= given.get("test", {}) | given.get("training", {})
    module = episodic(Pascal(str(tmp_path)), **options | {"fold": 3, "image_size": 32, "workers": 0})

    test, novel, base = set(read_names(lists / "val.txt")), range(16, 21), range(1, 16)
    shown = {}  # image of BAM's list -> its base classes, by the text of the rule
    for name in dict.fromkeys(sbd + read_names(lists / "train.txt")):
        labels = np.array(Image.open(tmp_path / f"SegmentationClassAug/{name}.png"))
        listed = any((labels == number).sum() >= 2048 for number in base) and not np.isin(labels, novel).any()
        if name not in test and listed:
            shown[name] = {number for number in base if (labels == number).any()}
    items = module.train_dataloader()
    assert module.protocol.name == "hsnet" and len(items.dataset) == len(shown) == 74
    assert len(items.batch_sampler) == math.ceil(math.ceil(74 / 4) / 2) == 10
    drawn = [items.dataset._episode(epoch, place) for epoch in range(8) for place in range(74)]
    assert [one.query for one in drawn] == [*shown] * 8
    assert {(one.query, *one.classes) for one in drawn} <= {(name, n) for name, own in shown.items() for n in own}
    several = [name for name, own in shown.items() if len(own) > 1]
    assert any(len({one.classes for one in drawn if one.query == name}) > 1 for name in several)
    test_alone = episodic(Pascal(str(tmp_path)), **options | {"training_protocol": None, "fold": 3})
    assert module.manifest.sha256 == test_alone.manifest.sha256
    assert len(test_alone.training_pool.pairs) == 157

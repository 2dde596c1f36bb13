"""IFA's own rules beside the goldens: orders of shots, programs, checkpoints, adaptation (ifa.md)."""

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.adaptation import Adaptation
from fsbench.core.query_changes import QueryChanges
from fsbench.data.batch import collate, normalise
from fsbench.methods.ifa import IFA
from fsbench.methods.ifa.network import LearnedResNet, released_name
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.contract.episodes import segmentation_episode

DEMO = BackboneConfig("demo", "random:1")
STRICT = Adaptation(images="episode", epochs=2, learning_rate=1e-2)
NONE = Adaptation(images="none")


def ifa(**settings) -> IFA:
    return IFA(DEMO, **{"adaptation": NONE, **settings}).eval()


def episode(number: int = 0, ways: int = 1, shots: int = 1):
    return segmentation_episode(0, number, ways, shots, 128)


def item(number: int, shots: int = 1):
    """A training item, whose truth has the images' size."""
    given = episode(number, shots=shots)
    truth = given.known_truth()
    maps = [F.interpolate(one[None, None].float(), (128, 128))[0, 0].to(torch.uint8) for one in truth.label_maps]
    size = torch.tensor([[128, 128]])
    return replace(given, truth=replace(truth, label_maps=maps), query_sizes=size)


def answer(method: IFA, given) -> Tensor:
    with torch.inference_mode():
        return method(given.without_truth()).logits


def losses(method: IFA, batch, program: str = "adaptation") -> float:
    method.train()
    with torch.no_grad():
        return float(method.losses(*method.lesson(batch), program)["loss"])


@pytest.mark.slow(2)
def test_matched_shots_make_the_loss_a_mean_of_items_and_the_programs_order_does_not():
    items = [item(number, shots=2) for number in (0, 1)]
    matched, program = ifa(shot_order="matched"), ifa()
    alone = [losses(matched, one) for one in items]
    assert losses(matched, collate(items)) == pytest.approx(sum(alone) / 2, abs=1e-4)
    assert [losses(program, one) for one in items] == alone  # one item has no other to be mixed up with
    assert abs(losses(program, collate(items)) - sum(alone) / 2) > 1e-2
    assert matched.step_is_a_mean and not program.step_is_a_mean
    assert not ifa(shot_order="matched", replicas=2).step_is_a_mean


@pytest.mark.parametrize(("shots", "moves"), [(1, False), (2, True)])
def test_a_batch_over_two_gpus_holds_supports_against_other_items_masks(shots, moves):
    batch = collate([item(number, shots=shots) for number in (0, 1)])
    one, two = (losses(ifa(shot_order="matched", replicas=replicas), batch) for replicas in (1, 2))
    assert (abs(one - two) > 1e-2) == moves
    if not moves:
        assert one == pytest.approx(two, abs=1e-5)


def test_base_training_looks_at_one_round_and_the_adaptation_at_three():
    method, batch = ifa(), collate([item(0), item(1)])
    assert losses(method, batch, "base") < losses(method, batch)
    slip = ifa(refine=False)
    assert losses(slip, batch, "base") > losses(slip, batch) > 0
    with pytest.raises(SettingsError, match="training_shot is 5 and refine false, with which the authors' base train"):
        slip.check_shots(1, 5)
    slip.check_shots(5, 1)


def test_an_authors_checkpoint_is_known_and_another_is_not():
    own = LearnedResNet("resnet50", (1, 1, 1, 1)).state_dict()
    state = {released_name(name): value for name, value in own.items()}
    assert "layer0.0.0.weight" in state and "layer0.1.running_var" in state
    learned, frozen = IFA.released_format.split(state)
    assert set(learned) == {f"network.{name}" for name in own} and not frozen
    assert IFA.released_format.join(learned, {}).keys() == state.keys()
    assert IFA.released_format.split({"layer0.0.weight": torch.zeros(1)}) is None


@pytest.mark.slow(2)
def test_adaptation_to_an_episode_is_a_plain_loop_and_leaves_the_method_as_it_was():
    method, given = ifa(adaptation=STRICT), episode(3, shots=2)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    found = answer(method, given)
    plain = ifa(learning_rate=1e-2)
    parameters = [p for p in plain.network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, 1e-2, momentum=0.9, weight_decay=5e-4)
    images = torch.stack([given.pixels(row) for row in given.support[0, 0].tolist()])[:, None]
    masks = given.support_masks[0, 0][:, None]
    changes = QueryChanges(STRICT.flip, STRICT.shuffle)
    for step in range(2):
        rng = random.Random(repr((0, int(given.episodes[0]), step)))
        shot = rng.randrange(2)
        shown = given.images[given.support[0, 0, shot]].permute(1, 2, 0).numpy()
        image, mask = changes(shown, masks[shot, 0].numpy().astype(np.uint8), rng)
        query = normalise(torch.from_numpy(image).permute(2, 0, 1).contiguous())
        optimizer.zero_grad()
        truth = torch.from_numpy(mask)[None] == 1
        plain.image_loss(plain.network, query[None], images, truth, masks, "adaptation").backward()
        optimizer.step()
    torch.testing.assert_close(found, answer(plain, given), atol=1e-4, rtol=0)
    assert not torch.equal(found, answer(ifa(), given))
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_a_run_says_what_it_is_adapted_to():
    data = SimpleNamespace(adaptation_images=lambda adaptation: SimpleNamespace(images_a_class=adaptation.epochs))
    told, drawn = ifa(adaptation=Adaptation()).record_notes(data)
    assert told.startswith("learned from 20 labelled images a class of the test's own pool before the test")
    assert "one process learns them in order" in drawn
    assert "adapted to the supports of each episode, in 2 steps" in ifa(adaptation=STRICT).record_notes(data)[0]
    assert ifa(adaptation=STRICT).needs.adaptation is None
    assert ifa().record_notes(data) == ["not adapted to the test's images; IFA's published rows are"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"replicas": 0}, "replicas is 0 and decay_items 24000; expected 1 or more"),
        ({"decay_items": 0}, "replicas is 1 and decay_items 0; expected 1 or more"),
        ({"vit_blocks": (3, 6)}, r"vit_blocks are \[3, 6\], expected the first learned and the last used of the 6"),
        ({"learning_rate": -1.0}, "learning_rate is -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(SettingsError, match=words):
        ifa(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "adaptation.epochs is 0, expected 1 or more"),
        ({"items": 0}, "adaptation.items is 0, expected 1 or more"),
        ({"learning_rate": 0.0}, "adaptation.learning_rate is 0 and adaptation.flip 0.5; expected a rate above 0"),
        ({"flip": 1.5}, "adaptation.flip 1.5; expected a rate above 0, and a probability"),
    ],
)
def test_settings_of_an_adaptation_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(SettingsError, match=words):
        Adaptation(**settings)


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        ("vgg16", "the backbone 'vgg16' cannot be learned by IFA; expected dilated_resnet50, dilated_resnet101"),
        ("dilated_vgg16", "IFA's network is a ResNet"),
    ],
)
def test_other_networks_are_refused(backbone, words):
    with pytest.raises(SettingsError, match=words):
        IFA(BackboneConfig(backbone, "random:1"))


def test_an_adaptation_to_supports_changes_colours_also_where_a_protocol_resizes_to_float():
    method, given = ifa(adaptation=STRICT), episode(3)
    assert torch.equal(answer(method, replace(given, images=given.images.float())), answer(method, given))

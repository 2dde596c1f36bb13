"""The base of functions of one way: its loops over ways and shots against plain ones, its training, its cache."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsbench.base.errors import ContractError
from fsbench.core.outputs import Competition, Context, Output
from fsbench.core.segmenter import Segmenter
from fsbench.core.shot_ensemble import ENSEMBLES
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenViT
from fsbench.runner.contract.episodes import segmentation_episode
from fsbench.runner.contract.subject import run_test
from tests.methods.small import chosen

SIDE = 32


class Likeness(Segmenter):
    """Logits by the cosine of tokens with the mean of those under the mask."""

    shots = "add"
    backbone_type = FrozenViT

    def __init__(self, backbone: BackboneConfig):
        super().__init__(backbone)
        self.scale = nn.Parameter(torch.tensor(7.0))

    def query(self, image):
        return F.normalize(image[:, -1, 1:], dim=-1)

    def support(self, image, mask):
        tokens = F.normalize(image[:, -1, 1:], dim=-1)
        side = round(tokens.shape[1] ** 0.5)
        share = F.adaptive_avg_pool2d(mask[:, None].float(), side).flatten(1)[..., None]
        return (tokens * share).sum(1) / share.sum(1).clamp(min=1e-6)

    def segment(self, query, support):
        similar = (query @ support[..., None])[..., 0]
        side = round(similar.shape[1] ** 0.5)
        maps = self.scale * similar.unflatten(1, (side, side))
        return Output(torch.stack([0.5 * maps.abs(), maps], 1), attention=maps.sigmoid())


class FlipsQuery(Likeness):
    def query(self, image):
        image.copy_(image.flip(-1))
        return super().query(image)


class FlipsSupport(Likeness):
    def support(self, image, mask):
        image.neg_()
        return super().support(image, mask)


class ScalesQuery(Likeness):
    def query(self, image):
        return image[:, -1, 1:]

    def segment(self, query, support):
        return super().segment(F.normalize(query.mul_(2), dim=-1), support)


class FlipsLabels(Likeness):
    reads_void = True

    def support(self, image, mask):
        mask.copy_(mask.flip(-1))
        return super().support(image, mask == 1)


class FlipsEpisode(Likeness):
    def answer(self, episode):
        episode.images.copy_(episode.images.flip(-1))
        return super().answer(episode)


class ScalesThroughState(Likeness):
    """Its state is a view of the features that are kept."""

    def support(self, image, mask):
        return image[:, -1, 1:]

    def segment(self, query, support):
        return super().segment(query, support.mul_(2).mean(1))


class ScalesState(Likeness):
    keeps_states = True

    def segment(self, query, support):
        return super().segment(query, support.mul_(2))


class AddsToState(Likeness):
    keeps_states, shots = True, "joined"

    def join(self, supports):
        total = next(supports)
        for state in supports:
            total += state
        return total


class Joined(Likeness):
    shots = "joined"

    def join(self, supports):
        return torch.stack(list(supports)).mean(0)


class Voting(Likeness):
    shots = "vote"


class Competing(Likeness):
    competes = True

    def join(self, supports):
        return torch.stack([torch.stack(list(of_way)).mean(0)[0] for of_way in supports])

    def segment(self, query, support):
        similar = (query[0] @ support.T).T
        side = round(similar.shape[1] ** 0.5)
        return Competition(torch.cat([similar.new_full((1, len(query[0])), 0.3), similar]).view(1, -1, side, side))


@pytest.fixture
def episode():
    return next(segmentation_episode(3, 0, 2, 3, SIDE).split()).without_truth()


def build(kind: type[Segmenter]) -> Segmenter:
    return kind(BackboneConfig("demo")).eval()


def plain_logits(method: Likeness, episode) -> torch.Tensor:
    """Logits (N, K, 2, h, w) of each way and shot by itself, without a cache."""
    size = tuple(episode.query_sizes[0].tolist())
    query = method.query(method.backbone.encode(episode.pixels(int(episode.query[0])))[None])
    found = []
    for rows, masks in zip(episode.support[0].tolist(), episode.support_masks[0], strict=True):
        images = [method.backbone.encode(episode.pixels(row))[None] for row in rows]
        states = [method.support(image, mask[None]) for image, mask in zip(images, masks, strict=True)]
        logits = [method.segment(query, state).logits for state in states]
        found.append(torch.cat([F.interpolate(x, size, mode="bilinear", align_corners=True) for x in logits]))
    return torch.stack(found)


def test_probabilities_of_shots_are_added_and_a_second_softmax_decides(episode):
    method = build(Likeness)
    with torch.no_grad():
        found, sums = method(episode), plain_logits(method, episode).softmax(2).sum(1)
    value, way = sums.softmax(1)[:, 1].max(0)
    assert torch.equal(found.label_map, torch.where(value < 0.5, 0, way + 1)) and found.present is None
    torch.testing.assert_close(found.logits.exp(), sums)


def test_shots_vote_and_one_alone_decides_by_its_logits(episode):
    method = build(Voting)
    with torch.no_grad():
        found, logits = method(episode), plain_logits(method, episode)
    votes = (logits[:, :, 1] > logits[:, :, 0]).sum(1)
    foreground = 2 * votes >= votes.amax((1, 2), keepdim=True).clamp(min=1)
    assert torch.equal(found.label_map > 0, foreground.any(0)) and found.logits is None
    torch.testing.assert_close(found.probability, logits.softmax(2)[:, :, 1].mean(1))


@pytest.mark.parametrize("kind", [Likeness, Voting, Joined])
def test_a_way_is_answered_alike_alone_and_beside_others(kind, episode):
    method = build(kind)
    alone = episode.__class__(**vars(episode))
    alone.support, alone.support_labels, alone.valid = (
        part[:, 1:] for part in (episode.support, episode.support_labels, episode.valid)
    )
    with torch.no_grad():
        both, one = method(episode), method(alone)
    assert torch.equal(both.foreground()[1], one.foreground()[0])


def test_shots_that_are_joined_are_one_support(episode):
    method = build(Joined)
    with torch.no_grad():
        query, supports = method.ask(episode)
        expected = [method.segment(query, torch.stack(list(way)).mean(0)).logits for way in supports]
        found = method(episode)
    size = tuple(episode.query_sizes[0].tolist())
    full = torch.cat([F.interpolate(x, size, mode="bilinear", align_corners=True) for x in expected])
    torch.testing.assert_close(found.logits, full)


@pytest.mark.parametrize("rule", ["joined", "add"])
def test_a_method_decides_presence_by_each_rule(rule, episode):
    class Told(Joined):
        shots = rule

        def segment(self, query, support):
            seen = support[:, 0]
            return Output(super().segment(query, support).logits, presence=torch.stack([0 * seen, seen], 1))

    method = build(Told)
    with torch.no_grad():
        found, supports = method(episode), [torch.stack(list(way)) for way in method.ask(episode)[1]]
    seen = [
        way[..., 0].mean(0) if rule == "joined" else way[..., 0].sigmoid().sum(0) - len(way) / 2 for way in supports
    ]
    assert found.present.tolist() == [bool(one > 0) for one in seen]


@pytest.mark.parametrize("strategy", ENSEMBLES)
def test_a_run_may_ask_for_an_ensemble_of_single_shots(strategy, episode):
    method = build(Joined)
    with torch.no_grad():
        expected = method(chosen(episode, shots=(0,)))
        method.nshot_strategy = strategy
        twin, several = (method.predict_shots(one) for one in (chosen(episode, shots=(0, 0)), episode))
    assert torch.equal(twin.label_map, expected.label_map)
    assert twin.logits is None and several.logits is None  # which the method's own rule has
    torch.testing.assert_close(twin.foreground(), expected.foreground(), atol=1e-5, rtol=0)


def test_ways_and_background_compete(episode):
    method = build(Competing)
    with torch.no_grad():
        query, supports = method.ask(episode)
        expected = method.segment(query, method.join(supports)).logits
        found = method(episode)
    size = tuple(episode.query_sizes[0].tolist())
    full = F.interpolate(expected, size, mode="bilinear", align_corners=True)[0]
    assert torch.equal(found.label_map, full.argmax(0))
    torch.testing.assert_close(found.foreground(), full.softmax(0)[1:])


def test_the_attention_is_the_mean_over_shots_and_there_where_it_is_kept(episode):
    method = build(Likeness)
    with torch.no_grad():
        assert method(episode).attention is None
        method.keeps_soft_masks = True
        query, supports = method.ask(episode)
        expected = [torch.stack([method.segment(query, s).attention[0] for s in way]).mean(0) for way in supports]
        torch.testing.assert_close(method(episode).attention, torch.stack(expected))


def test_the_loss_of_a_batch_is_that_of_its_first_shots():
    batch, method = segmentation_episode(5, 0, 1, 2, SIDE, training=True), build(Likeness).train()
    found = method.batch_loss(batch)["loss"]
    truth = batch.known_truth()
    logits = torch.stack([plain_logits(method, one)[0, 0] for one in batch.split()])
    target = (torch.stack(truth.label_maps) == 1).long()
    torch.testing.assert_close(found, F.cross_entropy(logits, target))
    found.backward()
    assert method.scale.grad is not None and method.trains_one_shot


def test_a_lesson_has_the_supports_of_each_shot_with_their_masks():
    batch, method = segmentation_episode(5, 0, 1, 2, SIDE, training=True), build(Joined).train()
    query, supports, target = method.lesson(batch)
    masks = torch.stack([mask for _, mask in supports], 1)
    assert torch.equal(masks, batch.support_masks[:, 0]) and len(query) == len(batch)
    assert torch.equal(target.labels, torch.stack(batch.known_truth().label_maps))


def test_ways_may_be_told_of_one_another(episode):
    class Told(Likeness):
        def all_ways(self, supports):
            ways = [list(of_way) for of_way in supports]
            return (iter([state - sum(map(sum, ways)) for state in of_way]) for of_way in ways)

    method = build(Told)
    with torch.no_grad():
        alone, told = ([torch.cat(list(way)) for way in kind.ask(episode)[1]] for kind in (build(Likeness), method))
    every = torch.cat(alone).sum(0)
    torch.testing.assert_close(told, [way - every for way in alone])


def test_the_inner_part_of_a_square_ends_where_padding_begins():
    counted = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    counted[:, :20, :] = True
    assert Context(SIDE, counted=counted).inner == (20, SIDE) and Context(SIDE).inner == (SIDE, SIDE)


def test_what_an_evaluation_keeps_may_be_trained_with():
    class Scaled(Likeness):
        def query(self, image):
            return self.scale * image[:, -1, 1:]

    batch, method = segmentation_episode(5, 0, 1, 1, SIDE, training=True), build(Scaled)
    with torch.inference_mode():
        method(next(batch.split()).without_truth())
    method.train().losses_of_step(batch)["loss"].backward()
    assert method.scale.grad is not None


def test_an_image_is_encoded_once(episode, monkeypatch):
    method, seen = build(Likeness), []
    encode = method.backbone.encode
    monkeypatch.setattr(method.backbone, "encode", lambda pixels: seen.append(0) or encode(pixels))
    with torch.no_grad():
        first, second = method(episode), method(episode)
    assert len(seen) == len({int(row) for row in (*episode.query, *episode.support.flatten())})
    assert torch.equal(first.label_map, second.label_map)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (FlipsQuery, "query() of FlipsQuery changed its argument image in place"),
        (FlipsSupport, "support() of FlipsSupport changed its argument image in place"),
        (ScalesQuery, "segment() of ScalesQuery changed its argument query in place"),
        (FlipsLabels, "support() of FlipsLabels changed its argument mask in place"),
        (FlipsEpisode, "FlipsEpisode changed its argument episode.images in place"),
        (ScalesThroughState, "ScalesThroughState changed the kept features in place"),
        (ScalesState, "segment() of ScalesState changed its argument support in place"),
        (AddsToState, "AddsToState changed the kept states in place"),
    ],
)
def test_a_method_that_writes_into_what_is_kept_is_stopped_at_once(kind, said):
    """Other episodes, and further ways, would be answered from what it left there."""
    method = kind(BackboneConfig("demo")).eval()
    with pytest.raises(ContractError, match=re.escape(said)):
        run_test(method, [segmentation_episode(0, 0, 2, 2, SIDE)])


@pytest.mark.parametrize("kind", ["features", "states"])
def test_what_was_written_between_two_uses_is_found_at_the_second(kind):
    method, episode = Likeness(BackboneConfig("demo")).eval(), segmentation_episode(0, 0, 2, 1, SIDE)
    method.keeps_states = True
    run_test(method, [episode] * 2)
    method.predict_shots(episode)  # after the test, which ends with a change of the mode
    next(iter(method.backbone.cache._kinds[kind].values())).value.mul_(2)
    with pytest.raises(ContractError, match=f"changed the kept {kind} in"):
        method.predict_shots(episode)

"""SegIC: names of released files, correspondence, the letterbox, names of classes, refusals, losses by the episode."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.core.outputs import Context
from fsbench.data.batch import EpisodeBatch, Hints, collate
from fsbench.data.transforms import own_pixels
from fsbench.methods.segic import SegIC
from fsbench.methods.segic.correspondence import best_points, prototypes, similarity
from fsbench.methods.segic.head import at_original, at_square
from fsbench.methods.segic.training import true_boxes
from fsbench.networks.backbones.text import FrozenClipText, TextConfig, ViTAndTextConfig
from fsbench.runner.contract.episodes import segmentation_episode
from tests.methods.small import predict

pytest.importorskip("transformers")

SIDE = 128
BACKBONE = ViTAndTextConfig("demo", text="clip_text_demo", text_weights="random:1")


def method(**settings: object) -> SegIC:
    torch.manual_seed(1)
    found = SegIC(BACKBONE, **{"training": "episodes", "width": 32} | settings)
    with torch.no_grad():
        for parameter in found.head.parameters():  # first weights answer little to prompts
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return found.eval()


def an_episode(ways: int = 1, shots: int = 1, number: int = 1) -> EpisodeBatch:
    return next(segmentation_episode(number, 0, ways, shots, SIDE).split())


def foreground(found: SegIC, episode: EpisodeBatch) -> torch.Tensor:
    logits = predict(found, episode).logits
    assert logits is not None
    return logits[:, 1]


def test_the_similarity_of_shots_is_the_mean_of_theirs():
    torch.manual_seed(0)
    query, prototype = torch.randn(100, 8, 8), torch.randn(3, 100)
    prototype[2] = 0
    alone = similarity(prototype[:, None], query, 112, tau=0.5)
    pooled = similarity(prototype[None], query, 112, tau=0.5)
    torch.testing.assert_close(pooled, alone.mean(0, keepdim=True), atol=1e-5, rtol=1e-5)
    assert best_points(alone)[2].tolist() == [0, 0]  # an object too small for a cell resembles nothing


def test_an_object_without_a_cell_vanishes_or_is_weighed_by_its_area():
    support, mask = torch.randn(5, 4, 4), torch.zeros(3, 56, 56)
    mask[0, 14:42, :28] = 1
    mask[1, :3, :4] = mask[1, 14, 55] = 1  # 12 pixels in one cell, none of them in its middle, and one in another
    found = prototypes(support, mask, "area")
    assert torch.equal(found[0], prototypes(support, mask)[0]) and not prototypes(support, mask)[1:].any()
    torch.testing.assert_close(found[1], (12 * support[:, 0, 0] + support[:, 1, 3]) / 13)
    assert not found[2].any()


def test_a_peak_in_the_padding_counts_unless_it_is_looked_for_in_the_image():
    context = Context(SIDE, counted=own_pixels((40, 120), SIDE, "letterbox"))
    height, _ = context.inner
    maps = torch.zeros(1, 1, SIDE, SIDE)
    maps[0, 0, height, 3], maps[0, 0, height - 1, 5] = 2, 1
    for peak, point in (("square", [3, height]), ("image", [5, height - 1])):
        found = method(peak=peak)
        found.context = context
        assert found.peak_point(maps).tolist() == [point]


def test_ways_are_compared_and_decoded_one_at_a_time():
    """Their memory, and that of their shots, does not add up."""
    found, shapes = method(), []
    found.head.prompt_encoder.mask_embed.register_forward_hook(lambda _, given, __: shapes.append(given[0].shape))
    predict(found, an_episode(ways=5, shots=5))
    assert shapes == 5 * [(1, 1, SIDE, SIDE)]


def test_an_answer_is_that_of_the_steps_written_out():
    """Two ways together, over a query that is not square, in its letterbox."""
    found, episode = method(), an_episode(ways=2)
    size, inside = (90, 120), own_pixels((90, 120), SIDE, "letterbox")
    episode = replace(episode, query_sizes=torch.tensor([size]), counted_pixels=inside)
    maps = [found.backbone.patch_map(episode.pixels(row)) for row in range(3)]
    masks = [episode.support_masks[0, way].float() for way in (0, 1)]
    both = torch.cat([prototypes(maps[1 + way], masks[way]) for way in (0, 1)])
    names = episode.hints[0].class_names
    texts = torch.stack([found.backbone.text.pooled(f"a photo of a {n}", torch.device("cpu")) for n in names])
    with torch.no_grad():
        head = found.head
        likeness = similarity(both[:, None], maps[0], SIDE)
        tokens = head.cross_tokens(texts, both, torch.eye(2, dtype=torch.bool))
        low_res = head(head.neck_of(maps[0]), likeness, tokens, best_points(likeness)[:, None], torch.ones(2, 1))
        expected = at_original(at_square(low_res, SIDE), (96, 128), size)[:, 0]
    torch.testing.assert_close(foreground(found, episode), expected, atol=1e-4, rtol=1e-4)


def test_names_are_told_by_default_and_change_the_answer():
    found, episode = method(), an_episode()
    assert found.needs.hints == {"class names"} and found.supervision == ("masks", "class names")
    renamed = replace(episode, hints=[Hints(class_names=("zebra",))])
    assert not torch.equal(foreground(found, episode), foreground(found, renamed))
    silent = method(names=False)
    assert silent.needs.hints == set() and silent.supervision == ("masks",)
    torch.testing.assert_close(foreground(silent, episode), foreground(silent, replace(episode, hints=None)))
    with pytest.raises(SettingsError, match="names is true, but the episodes tell no class names; expected"):
        predict(found, replace(episode, hints=None))


def test_the_authors_model_is_not_trained_here_and_has_seen_most_classes():
    authors = method(training="authors")
    with pytest.raises(SettingsError, match=r"give --ckpt FILE, or --model.training episodes"):
        authors.check_shots(1, 1)
    said = {name: authors.saw_classes_of(name) for name in ("coco", "lvis", "pascal", "fss1000", "isaid")}
    assert said == {"coco": "yes", "lvis": "yes", "pascal": "yes", "fss1000": "no", "isaid": "unknown"}
    assert method().saw_classes_of("coco") == "no"
    assert authors.beyond_authors_rule(5) and not authors.beyond_authors_rule(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 40}, "width is 40, expected a multiple of 16"),
        ({"tau": 0.0}, "tau is 0, learning_rate 0.0001 and weight_decay 0.0001; expected above 0"),
        ({"decay_epoch": 0}, "decay_epoch is 0 and seed 0; expected 1 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        method(**settings)


def test_a_released_file_is_split_and_joined():
    found = method()
    own, form = found.state_dict(), found.released_format
    theirs = form.join(own, {})
    named = ("neck.2.weight", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "prompt_proj.bias",
             "mask_decoder.transformer.layers.1.norm3.weight", "mask_decoder.iou_prediction_head.layers.1.bias",
             "mask_decoder.output_hypernetworks_mlps.3.layers.2.bias", "inst_type_embed.weight")  # fmt: skip
    assert {*named} <= theirs.keys() and len(theirs) == len(own)
    for state in (theirs, {f"module.{name}": value for name, value in theirs.items()}):
        learned, backbone = form.split(state)
        assert not backbone and learned.keys() == own.keys()
        assert all(torch.equal(learned[name], value) for name, value in own.items())
    assert form.split({"neck.0.weight": torch.zeros(1)}) is None


def test_the_text_encoder_reads_the_hubs_file_of_both_encoders(tmp_path):
    def network(weights: str) -> FrozenClipText:
        return FrozenClipText(TextConfig("clip_text_demo", weights, tokenizer=None))

    drawn = network("random:1")
    whole = {f"text_model.{name}": value.clone() for name, value in drawn.state.items()}
    whole |= {"vision_model.x": torch.zeros(2), "logit_scale": torch.zeros(1)}
    save_file(whole | {"text_model.embeddings.position_ids": torch.arange(77)}, tmp_path / "model.safetensors")
    read = network(str(tmp_path / "model.safetensors"))
    assert read.state.keys() == drawn.state.keys()
    with pytest.raises(CheckpointError, match=r"no file .*tokenizer\.json for its texts; expected the tokenizer\.json"):
        read.pooled("a cat", torch.device("cpu"))
    assert drawn.pooled("a cat", torch.device("cpu")).shape == (32,)
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="are of another network; expected CLIP's text encoder with 2 blocks"):
        network(str(tmp_path / "other.safetensors"))


def test_losses_are_means_over_the_episodes_alone():
    """What is drawn hangs on an episode's number, not on its batch or on torch's own generator."""
    found = method().train()
    episodes = [segmentation_episode(i, 0, 1, 1, SIDE, training=True) for i in (3, 4)]
    together = found.batch_loss(collate(episodes))
    torch.manual_seed(5)
    single = [found.batch_loss(episode) for episode in episodes]
    for name, value in together.items():
        torch.testing.assert_close(value, (single[0][name] + single[1][name]) / 2, atol=1e-5, rtol=1e-5)


def test_boxes_are_of_the_outermost_pixels():
    masks = torch.zeros(2, 10, 12)
    masks[0, 3:6, 2:9] = 1
    assert true_boxes(masks).tolist() == [[2, 3, 8, 5], [0, 0, 0, 0]]

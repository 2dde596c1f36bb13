"""SAM 3: names of its weights, those that do not fit, norms, texts (sam3-canvas.md §1)."""

import re

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fsbench.base.errors import CheckpointError
from fsbench.base.files import sha256_file
from fsbench.networks.backbones.hub_networks import new_network
from fsbench.networks.backbones.sam2_sam3 import SAM3S, TEXT_LENGTH, FrozenSam3, Sam3NetConfig, names_of_sam3
from fsbench.networks.backbones.text import BYTES_END, BYTES_START
from fsbench.networks.weights.files import renamed

pytest.importorskip("transformers")


def network(weights: str = "random:1", **settings: object) -> FrozenSam3:
    return FrozenSam3(Sam3NetConfig("sam3_demo", weights, **settings))


@pytest.fixture(scope="module")
def whole() -> FrozenSam3:
    """A network that no test changes."""
    return network()


VISION, TEXT = "backbone.vision_backbone.", "backbone.language_backbone."
CLIP, DECODER = r"^text_encoder\.text_model\.", r"^(transformer\.decoder\.layers\.\d+\.)"
LAYERS = r"^((?:geometry_encoder\.encode|transformer\.(?:encoder|decoder)\.layers)\.\d+\.)"
METAS = (
    (r"\.o_proj\.", ".out_proj."),
    (r"^vision_encoder\.backbone\.embeddings\.position_embeddings$", f"{VISION}trunk.pos_embed"),
    (r"^vision_encoder\.backbone\.embeddings\.patch_embeddings\.projection\.", f"{VISION}trunk.patch_embed.proj."),
    (r"^vision_encoder\.backbone\.layer_norm\.", f"{VISION}trunk.ln_pre."),
    (r"^vision_encoder\.backbone\.layers\.(\d+)\.layer_norm", rf"{VISION}trunk.blocks.\1.norm"),
    (r"^vision_encoder\.backbone\.layers\.(\d+)\.attention\.in_proj_", rf"{VISION}trunk.blocks.\1.attn.qkv."),
    (r"^vision_encoder\.backbone\.layers\.(\d+)\.attention\.out_proj", rf"{VISION}trunk.blocks.\1.attn.proj"),
    (r"^vision_encoder\.backbone\.layers\.", f"{VISION}trunk.blocks."),
    (r"^vision_encoder\.neck\.fpn_layers\.0\.scale_layers\.0", f"{VISION}convs.0.dconv_2x2_0"),
    (r"^vision_encoder\.neck\.fpn_layers\.(\d)\.scale_layers\.0", rf"{VISION}convs.\1.dconv_2x2"),
    (r"^vision_encoder\.neck\.fpn_layers\.(\d)\.scale_layers\.2", rf"{VISION}convs.\1.dconv_2x2_1"),
    (r"^vision_encoder\.neck\.fpn_layers\.(\d)\.proj1", rf"{VISION}convs.\1.conv_1x1"),
    (r"^vision_encoder\.neck\.fpn_layers\.(\d)\.proj2", rf"{VISION}convs.\1.conv_3x3"),
    (rf"{CLIP}embeddings\.position_embedding\.weight$", f"{TEXT}encoder.positional_embedding"),
    (rf"{CLIP}embeddings\.", f"{TEXT}encoder."),
    (rf"{CLIP}final_layer_norm", f"{TEXT}encoder.ln_final"),
    (rf"{CLIP}encoder\.layers\.(\d+)\.self_attn\.", rf"{TEXT}encoder.transformer.resblocks.\1.attn."),
    (rf"{CLIP}encoder\.layers\.(\d+)\.layer_norm", rf"{TEXT}encoder.transformer.resblocks.\1.ln_"),
    (rf"{CLIP}encoder\.layers\.(\d+)\.mlp\.fc1", rf"{TEXT}encoder.transformer.resblocks.\1.mlp.c_fc"),
    (rf"{CLIP}encoder\.layers\.(\d+)\.mlp\.fc2", rf"{TEXT}encoder.transformer.resblocks.\1.mlp.c_proj"),
    (r"^text_encoder\.text_projection\.weight$", f"{TEXT}encoder.text_projection"),
    (r"^text_projection\.", f"{TEXT}resizer."),
    (r"^geometry_encoder\.layers\.", "geometry_encoder.encode."),
    (r"^geometry_encoder\.vision_layer_norm\.", "geometry_encoder.img_pre_norm."),
    (r"^geometry_encoder\.prompt_layer_norm\.", "geometry_encoder.norm."),
    (r"^geometry_encoder\.output_layer_norm\.", "geometry_encoder.encode_norm."),
    (r"^detr_(encoder|decoder)\.", r"transformer.\1."),
    (rf"{DECODER}vision_cross_attn_layer_norm", r"\1norm1"),
    (rf"{DECODER}text_cross_attn_layer_norm", r"\1catext_norm"),
    (rf"{DECODER}self_attn_layer_norm", r"\1norm2"),
    (rf"{DECODER}mlp_layer_norm", r"\1norm3"),
    (rf"{DECODER}text_cross_attn\.", r"\1ca_text."),
    (rf"{LAYERS}cross_attn\.", r"\1cross_attn_image."),
    (rf"{DECODER}vision_cross_attn\.", r"\1cross_attn."),
    (rf"{LAYERS}layer_norm", r"\1norm"),
    (rf"{LAYERS}mlp\.fc", r"\1linear"),
    (r"^transformer\.decoder\.presence_layer_norm\.", "transformer.decoder.presence_token_out_norm."),
    (r"^transformer\.decoder\.output_layer_norm\.", "transformer.decoder.norm."),
    (r"^transformer\.decoder\.presence_head\.", "transformer.decoder.presence_token_head."),
    (r"^transformer\.decoder\.box_head\.", "transformer.decoder.bbox_embed."),
    (r"^transformer\.decoder\.box_rpb_embed_", "transformer.decoder.boxRPB_embed_"),
    (r"^dot_product_scoring\.text_mlp_out_norm\.", "dot_prod_scoring.prompt_mlp.out_norm."),
    (r"^dot_product_scoring\.text_mlp\.", "dot_prod_scoring.prompt_mlp."),
    (r"^dot_product_scoring\.text_proj\.", "dot_prod_scoring.prompt_proj."),
    (r"^dot_product_scoring\.query_proj\.", "dot_prod_scoring.hs_proj."),
    (r"^mask_decoder\.mask_embedder\.", "segmentation_head.mask_predictor.mask_embed."),
    (r"^mask_decoder\.(instance|semantic)_projection\.", r"segmentation_head.\1_seg_head."),
    (r"^mask_decoder\.prompt_cross_attn_norm\.", "segmentation_head.cross_attn_norm."),
    (r"^mask_decoder\.prompt_cross_attn\.", "segmentation_head.cross_attend_prompt."),
    (r"^mask_decoder\.", "segmentation_head."),
    *((rf"^((?:transformer\.decoder|dot_prod_scoring)\..*)\.layer{i + 1}\.", rf"\1.layers.{i}.") for i in range(3)),
)
"""Names of transformers and of Meta's file, after queries, keys and values became one: the table of sam3-canvas.md §1
read backwards."""


def official_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name the weights of a network as Meta's file does."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith("position_embeddings"):
            value = torch.cat([value[:, :1] * 0, value], 1)
        elif name == "text_encoder.text_projection.weight":
            value = value.T
        part = re.match(r"(.*)\.([qkv])_proj\.(weight|bias)$", name)
        if part is None:
            found[f"detector.{renamed(name, METAS)}"] = value
        elif part[2] == "q":
            parts = [value, *(state[f"{part[1]}.{other}_proj.{part[3]}"] for other in "kv")]
            found[f"detector.{renamed(f'{part[1]}.in_proj_{part[3]}', METAS)}"] = torch.cat(parts)
    return found


@pytest.mark.slow(3)
def test_metas_file_the_hubs_and_its_model_of_videos_are_one_network(whole, tmp_path):
    official = official_state(whole.state) | {
        "detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis": torch.zeros(3),
        "detector.geometry_encoder.points_direct_project.weight": torch.zeros(3),
        "tracker.maskmem_tpos_enc": torch.zeros(3),
    }
    assert not set(official) & set(whole.state)
    video = {f"detector_model.{name}": value for name, value in whole.state.items()} | {
        "tracker_neck.x": torch.zeros(2)
    }
    torch.save(official, tmp_path / "sam3.pt")
    for name, state in (("model", whole.state), ("video", video)):
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / f"{name}.safetensors")
    files = ("sam3.pt", "model.safetensors", "video.safetensors")
    assert {network(str(tmp_path / file)).digest for file in files} == {whole.digest}


def of_sam31(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name the weights of a network as the file of SAM 3.1 does, with parts of its tracker (sam3-exemplars.md §7)."""
    level, own = f"detector.{VISION}convs.", official_state(state)
    return {name: value for name, value in own.items() if not name.startswith(f"{level}3.")} | {
        f"detector.{VISION}interactive_convs.0.conv_1x1.weight": torch.zeros(2),
        "tracker.model.interactive_sam_mask_decoder.iou_token.weight": torch.zeros(2),
    }


@pytest.mark.slow(2)
def test_sam31_is_told_by_its_names_and_gives_the_same_answers(whole, tmp_path):
    image = torch.randint(0, 256, (3, 112, 112), dtype=torch.uint8)
    newer = of_sam31(whole.state)
    torch.save(newer, tmp_path / "sam3.1_multiplex.pt")
    found = network(str(tmp_path / "sam3.1_multiplex.pt"))
    assert (found.release, whole.release) == ("SAM 3.1", "SAM 3")
    concept, cpu = whole.concept("cat", torch.tensor([[0.5, 0.5, 0.2, 0.3]])), torch.device("cpu")
    found._texts = whole._texts  # there is no tokenizer
    one, other = (net.detect(image, concept, cpu) for net in (found, whole))
    assert torch.equal(one.scores, other.scores) and torch.equal(one.masks, other.masks)
    unmarked = {name: value for name, value in newer.items() if "interactive" not in name}
    torch.save(unmarked, tmp_path / "sam3.pt")  # the detector of SAM 3.1 alone, or SAM 3 that is damaged
    said = r"lack vision_encoder\.neck\.fpn_layers\.3\.\* alone, as the detector of SAM 3\.1 does; .* the whole file of"
    with pytest.raises(CheckpointError, match=said):
        network(str(tmp_path / "sam3.pt"))
    part = unmarked | {f"detector.{VISION}convs.3.conv_1x1.bias": torch.zeros(32)}
    torch.save(part, tmp_path / "part.pt")
    with pytest.raises(CheckpointError, match=r"3 keys missing: vision_encoder\.neck\.fpn_layers\.3\."):
        network(str(tmp_path / "part.pt"))
    less = {name: value for name, value in newer.items() if "bbox_embed" not in name}
    torch.save(less, tmp_path / "less.pt")
    with pytest.raises(CheckpointError, match=r"keys missing: detr_decoder\.box_head"):
        network(str(tmp_path / "less.pt"))


def test_images_are_stretched_in_whole_numbers(whole):
    ramp = torch.arange(200, dtype=torch.uint8)[None, None].repeat(3, 50, 1)
    square = whole.pixels(ramp)
    assert square.shape == (1, 3, 112, 112)
    grey = (square * 0.5 + 0.5) * 255
    torch.testing.assert_close(grey, grey.round(), atol=1e-4, rtol=0)
    assert (grey[0, 0, 0].diff() >= 0).all() and torch.equal(grey[0, 0, 0], grey[0, 0, -1])


def test_the_whole_networks_weights_have_places():
    """Every one of the released network's 1468 tensors is found under Meta's names."""
    with torch.device("meta"):
        state = new_network(SAM3S["sam3"], "a test").state_dict()
    found = names_of_sam3(official_state(state))
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in state.items()}


@pytest.mark.slow(2)
def test_weights_that_do_not_fit_are_refused_in_one_line(whole, tmp_path):
    state = official_state(whole.state)
    cases = {
        "less": ({k: v for k, v in state.items() if "query_embed" not in k}, "1 keys missing: .*query_embed"),
        "deeper": (state | {k.replace(".blocks.2.", ".blocks.3."): v for k, v in state.items()}, "SAM 3 with 4 blocks"),
    }
    for name, (content, message) in cases.items():
        torch.save(content, tmp_path / f"{name}.pt")
        with pytest.raises(CheckpointError, match=message) as refused:
            network(str(tmp_path / f"{name}.pt"))
        assert "\n" not in str(refused.value)


def test_norms_of_the_vit_are_metas():
    for name in SAM3S:
        with torch.device("meta"):
            model = new_network(SAM3S[name], "a test")
        assert {module.eps for module in model.vision_encoder.backbone.modules() if hasattr(module, "eps")} == {1e-5}


@pytest.mark.slow(1)
def test_texts_are_padded_and_words_need_their_tokenizer(whole, tmp_path):
    concept = whole.concept("cat", torch.zeros(1, 4))
    assert concept.input_ids[0, :5].tolist() == [BYTES_START, *b"cat", BYTES_END]
    assert concept.input_ids.shape == (1, TEXT_LENGTH) and concept.attention_mask.sum() == 5
    assert whole.concept("c" * 90, torch.zeros(1, 4)).attention_mask.all()
    save_file(whole.state, tmp_path / "model.safetensors")
    read = network(str(tmp_path / "model.safetensors"))
    with pytest.raises(CheckpointError, match=r"no file .*tokenizer\.json for its texts; expected the tokenizer\.json"):
        read.concept("cat", torch.zeros(1, 4))
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = Tokenizer(models.WordLevel({"[a]": 0, "[z]": 1, "cat": 2, "[u]": 3}, unk_token="[u]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="[a] $0 [z]", special_tokens=[("[a]", 0), ("[z]", 1)])
    words.save(str(tmp_path / "tokenizer.json"))
    assert read.concept("cat", torch.zeros(1, 4)).input_ids[0, :4].tolist() == [0, 2, 1, 0]
    assert read.concept("cat " * 40, torch.zeros(1, 4)).input_ids[0, -2:].tolist() == [2, 1]
    assert read.identity_settings == {"tokenizer": sha256_file(tmp_path / "tokenizer.json")}
    assert whole.identity_settings == {}
    larger = Tokenizer(models.WordLevel({"[u]": 0, **{str(n): n for n in range(1, 259)}}, unk_token="[u]"))
    larger.save(str(tmp_path / "larger.json"))
    other = network(str(tmp_path / "model.safetensors"), tokenizer=str(tmp_path / "larger.json"))
    assert other.identity_settings != read.identity_settings
    with pytest.raises(CheckpointError, match=r"larger\.json has 259 tokens, but sam3_demo knows 258; expected the"):
        other.concept("cat", torch.zeros(1, 4))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be used"):
        network(str(tmp_path / "model.safetensors")).concept("cat", torch.zeros(1, 4))

"""SAM 3: names of its weights, those that do not fit, norms, texts (sam3-canvas.md §1)."""

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fsbench.base.errors import CheckpointError
from fsbench.base.files import sha256_file
from fsbench.networks.backbones.hub_networks import new_network
from fsbench.networks.backbones.sam2_sam3 import SAM3S, TEXT_LENGTH, FrozenSam3, Sam3NetConfig, names_of_sam3
from fsbench.networks.backbones.text import BYTES_END, BYTES_START

pytest.importorskip("transformers")


def network(weights: str = "random:1", **settings: object) -> FrozenSam3:
    return FrozenSam3(Sam3NetConfig("sam3_demo", weights, **settings))


def official_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name the weights of a network as Meta's file does, by the table of sam3-canvas.md §1 read backwards."""
    layered = {"presence_head": "presence_token_head", "box_head": "bbox_embed", "box_rpb_embed_x": "boxRPB_embed_x",
               "box_rpb_embed_y": "boxRPB_embed_y", "ref_point_head": "ref_point_head"}  # fmt: skip
    trunk = "backbone.vision_backbone.trunk"
    plain = {
        "vision_encoder.backbone.embeddings.patch_embeddings.projection": f"{trunk}.patch_embed.proj",
        "vision_encoder.backbone.layer_norm": f"{trunk}.ln_pre",
        "text_encoder.text_model.embeddings.token_embedding": "backbone.language_backbone.encoder.token_embedding",
        "text_encoder.text_model.final_layer_norm": "backbone.language_backbone.encoder.ln_final",
        "text_projection": "backbone.language_backbone.resizer",
        "geometry_encoder.vision_layer_norm": "geometry_encoder.img_pre_norm",
        "geometry_encoder.prompt_layer_norm": "geometry_encoder.norm",
        "geometry_encoder.output_layer_norm": "geometry_encoder.encode_norm",
        "detr_decoder.presence_layer_norm": "transformer.decoder.presence_token_out_norm",
        "detr_decoder.output_layer_norm": "transformer.decoder.norm",
        "dot_product_scoring.text_mlp_out_norm": "dot_prod_scoring.prompt_mlp.out_norm",
        "dot_product_scoring.text_proj": "dot_prod_scoring.prompt_proj",
        "dot_product_scoring.query_proj": "dot_prod_scoring.hs_proj",
        "mask_decoder.instance_projection": "segmentation_head.instance_seg_head",
        "mask_decoder.semantic_projection": "segmentation_head.semantic_seg_head",
        "mask_decoder.prompt_cross_attn_norm": "segmentation_head.cross_attn_norm",
        "mask_decoder.prompt_cross_attn": "segmentation_head.cross_attend_prompt",
        "detr_decoder.query_embed": "transformer.decoder.query_embed",
        "detr_decoder.reference_points": "transformer.decoder.reference_points",
        "detr_decoder.presence_token": "transformer.decoder.presence_token",
    }
    in_layers = {
        "text_encoder.text_model.encoder": ("backbone.language_backbone.encoder.transformer.resblocks", {
            "self_attn": "attn", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
            "mlp.fc2": "mlp.c_proj"}),
        "vision_encoder.backbone": ("backbone.vision_backbone.trunk.blocks", {
            "attention": "attn", "layer_norm1": "norm1", "layer_norm2": "norm2", "mlp.fc1": "mlp.fc1",
            "mlp.fc2": "mlp.fc2"}),
        "geometry_encoder": ("geometry_encoder.encode", {
            "self_attn": "self_attn", "cross_attn": "cross_attn_image", "layer_norm1": "norm1", "layer_norm2": "norm2",
            "layer_norm3": "norm3", "mlp.fc1": "linear1", "mlp.fc2": "linear2"}),
        "detr_encoder": ("transformer.encoder.layers", {
            "self_attn": "self_attn", "cross_attn": "cross_attn_image", "layer_norm1": "norm1", "layer_norm2": "norm2",
            "layer_norm3": "norm3", "mlp.fc1": "linear1", "mlp.fc2": "linear2"}),
        "detr_decoder": ("transformer.decoder.layers", {
            "self_attn": "self_attn", "vision_cross_attn": "cross_attn", "text_cross_attn": "ca_text",
            "vision_cross_attn_layer_norm": "norm1", "text_cross_attn_layer_norm": "catext_norm",
            "self_attn_layer_norm": "norm2", "mlp_layer_norm": "norm3", "mlp.fc1": "linear1", "mlp.fc2": "linear2"}),
    }  # fmt: skip
    necks = {"scale_layers.0": "dconv_2x2", "scale_layers.2": "dconv_2x2_1", "proj1": "conv_1x1", "proj2": "conv_3x3"}
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        stem, _, end = name.rpartition(".")
        where, number, inner = stem.partition(".layers.")
        if name.endswith("position_embeddings"):
            found["backbone.vision_backbone.trunk.pos_embed"] = torch.cat([value[:, :1] * 0, value], 1)
        elif name.endswith("position_embedding.weight"):
            found["backbone.language_backbone.encoder.positional_embedding"] = value
        elif name == "text_encoder.text_projection.weight":
            found["backbone.language_backbone.encoder.text_projection"] = value.T
        elif number and where in in_layers:
            place, _, module = inner.partition(".")
            official, modules = in_layers[where]
            for part in ("q", "k", "v"):
                if module.endswith(f".{part}_proj"):
                    own = modules[module.removesuffix(f".{part}_proj")]
                    joined = (
                        f"{official}.{place}.{own}.{'qkv.' if own == 'attn' and 'vision' in where else 'in_proj_'}{end}"
                    )
                    parts.setdefault(joined, {})[part] = value
                    break
            else:
                head, _, last = module.rpartition(".")
                if last in ("o_proj", "out_proj"):
                    kind = "proj" if "vision" in where else "out_proj"
                    found[f"{official}.{place}.{modules[head]}.{kind}.{end}"] = value
                else:
                    found[f"{official}.{place}.{modules[module]}.{end}"] = value
        elif ".fpn_layers." in name:
            place, _, module = stem.partition(".fpn_layers.")[2].partition(".")
            own = necks[module] + ("_0" if place == "0" and module == "scale_layers.0" else "")
            found[f"backbone.vision_backbone.convs.{place}.{own}.{end}"] = value
        elif stem in plain:
            found[f"{plain[stem]}.{end}"] = value
        elif any(stem == f"mask_decoder.prompt_cross_attn.{part}_proj" for part in "qkv"):
            part = stem[-6]
            parts.setdefault(f"segmentation_head.cross_attend_prompt.in_proj_{end}", {})[part] = value
        elif stem == "mask_decoder.prompt_cross_attn.o_proj":
            found[f"segmentation_head.cross_attend_prompt.out_proj.{end}"] = value
        elif ".layer" in stem and stem.split(".")[1] in layered:
            _, head, layer = stem.split(".")
            found[f"transformer.decoder.{layered[head]}.layers.{int(layer[5:]) - 1}.{end}"] = value
        elif stem.startswith("dot_product_scoring.text_mlp.layer"):
            found[f"dot_prod_scoring.prompt_mlp.layers.{int(stem[-1]) - 1}.{end}"] = value
        elif stem.startswith("mask_decoder.mask_embedder."):
            rest = stem.removeprefix("mask_decoder.mask_embedder.")
            found[f"segmentation_head.mask_predictor.mask_embed.{rest}.{end}"] = value
        elif stem.startswith("mask_decoder.pixel_decoder."):
            found[f"segmentation_head.{stem.removeprefix('mask_decoder.')}.{end}"] = value
        else:
            found[name] = value  # of the encoder of boxes, which keep their names
    found |= {name: torch.cat([of["q"], of["k"], of["v"]]) for name, of in parts.items()}
    return {f"detector.{name}": value for name, value in found.items()}


@pytest.mark.slow(3)
def test_metas_file_the_hubs_and_its_model_of_videos_are_one_network(tmp_path):
    whole = network()
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


def test_the_whole_networks_weights_have_places():
    """Every one of the released network's 1468 tensors is found under Meta's names."""
    with torch.device("meta"):
        state = new_network(SAM3S["sam3"], "a test").state_dict()
    found = names_of_sam3(official_state(state))
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in state.items()}


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path):
    state = official_state(network().state)
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


def test_texts_are_padded_and_words_need_their_tokenizer(tmp_path):
    concept = network().concept("cat", torch.zeros(1, 4))
    assert concept.input_ids[0, :5].tolist() == [BYTES_START, *b"cat", BYTES_END]
    assert concept.input_ids.shape == (1, TEXT_LENGTH) and concept.attention_mask.sum() == 5
    assert network().concept("c" * 90, torch.zeros(1, 4)).attention_mask.all()
    save_file(network().state, tmp_path / "model.safetensors")
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
    assert network().identity_settings == {}
    larger = Tokenizer(models.WordLevel({"[u]": 0, **{str(n): n for n in range(1, 259)}}, unk_token="[u]"))
    larger.save(str(tmp_path / "larger.json"))
    other = network(str(tmp_path / "model.safetensors"), tokenizer=str(tmp_path / "larger.json"))
    assert other.identity_settings != read.identity_settings
    with pytest.raises(CheckpointError, match=r"larger\.json has 259 tokens, but sam3_demo knows 258; expected the"):
        other.concept("cat", torch.zeros(1, 4))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be used"):
        network(str(tmp_path / "model.safetensors")).concept("cat", torch.zeros(1, 4))

"""SegGPT's frozen network, which paints an image's mask in colours by the example of others (seggpt.md §1-§4).

The network is transformers', with its feature ensemble mended: at the block where its two streams meet, it would take
the mean over both of them.

Shapes: K examples, S image side.
"""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.networks.backbones.hub_networks import FrozenHubNetwork, HubNet
from fsbench.networks.weights.files import renamed
from fsbench.networks.weights.table import WeightFile, weight_files

Embedding = Literal["instance", "semantic"]
"""Type token that all patches get: of pictures of single objects, or of all that belongs to a class."""
EnsembleVariant = Literal["authors", "transformers"]
"""Mean over the examples at the block where the streams meet: in each stream by itself, or over both."""

_LAYERS = r"model.encoder.layers.\1"
_NAMES = (
    (r"^blocks\.(\d+)\.norm1\.", rf"{_LAYERS}.layernorm_before."),
    (r"^blocks\.(\d+)\.norm2\.", rf"{_LAYERS}.layernorm_after."),
    (r"^blocks\.(\d+)\.attn\.", rf"{_LAYERS}.attention."),
    (r"^blocks\.(\d+)\.mlp\.fc(\d)\.", rf"{_LAYERS}.mlp.lin\2."),
    (r"^patch_embed\.proj\.", "model.embeddings.patch_embeddings.projection."),
    (r"^pos_embed$", "model.embeddings.position_embeddings"),
    (r"^mask_token$", "model.embeddings.mask_token"),
    (r"^segment_token_x$", "model.embeddings.segment_token_input"),
    (r"^segment_token_y$", "model.embeddings.segment_token_prompt"),
    (r"^type_token_cls$", "model.embeddings.type_token_semantic"),
    (r"^type_token_ins$", "model.embeddings.type_token_instance"),
    (r"^norm\.", "model.encoder.layernorm."),
    (r"^decoder_embed\.", "decoder.decoder_embed."),
    (r"^decoder_pred\.0\.", "decoder.decoder_pred.conv."),
    (r"^decoder_pred\.1\.", "decoder.decoder_pred.layernorm."),
    (r"^decoder_pred\.3\.", "decoder.decoder_pred.head."),
)
"""Names in the authors' file and in transformers' (§1)."""


@dataclass(frozen=True)
class SegGPTNet(HubNet):
    """Description of SegGPT's network; settings as in transformers' `SegGptConfig`."""

    @property
    def side(self) -> int:
        """Side S of the network's images in pixels."""
        return int(self.settings["image_size"][1])


def seggpt_net(
    dim: int, heads: int, mlp: int, side: int, patch: int, pretrained: int, decoder: int, weights: WeightFile
) -> SegGPTNet:
    """Describe a SegGPT of 24 blocks.

    Args:
        dim, heads, mlp: channels and heads of a block, and channels of its MLP.
        side: S, side of the images in pixels.
        patch: side of a patch in pixels.
        pretrained: side in pixels of the images that the stored table of positions belongs to.
        decoder: channels of the decoder.
        weights: the published weight file.
    """
    settings = dict(
        hidden_size=dim,
        num_hidden_layers=24,
        num_attention_heads=heads,
        image_size=(2 * side, side),
        patch_size=patch,
        mlp_dim=mlp,
        pretrain_image_size=pretrained,
        decoder_hidden_size=decoder,
    )
    return SegGPTNet("SegGptForImageSegmentation", settings, weights)


SEGGPTS = {
    "seggpt_vitl": seggpt_net(1024, 16, 4096, 448, 16, 224, 64, weight_files()["seggpt_vitl"]),
    # narrow, and of random weights alone
    "seggpt_demo": seggpt_net(32, 2, 64, 128, 16, 64, 8, WeightFile("seggpt_demo")),
}
"""SegGPT's networks by their names."""


def seggpt_to_transformers_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return SegGPT's weights by transformers' names; names of other networks' weights stay as they are.

    Args:
        state: weights under the names of the authors' file or of transformers'; it is not changed.
    """
    return {renamed(name, _NAMES): value for name, value in state.items()}


def paint(
    model: Any, query: Tensor, examples: Tensor, targets: Tensor, embedding: Embedding, variant: EnsembleVariant
) -> Tensor:
    """Let SegGPT paint the query's mask like the masks of K examples, its supports (§3, §4).

    Args:
        model: transformers' SegGPT.
        query: image of the query (3, S, S), normalised.
        examples, targets: images and their painted masks (K, 3, S, S), normalised.
        embedding: type token that is added to all patches: "instance" or "semantic".
        variant: how K > 1 examples are averaged: "authors" in the stream of images and in that of masks, "transformers"
            over both.

    Returns:
        Painted images (K, 3, 2S, S), normalised, one for each example: the example's mask above, the query's below. The
        prediction is the lower half of the first.
    """
    hook = None
    if variant == "authors":
        layer = model.model.encoder.layers[model.config.merge_index]
        hook = layer.register_forward_pre_hook(_mean_in_each_stream)
    try:
        output = model(
            pixel_values=query.expand_as(examples),
            prompt_pixel_values=examples,
            prompt_masks=targets,
            feature_ensemble=len(examples) > 1,
            embedding_type=embedding,
        )
    finally:
        if hook is not None:
            hook.remove()
    painted: Tensor = output.pred_masks
    return painted


def _mean_in_each_stream(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Tell a block of transformers' SegGPT, by its second argument, that its batch has two streams."""
    return (args[0], 2, *args[2:])


class FrozenSegGPT(FrozenHubNetwork):
    """Frozen SegGPT, which takes the query, the examples and their masks as one input."""

    known = SEGGPTS
    kind = SegGPTNet
    called = "SegGPT"
    spec: SegGPTNet

    def check_image_size(self, size: int) -> None:
        if size != self.spec.side:
            raise SettingsError(
                f"image size {size} does not fit {self.name}, whose positions belong to images of {self.spec.side}; "
                f"expected --data.image_size {self.spec.side}"
            )

    def paint(
        self, query: Tensor, examples: Tensor, targets: Tensor, embedding: Embedding, variant: EnsembleVariant
    ) -> Tensor:
        """Return the query's mask as SegGPT paints it, an image (3, S, S) in ImageNet normalisation.

        Args:
            query: normalised image (3, S, S).
            examples, targets: images of K supports and their painted masks (K, 3, S, S), normalised.
            embedding: type token that is added to all patches: "instance" or "semantic".
            variant: how K > 1 examples are averaged: "authors" in the stream of images and in that of masks,
                "transformers" over both.
        """
        self.check_image_size(query.shape[-1])
        model = self.network(query)
        with self.computing(query.device):
            pairs = paint(model, query, examples, targets, embedding, variant)
        return pairs[0, :, self.spec.side :].float()

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return seggpt_to_transformers_names(state)

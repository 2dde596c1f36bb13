"""Weights that do not fit are refused in one line before anything is computed, by a method on each network."""

import pytest
import torch
from safetensors.torch import save_file

from fsbench.base.errors import CheckpointError
from fsbench.runner.config.registry import config_files
from tests.config_words import parse

pytest.importorskip("transformers")

SAM, SAM2 = "image_encoder.blocks.{}.norm1.weight", "image_encoder.trunk.blocks.{}.norm1.weight"
HUB_SAM, HUB_SAM2 = (
    "vision_encoder.layers.{}.layer_norm1.weight",
    "vision_encoder.backbone.blocks.{}.layer_norm1.weight",
)
SEGGPT, HUB_SEGGPT = "blocks.{}.norm1.weight", "model.encoder.layers.{}.layernorm_before.weight"
SAM3 = "detector.backbone.vision_backbone.trunk.blocks.{}.norm1.weight"
HUB_SAM3 = "detector_model.vision_encoder.backbone.layers.{}.layer_norm1.weight"

CASES = [
    ("gf_sam", "sam_weights", SAM, SAM2),
    ("persam", "weights", HUB_SAM, HUB_SAM3),
    ("sam3_canvas", "weights", SAM3, SEGGPT),
    ("sam3_canvas", "weights", HUB_SAM3, HUB_SAM2),
    ("sam3_exemplars", "weights", SAM3, SEGGPT),
    ("seggpt", "weights", SEGGPT, SAM),
    ("seggpt", "weights", HUB_SEGGPT, HUB_SAM),
]
"""A method, the key of its weights, a name of its family in its authors' or in the hub's form, and another family's."""
HUB = (HUB_SAM, HUB_SAM3, HUB_SEGGPT)


def blocks(name: str, depth: int = 3, width: int = 8) -> dict[str, torch.Tensor]:
    """Return the norms of a network's blocks, by which families and sizes are told apart."""
    return {name.format(number): torch.ones(width) for number in range(depth)}


@pytest.mark.parametrize(
    ("method", "key", "own", "other"),
    [pytest.param(*case, marks=[pytest.mark.slow(2)] * (case[0] != "seggpt")) for case in CASES],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(method, key, own, other, tmp_path):
    file = tmp_path / ("weights.safetensors" if own in HUB else "weights.pth")
    files = [f"--config={path}" for path in config_files(method, "demo")]
    composed = parse([*files, f"--run.name={method}", f"--model.backbone.{key}={file}"], build=False)

    def refusal(state: dict[str, torch.Tensor], bytes_kept: int | None = None) -> str:
        """Write the file of weights, cut off where that is asked for, build the method, and return the error."""
        save_file(state, file) if own in HUB else torch.save(state, file)
        file.write_bytes(file.read_bytes()[:bytes_kept])
        with pytest.raises(CheckpointError) as error:
            composed.build_method()
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "with 3 blocks of 8 channels; expected" in refusal(blocks(own))
    foreign = refusal(blocks(other))
    assert "are of " in foreign and "; expected S" in foreign
    unread = refusal(blocks(own, width=4000), 20_000)
    assert "cannot read" in unread and file.name in unread

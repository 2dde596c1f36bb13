"""Weights that do not fit are refused in one line before anything is computed, by every method on SAM or SegGPT."""

from itertools import cycle
from pathlib import Path

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

METHODS = {
    "gf_sam": ("sam_weights", (SAM, HUB_SAM), (SAM2, HUB_SAM3)),
    "matcher": ("sam_weights", (SAM, HUB_SAM), (SAM3, HUB_SAM2)),
    "persam": ("weights", (SAM, HUB_SAM), (SAM2, HUB_SAM3)),
    "persam_f": ("weights", (SAM, HUB_SAM), (SEGGPT, HUB_SAM2)),
    "sam3_canvas": ("weights", (SAM3, HUB_SAM3), (SAM, HUB_SAM)),
    "sam3_canvas_names": ("weights", (SAM3, HUB_SAM3), (SEGGPT, HUB_SAM2)),
    "seggpt": ("weights", (SEGGPT, HUB_SEGGPT), (SAM, HUB_SAM3)),
}
"""Key of a method's weights, its family's names in its authors' and in the hub's form, and those of other families."""


def blocks(name: str, depth: int = 3, width: int = 8) -> dict[str, torch.Tensor]:
    """Return the norms of a network's blocks, by which families and sizes are told apart."""
    return {name.format(number): torch.ones(width) for number in range(depth)}


def refusal(method: str, key: str, file: Path) -> str:
    """Build the method on the demo with the file as its weights, and return the error."""
    files = [f"--config={path}" for path in config_files(method, "demo")]
    composed = parse([*files, f"--run.name={method}", f"--model.backbone.{key}={file}"], build=False)
    with pytest.raises(CheckpointError) as error:
        composed.build_method()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("method", "form"), list(zip(METHODS, cycle(["official", "hub"]))))
def test_weights_that_do_not_fit_are_refused_in_one_line(method, form, tmp_path):
    key, *names = METHODS[method]
    own, other = (found[form == "hub"] for found in names)

    def write(name: str, state: dict[str, torch.Tensor]) -> Path:
        file = tmp_path / (f"{name}.safetensors" if form == "hub" else f"{name}.pth")
        save_file(state, file) if form == "hub" else torch.save(state, file)
        return file

    assert "with 3 blocks of 8 channels; expected" in refusal(method, key, write("size", blocks(own)))
    foreign = refusal(method, key, write("family", blocks(other)))
    assert "are of " in foreign and "; expected S" in foreign
    damaged = write("damaged", blocks(own, width=4000))
    damaged.write_bytes(damaged.read_bytes()[:20_000])
    unread = refusal(method, key, damaged)
    assert "cannot read" in unread and damaged.name in unread

"""SAM and SAM 2 as frozen networks: their weights, prompts in chunks, automatic masks, and refusals."""

import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.networks.backbones.hub_networks import describe_family, new_network, transformers_class
from fsbench.networks.backbones.sam import SAMS, FrozenSam, Prompts, SamConfig, names_of_transformers

pytest.importorskip("transformers")

IMAGE = torch.randint(256, (3, 90, 120), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
POINTS = torch.tensor([[[30.0, 20.0]], [[70.0, 40.0]], [[5.0, 80.0]]])


def demo(**settings: object) -> FrozenSam:
    return FrozenSam(SamConfig(**{"name": "sam_demo", "weights": "random:3", **settings}))


def meta_names(name: str) -> dict[str, torch.Tensor]:
    """The network's state dict without memory."""
    with torch.device("meta"):
        return new_network(SAMS[name], "a test").state_dict()


def test_random_weights_follow_their_seed_and_make_masks_of_image_and_prompts():
    sam, again, other = demo(), demo(), demo(weights="random:4")
    assert sam.weights_id == "random (seed 3)" and sam.digest == again.digest != other.digest
    network = sam.promptable(torch.device("cpu"))
    prompts = Prompts(POINTS, torch.ones(3, 1))
    masks = network.decode(network.encode(IMAGE), (90, 120), prompts, multimask=True)
    assert masks.low_res.shape == (3, 3, 32, 32) and masks.iou.shape == (3, 3)
    assert (masks.low_res[0] - masks.low_res[1]).abs().max() > 0.01
    elsewhere = network.decode(network.encode(255 - IMAGE), (90, 120), prompts, multimask=True)
    assert (masks.low_res - elsewhere.low_res).abs().max() > 0.01
    assert network.full_size(masks.low_res, (90, 120)).shape == (3, 3, 90, 120)


def test_the_draws_around_its_first_image_do_not_depend_on_it():
    torch.manual_seed(0)
    demo().promptable(torch.device("cpu")).encode(IMAGE)
    found = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(found, torch.rand(3))


def test_chunks_of_prompts_are_those_of_one_pass():
    network = demo().promptable(torch.device("cpu"))
    encoding, size = network.encode(IMAGE), (90, 120)
    boxes = torch.tensor([[3.0, 4.0, 50.0, 60.0]]).repeat(3, 1)
    mask = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    prompts = Prompts(POINTS, torch.tensor([[1], [0], [1]]), boxes, mask)
    found = [network.decode(encoding, size, chunk, multimask=False) for chunk in prompts.chunks(2)]
    assert [len(chunk.iou) for chunk in found] == [2, 1]
    expected = network.decode(encoding, size, prompts, multimask=False)
    torch.testing.assert_close(torch.cat([c.low_res for c in found]), expected.low_res, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.cat([c.iou for c in found]), expected.iou, rtol=1e-4, atol=1e-4)


def test_other_types_and_chunks_are_in_the_identity_and_change_the_numbers():
    assert demo().identity_settings == {}
    assert demo(precision="bf16", prompts=8).identity_settings == {"prompts": "8"}
    exact, rounded = (demo(precision=p).encode(IMAGE) for p in ("fp32", "bf16"))
    assert exact.dtype == rounded.dtype == torch.float32
    assert 0 < (exact - rounded).abs().max() < 0.2 * exact.abs().max()
    with pytest.raises(SettingsError, match="prompts is 0, expected 1 or more"):
        demo(prompts=0)
    with pytest.raises(SettingsError, match="unknown promptable network 'sam_vit_x'"):
        demo(name="sam_vit_x")


def test_the_precision_of_a_run_changes_nothing():
    sam = demo()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = sam.encode(IMAGE)
    assert torch.equal(under_autocast, sam.encode(IMAGE))


@pytest.mark.parametrize("name", SAMS)
def test_names_of_transformers_stay_and_describe_the_network(name):
    own = meta_names(name)
    assert names_of_transformers(own).keys() == own.keys()
    assert describe_family(own).startswith("SAM with")


def test_a_file_of_the_hub_and_one_of_meta_are_read(tmp_path):
    sam = demo()
    stored = {name: value.clone() for name, value in sam.state.items()}
    stored.pop("prompt_encoder.shared_embedding.positional_embedding")  # which the hub's files lack
    save_file(stored, tmp_path / "model.safetensors")
    read = demo(weights=str(tmp_path / "model.safetensors"))
    assert read.digest == sam.digest and read.weights_id.startswith("unverified model.safetensors sha256 ")


def test_weights_of_another_network_are_refused_in_one_line(tmp_path):
    state = demo().state
    file = tmp_path / "sam.safetensors"

    def refused(tensors: dict[str, torch.Tensor], name: str = "sam_demo") -> str:
        save_file({key: value.clone() for key, value in tensors.items()}, file)
        with pytest.raises(CheckpointError) as error:
            demo(name=name, weights=str(file))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "are of SAM with 2 blocks of 32 channels; expected SAM with 12 blocks of 768" in refused(state, "sam_vit_b")
    assert "are of another network; expected SAM with 2 blocks" in refused({"cls_token": torch.zeros(1)})
    lacking = {name: value for name, value in state.items() if "iou_token" not in name}
    assert "1 keys missing: mask_decoder.iou_token.weight" in refused(lacking)


def test_a_transformers_that_is_missing_or_too_old_is_said_to_be_so(monkeypatch):
    utils = pytest.importorskip("transformers.utils")
    for error in (AttributeError("no such class"), ImportError("no such package")):

        class Older(SimpleNamespace):
            """A transformers without the class, or without a package that the class needs."""

            def __getattr__(self, name: str, error: Exception = error) -> object:
                raise error

        monkeypatch.setitem(sys.modules, "transformers", Older(utils=utils))
        with pytest.raises(SettingsError, match=r"no such .*; pip install 'fsbench\[promptable\]'"):
            transformers_class("SamModel", "sam")
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SettingsError, match=r"sam needs transformers, which is not installed; pip install"):
        transformers_class("SamModel", "sam")
    with pytest.raises(SettingsError, match=r"^sam_demo needs transformers, .* pip install 'fsbench\[promptable\]'$"):
        demo()

"""SAM and SAM 2 from a folder: masks against transformers called plainly, and one line for anything that is none."""

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.cli.main import main
from fsbench.predict.tryout.segment_anything import load_segment_anything
from fsbench.predict.tryout.strokes import Click

CPU = torch.device("cpu")
CLICKS = [
    [Click(30.5, 20.5, True)],
    [Click(30.5, 20.5, True), Click(70.25, 44.0, False)],
    [Click(3.0, 50.0, True), Click(80.0, 10.0, True), Click(40.0, 30.0, False)],
]


@pytest.fixture(scope="module", params=["sam", "sam2"])
def stored(request, tmp_path_factory) -> SimpleNamespace:
    """A tiny network in a folder: `folder`, `model`, `processor` and `sizes`, the names of the sizes in its inputs."""
    pytest.importorskip("transformers")
    from tests.fsbench.predict.tryout.tiny_networks import store_sam, store_sam2

    folder = tmp_path_factory.mktemp(request.param)
    store, sizes = {
        "sam": (store_sam, ["original_sizes", "reshaped_input_sizes"]),
        "sam2": (store_sam2, ["original_sizes"]),
    }[request.param]
    model, processor = store(folder)
    return SimpleNamespace(folder=folder, model=model, processor=processor, sizes=sizes)


@pytest.fixture
def copied(stored, tmp_path) -> Path:
    """A copy of the folder, to be damaged."""
    for file in stored.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def plain_mask(stored, pixels: np.ndarray, clicks: list[Click]) -> np.ndarray:
    """The best mask of the model as transformers' manual calls it, image and points at once."""
    points = [[[[click.x - 0.5, click.y - 0.5] for click in clicks]]]  # from the middle of the first pixel
    labels = [[[int(click.adds) for click in clicks]]]
    if "reshaped_input_sizes" in stored.sizes:  # SAM's processor takes the points of one object without its level
        points, labels = points[0], labels[0]
    inputs = stored.processor(images=pixels, input_points=points, input_labels=labels, return_tensors="pt")
    with torch.no_grad():
        output = stored.model(**{key: value for key, value in inputs.items() if key not in stored.sizes})
    sizes = [inputs[key] for key in stored.sizes]
    masks = stored.processor.image_processor.post_process_masks(output.pred_masks, *sizes)[0]
    return masks[0, output.iou_scores[0, 0].argmax()].numpy()


@pytest.mark.parametrize("size", [(60, 90), (90, 81), (200, 90)])
def test_the_mask_is_the_best_of_transformers_own(stored, size):
    network = load_segment_anything(stored.folder, CPU)
    pixels = np.random.default_rng(3).integers(0, 256, (*size, 3)).astype(np.uint8)
    pixels[10:40, 20:60] //= 4
    encoding = network.encode(pixels)
    masks = [network.mask(encoding, clicks) for clicks in CLICKS]
    for clicks, mask in zip(CLICKS, masks, strict=True):
        expected = plain_mask(stored, pixels, clicks)
        assert (
            mask.shape == size and mask.dtype == bool and (mask != expected).sum() <= 1
        )  # PIL's numbers are rounded elsewhere
        assert 0 < mask.sum() < mask.size
    assert (masks[0] != masks[1]).any() and (masks[0] != masks[2]).any()


def test_nobody_else_is_asked_for_anything(stored, monkeypatch):
    asked = []
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, lambda _, address: asked.append(address) or 1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address) or [])
    network = load_segment_anything(stored.folder, CPU)
    network.mask(network.encode(np.zeros((32, 40, 3), dtype=np.uint8)), CLICKS[0][:1])
    assert not asked


@pytest.mark.parametrize("stored", ["sam2"], indirect=True)
def test_files_that_are_published_for_videos_are_taken(stored, copied):
    settings = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(settings | {"model_type": "sam2_video"}))
    weights = load_file(copied / "model.safetensors")
    save_file(weights | {"memory_attention.layers.0.linear1.bias": torch.zeros(3)}, copied / "model.safetensors")
    pixels = np.zeros((32, 40, 3), dtype=np.uint8)
    own, theirs = (load_segment_anything(folder, CPU) for folder in (stored.folder, copied))
    assert (own.mask(own.encode(pixels), CLICKS[0][:1]) == theirs.mask(theirs.encode(pixels), CLICKS[0][:1])).all()


def test_a_file_that_is_missing_is_named(copied):
    for name in ("model.safetensors", "config.json"):
        (copied / name).unlink()
        with pytest.raises(CheckpointError, match=f"has no .*{name}.*; expected the config.json"):
            load_segment_anything(copied, CPU)
    with pytest.raises(CheckpointError, match=r"nowhere has no config.json and no model.safetensors and no prepro"):
        load_segment_anything(copied / "nowhere", CPU)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"model_type": "bert"}', "is of the model type 'bert', expected sam, sam2, sam2_video"),
        ('{"model_type": ["sam"]}', "is of the model type ['sam'], expected sam"),
        ("[]", "is of the model type None, expected sam"),
        ("{", "cannot be read (JSONDecodeError: "),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_settings_of_something_else_are_refused(copied, content, expected):
    (copied / "config.json").write_text(content)
    with pytest.raises(CheckpointError) as refused:
        load_segment_anything(copied, CPU)
    assert expected in str(refused.value) and "\n" not in str(refused.value)


def test_weights_that_do_not_fit_are_refused(copied, capsys):
    file = copied / "model.safetensors"
    whole, weights = file.read_bytes(), load_file(file)
    lacking = next(name for name in sorted(weights) if name.startswith("mask_decoder.iou_prediction_head"))
    save_file({name: tensor for name, tensor in weights.items() if name != lacking}, file)
    with pytest.raises(CheckpointError, match=f"lacks 1 of the network's tensors, e.g. {lacking}; expected"):
        load_segment_anything(copied, CPU)
    save_file(weights | {lacking: torch.zeros(3)}, file)
    with pytest.raises(CheckpointError, match="cannot be used"):
        load_segment_anything(copied, CPU)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be used") as refused:
        load_segment_anything(copied, CPU)
    assert "\n" not in str(refused.value)
    (copied / "model.safetensors").unlink()
    torch.save(weights, copied / "pytorch_model.bin")  # pickled: never opened
    with pytest.raises(CheckpointError, match=r"has no model.safetensors"):
        load_segment_anything(copied, CPU)
    assert capsys.readouterr() == ("", "")


def test_an_adapter_is_refused(copied):
    (copied / "adapter_config.json").write_text("{}")
    (copied / "adapter_model.bin").write_bytes(b"")  # a pickle: never opened
    with pytest.raises(CheckpointError, match=r"has an adapter \(adapter_config.json\); .*; take the adapter out"):
        load_segment_anything(copied, CPU)


@pytest.mark.parametrize("lacks", ["class", "package"])
def test_an_unsuitable_transformers_is_said_to_be_one(stored, monkeypatch, lacks):
    import transformers

    fails = AttributeError("no such class") if lacks == "class" else ImportError("no such package")

    class Older:
        """A transformers without the model's class, or without a package that the class needs."""

        def __getattr__(self, name: str) -> object:
            if lacks == "class":
                raise fails
            return SimpleNamespace(config_class=SimpleNamespace(from_pretrained=raises))

    def raises(*_: object, **__: object) -> None:
        raise fails

    older = Older()
    older.utils = transformers.utils
    monkeypatch.setitem(sys.modules, "transformers", older)
    with pytest.raises(SettingsError, match=r"no such .*; pip install 'fsbench\[promptable\]'"):
        load_segment_anything(stored.folder, CPU)


def test_without_transformers_one_line_says_how_to_get_it(stored, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SettingsError, match=r"--promptable needs transformers, which is not installed; pip install"):
        load_segment_anything(stored.folder, CPU)


def test_the_command_refuses_a_folder_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert main(["demo", "--port", "0", "--promptable", "photos"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fsbench: error: photos has no config.json and no model.safetensors and no preprocessor")
    assert error.count("\n") == 1

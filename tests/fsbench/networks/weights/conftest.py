"""A table of small weight files on a local server; nothing comes from a real site."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fsbench.networks.backbones.timm_networks import VITS, random_state
from fsbench.networks.weights import table
from tests.web import Web, serve


def saved(state: dict[str, Any], legacy: bool = False) -> bytes:
    """The bytes of a .pth file, `legacy`: as PyTorch before 1.6 wrote it."""
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def vit_bytes() -> bytes:
    """A file with random weights for the demo's ViT."""
    return saved(random_state(VITS["demo"], 0))


@pytest.fixture
def web(vit_bytes: bytes) -> Iterator[Web]:
    with serve() as server:
        server.files["/vit.pth"] = vit_bytes
        server.files["/plain.pth"] = vit_bytes
        yield server


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of weights of this test alone."""
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def small_table(web: Web, weights: Path, vit_bytes: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table whose `demo` has size and checksum, `plain` neither, `manual` no address; `shop` are checkpoints."""
    licence = {"licence": "Made-Up-1.0", "licence_page": "https://licence.invalid"}
    page = {"page": "https://page.invalid"}
    backbones: dict[str, dict[str, Any]] = {
        "demo": {"file": "vit.pth", "url": f"{web.url}/vit.pth", "size": len(vit_bytes),
                 "sha256": hashlib.sha256(vit_bytes).hexdigest(), **licence, **page},
        "plain": {"file": "plain.pth", "url": f"{web.url}/plain.pth", **page},
        "tensors": {"file": "tensors.safetensors", "url": f"{web.url}/tensors.safetensors", **page},
        "hubbed": {"file": "hubbed.safetensors", "hub": "owner/net/model.safetensors", "licence": "X", **page},
        "manual": {"file": "manual.pth", "by_hand": "ask the authors", **page},
    }  # fmt: skip
    checkpoints = {
        "shop": {"methods": ["emat"], "folder": ".", "files": "*/best.ckpt", "by_hand": "ask the authors", **page}
    }
    file = tmp_path / "weights.yaml"
    file.write_text(yaml.safe_dump({"backbones": backbones, "checkpoints": checkpoints}))
    monkeypatch.setattr(table, "TABLE", file)
    return file

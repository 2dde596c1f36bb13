"""Runs like the papers' own, on frozen official episodes."""

from dataclasses import replace
from functools import cache

import polars as pl
import pytest

from fsbench.base.paths import REPOSITORY
from fsbench.data.episodes.manifest import read_manifest
from fsbench.records.counts import to_frame
from fsbench.records.record import Record
from fsbench.records.run import TRAINED_HERE
from fsbench.runner.config.merge import shipped_settings
from tests.fsbench.runs import written

FROZEN = REPOSITORY / "benchmarks/manifests/pascal"
EMAT = {"name": "emat", "type": "emat", "support_side": 20, "learning_rate": 1e-3, "presence_weight": 0.1}
DCAMA = {
    "name": "dcama", "type": "dcama", "support_background": "keep", "skip_scales": [4, 8],
    "skip_support": True, "attn_scales": [8, 16, 32], "support_pixels": "all", "learning_rate": 1e-3, "momentum": 0.9,
    "weight_decay": 1e-4,
}  # fmt: skip


def run_of(header, method, backbone, weights="official x", identity=(), training=(), facts=(), origin="trained here"):
    """Contents of a run.json like the paper's, but for what is given.

    `training` changes the identity's entry of that name, `facts` what is recorded of the training besides (None: a
    checkpoint that tells none); without an `origin` the weights are those that follow from the identity."""
    shipped = shipped_settings(method["name"], header.dataset)
    data = shipped["data"]["init_args"]
    stated = data.get("training", {})
    trained = {key: stated[key] for key in ("batch_size", "fill_to", "drop_last") if key in stated}
    trained |= {key: value for key, value in shipped.get("run", {}).items() if value is not None}
    trained |= {"max_epochs": shipped["trainer"]["max_epochs"], "validation": "novel", "base_lists": "official"}
    trained |= dict(training)
    recorded = {
        "method": method, "backbone": {"name": backbone, "weights": weights}, "fold": header.fold, "seed": 0,
        "image_size": data["image_size"], "precision": "32-true", "tf32": False, "training": trained,
    } | dict(identity)  # fmt: skip
    validated = {"episodes": 1000, "official_episodes": 1000} | dict(facts or ())
    cost = {"trainable_parameters": 0, "episodes_per_second": 1.0, "peak_mib": 1.0}
    run = {"identity": recorded, "presence": "predicted", "cost": cost}
    if origin in (None, TRAINED_HERE):
        names = {"episodes": "validation_episodes", "official_episodes": "official_validation_episodes"}
        return run | {"made": {names[key]: value for key, value in validated.items() if key in names}}
    numbers = {key: recorded.get(key) for key in ("image_size", "precision", "tf32")}
    more = {"settings": trained, "method": method, "chosen_by": "val/mIoU"} | numbers | validated
    return run | {"loaded": {"origin": origin, "training": None if facts is None else more}}


@cache
def _frozen(fold, task):
    """The frozen episodes, and the counts of an answer that is always the same: the way is found, and 300 pixels too
    much."""
    protocol, *rest = task.split("-", 1)
    manifest = read_manifest(FROZEN / f"{protocol}-fold{fold}-{rest[0]}.jsonl.gz")
    counts = {"tp": 700, "pred": 1000, "gt": 700}
    same = {"pred_void": 0, "void": 0, "valid": 384**2 if protocol == "hsnet" else 4000, "rom": 0.0, "rum": 0.0}
    same |= {"present": True, "decided": True, "score": 1.0}
    rows = [
        same
        | {name: value * (1 if slot else len(e.classes)) for name, value in counts.items()}
        | {"episode": e.number, "slot": slot, "class_id": number}
        for e in manifest.episodes
        for slot, number in enumerate([0, *e.classes])
    ]
    return manifest, to_frame(rows, manifest)


def frozen_manifest(fold=0, task="fscs-2way1shot-original", **header):
    manifest, _ = _frozen(fold, task)
    return replace(manifest, entries=manifest.entries | header)


@pytest.fixture
def official(tmp_path):
    """official(method, backbone, fold, task) -> a record on frozen official episodes, see `_frozen`."""

    def make(
        method, backbone, fold=0, task="fscs-2way1shot-original", weights="official x", identity=(), **header
    ) -> Record:
        manifest = frozen_manifest(fold, task, **header)
        folder = tmp_path / f"{method['name']}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        manifest.write(folder / "manifest.jsonl")
        run = run_of(manifest.header, method, backbone, weights, identity)
        run["identity"]["manifest_sha256"] = manifest.sha256
        frame = _frozen(fold, task)[1]
        if task.startswith("hsnet"):  # whose pixels are those of the method's input
            side = run["identity"]["image_size"]
            frame = frame.with_columns(pl.lit(side**2, dtype=frame["valid"].dtype).alias("valid"))
        return written(folder, frame, **run)

    return make

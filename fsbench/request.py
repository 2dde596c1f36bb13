"""What `fsbench bench` and `fsbench grid` ask for, as arguments of one cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsbench.catalogue import answers, backbone, config_files
from fsbench.errors import SettingsError
from fsbench.manifest import CLASSIFICATION, read_manifest


@dataclass(frozen=True)
class Request:
    """What `fsbench bench` was asked for; None and False leave the configuration's value.

    `extra` are further arguments in LightningCLI's form. `checkpoint` may contain `{fold}`, or be a folder with
    `fold-<f>/best.ckpt` (the authors' layout). `weights` and `manifest` may contain `{fold}`, too; the manifest says
    what is tested where the other settings do not.
    """

    methods: Sequence[str]
    dataset: str
    folds: Sequence[int]
    runs: str = "runs"
    way: int | None = None
    shot: int | None = None
    setting: str | None = None
    protocol: str | None = None
    manifest: str | None = None
    devices: int | None = None
    checkpoint: str | None = None
    seed: int | None = None
    data_root: str | None = None
    weights: str | None = None
    lists: Sequence[str] = ()
    fast: bool = False
    force: bool = False
    drop_small: bool = False
    debug: bool = False
    extra: Sequence[str] = ()

    def arguments(self, method: str, fold: int) -> list[str]:
        """Arguments of one cell, in LightningCLI's form. Raises SettingsError for what the data set does not have."""
        configs = [f"--config={path}" for path in config_files(method, self.dataset, self.fast)]
        if answers("data", self.dataset) == CLASSIFICATION:
            self._check_classification(method)
        values = {
            "run.name": method,
            "run.runs": self.runs,
            "run.force": "true" if self.force else None,
            "run.checkpoint": self._checkpoint(fold),
            "seed_everything": self.seed,
            "trainer.devices": self.devices,
            "trainer.strategy": "ddp" if self.devices is not None and self.devices > 1 else None,
            "model.backbone.weights": self.weights and self.weights.replace("{fold}", str(fold)),
            "data.fold": fold,
            **self._task(fold),
            "data.drop_small_classes": "true" if self.drop_small else None,
            "data.dataset.root": self.data_root,
            "data.dataset.lists": "[" + ",".join(self.lists) + "]" if self.lists else None,
        }
        return configs + [f"--{key}={value}" for key, value in values.items() if value is not None] + list(self.extra)

    def _check_classification(self, method: str) -> None:
        none: dict[str, Any] = {"SETTING": self.setting, "PROTOCOL": self.protocol, "MANIFEST": self.manifest}
        none["DROP_SMALL"] = self.drop_small or None
        given = [name for name, value in none.items() if value is not None]
        if given:
            raise SettingsError(
                f"classification has no {given[0]} (--{given[0].lower().replace('_', '-')}), and {self.dataset} is a "
                "data set for it; leave it out"
            )
        own, plain, here = backbone(method), backbone(method.rpartition("_")[0]), backbone(self.dataset, "data")
        if here and own != plain is not None and not any(part.startswith("--model.backbone") for part in self.extra):
            raise SettingsError(
                f"{method} is {method.rpartition('_')[0]} with the backbone {own}, and {self.dataset} comes with "
                f"{here}; expected {method.rpartition('_')[0]}, or another data set"
            )

    def _task(self, fold: int) -> dict[str, Any]:
        """What is tested, as it was asked for or as the manifest's file says."""
        names = ("protocol", "way", "shot", "setting")
        asked = {f"data.{name}": getattr(self, name) for name in names}
        if self.manifest is None:
            return asked
        path = self.manifest.replace("{fold}", str(fold))
        header = read_manifest(Path(path).expanduser()).header
        stated = {f"data.{name}": header[name] for name in names}
        return stated | {key: value for key, value in asked.items() if value is not None} | {"data.manifest": path}

    def _checkpoint(self, fold: int) -> str | None:
        if self.checkpoint is None:
            return None
        path = self.checkpoint.replace("{fold}", str(fold))
        inside = Path(path) / f"fold-{fold}" / "best.ckpt"
        if len(self.folds) > 1 and path == self.checkpoint and not Path(path).is_dir():
            raise SettingsError(
                f"one checkpoint for {len(self.folds)} folds: each fold needs its own, or base classes would be tested;"
                " give a folder with fold-<f>/best.ckpt or a path with {fold}"
            )
        return str(inside) if Path(path).is_dir() else path

"""Parts of a run that came from an installed package or a single file of the user's, for the record's provenance."""

from pathlib import Path
from typing import Any

from fsbench.base.plugins import PlugIn, package_commit
from fsbench.runner.config.class_file import SHA256
from fsbench.runner.config.registry import plug_in_of, plug_in_of_class
from fsbench.runner.engine.identity import Identified


def plug_in_origins(experiment: Identified) -> list[dict[str, str | None]]:
    """Return an entry for the method, the data set, the backbone and the protocol that came from outside fsbench.

    Each has `part` and `name`, and `package`, `version` and `commit` (None where it is not known) or `file` and
    `sha256`.
    """
    options, data = experiment.options, experiment.settings["data"]["init_args"]
    found = [
        _class_origin("method", experiment.settings["model"]["class_path"], options.method_file)
        or _package_origin("method", options.name, plug_in_of("methods", options.name)),
        _class_origin("data set", data["dataset"]["class_path"], options.dataset_file),
        _name_origin("backbone", "backbones", experiment.method.backbone.name),
        _name_origin(
            "protocol", "protocols", experiment.data.protocol.name if experiment.data.task == "segmentation" else None
        ),
    ]
    return [entry for entry in found if entry is not None]


def _class_origin(part: str, class_path: str, reference: str | None) -> dict[str, Any] | None:
    if reference is None:
        return _package_origin(part, class_path, plug_in_of_class(class_path))
    path, _, sha256 = reference.rpartition(SHA256)
    return {"part": part, "name": class_path.rpartition(".")[2], "file": Path(path).name, "sha256": sha256}


def _name_origin(part: str, kind: str, name: str | None) -> dict[str, Any] | None:
    return None if name is None else _package_origin(part, name, plug_in_of(kind, name))


def _package_origin(part: str, name: str, plug_in: PlugIn | None) -> dict[str, Any] | None:
    if plug_in is None:
        return None
    package = {"package": plug_in.package, "version": plug_in.version, "commit": package_commit(plug_in.package)}
    return {"part": part, "name": name, **package}

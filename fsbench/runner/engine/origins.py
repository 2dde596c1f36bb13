"""Where the weights and the parts of a run come from, for its record and its checkpoints."""

from pathlib import Path
from typing import Any

from fsbench.base.class_file import SHA256, SOURCE
from fsbench.base.plugins import package_commit
from fsbench.records.run import CHOSEN_BY, LAST
from fsbench.runner.config.registry import plug_in_of, plug_in_of_class
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.identity import own_modules_of


def training_facts(experiment: Experiment) -> dict[str, Any]:
    """Return {entry: JSON value} about how a run trains, such as image size and precision, for record and checkpoints.

    Later runs that use such a checkpoint copy the entries from it.
    """
    data, identity = experiment.data, experiment.identity
    episodes = data.validation_manifest if data.validates else None
    return {
        "image_size": data.image_size,
        "precision": str(identity.precision),
        "tf32": identity.tf32,
        "settings": identity.training,
        "method": identity.method.as_json(),
        "chosen_by": LAST if episodes is None else CHOSEN_BY,
        "episodes": None if episodes is None else len(episodes.episodes),
        "official_episodes": None if episodes is None else episodes.entries.get("official_episodes"),  # or whole images
    }


def plug_in_origins(experiment: Experiment) -> list[dict[str, str | None]]:
    """Return an entry for each part of a run (method, data set, backbone, protocol) that comes from outside fsbench.

    Each entry has `part` and `name`. For a package it also has `package`, `version` and `commit` (None if unknown); for
    a user's file `file`, `sha256` and, for a method, `kept`, the name of the file's copy in the run's folder. The
    user's own modules that these parts import have `file` and `sha256`, too, and the part "module".
    """
    options, data = experiment.options, experiment.data
    method_class = experiment.settings["model"]["class_path"]
    dataset_class = experiment.settings["data"]["init_args"]["dataset"]["class_path"]
    backbone = experiment.method.backbone.name
    protocol = data.protocol.name if data.task == "segmentation" else ""
    parts = [
        ("method", method_class, options.method_file, plug_in_of_class(method_class)),
        ("data set", dataset_class, options.dataset_file, plug_in_of_class(dataset_class)),
        ("backbone", backbone, None, plug_in_of("backbones", backbone)),
        ("protocol", protocol, None, plug_in_of("protocols", protocol)),
    ]
    if options.method_file is None and parts[0][3] is None:  # a package's settings of a class of another one
        parts[0] = ("method", options.name, None, plug_in_of("methods", options.name))
    origins: list[dict[str, str | None]] = []
    for part, name, reference, plug_in in parts:
        if reference is not None:
            path, _, sha256 = reference.rpartition(SHA256)
            file = {"file": Path(path).name, "sha256": sha256}
            kept = {"kept": SOURCE} if part == "method" else {}
            origins.append({"part": part, "name": name.rpartition(".")[2], **file, **kept})
        elif plug_in is not None:
            package = {
                "package": plug_in.package,
                "version": plug_in.version,
                "commit": package_commit(plug_in.package),
            }
            origins.append({"part": part, "name": name, **package})
    for name, own in own_modules_of(experiment).items():
        origins.append({"part": "module", "name": name, "file": own.file.name, "sha256": own.sha256})
    return origins

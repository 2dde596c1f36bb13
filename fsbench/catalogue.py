"""What there is to choose from: the folders of configs are the registry."""

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.annotations import AnnotationIndex
from fsbench.errors import SettingsError
from fsbench.manifest import CLASSIFICATION
from fsbench.paths import CONFIGS

if TYPE_CHECKING:
    from fsbench.backbones import BackboneConfig


@cache
def names(kind: str) -> dict[str, str]:
    """Names in configs/`kind`, with the first comment line of each file."""
    files = sorted((CONFIGS / kind).glob("*.yaml"))
    return {f.stem: f.read_text().split("\n")[0].removeprefix("# ") for f in files if "." not in f.stem}


@cache
def answers(kind: str, name: str) -> str:
    """What configs/`kind`/`name` is for: "classification" of images or "segmentation". The data module says it."""
    import yaml

    data = (yaml.safe_load((CONFIGS / kind / f"{name}.yaml").read_text()) or {}).get("data") or {}
    return CLASSIFICATION if ".classification." in data.get("class_path", "") else "segmentation"


def backbone(name: str, kind: str = "methods") -> str | None:
    """The backbone that configs/`kind`/`name` asks for; None where it asks for none, or is not there."""
    import yaml

    file = CONFIGS / kind / f"{name}.yaml"
    model = (yaml.safe_load(file.read_text()) or {}).get("model") or {} if file.is_file() else {}
    return model.get("init_args", {}).get("backbone", {}).get("name")


def _known(kind: str, what: str, name: str) -> None:
    if name not in names(kind):
        raise SettingsError(f"unknown {what} '{name}'; there are: {', '.join(names(kind))} (see: fsbench list)")


def load_index(dataset: str, root: str | None = None, lists: Sequence[str] = ()) -> AnnotationIndex:
    """The annotation index of configs/data/`dataset`, with another `root` or `lists` if given.

    Raises SettingsError for an unknown data set or a setting it does not have, DataError for unusable data.
    """
    import yaml

    _known("data", "data set", dataset)
    config = yaml.safe_load((CONFIGS / "data" / f"{dataset}.yaml").read_text())["data"]["init_args"]["dataset"]
    if answers("data", dataset) == CLASSIFICATION:
        raise SettingsError(f"{dataset} is a data set for classification without label maps; expected one with masks")
    module, _, name = config["class_path"].rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    given: dict[str, Any] = {"root": root} if root else {}
    given |= {"lists": list(lists)} if lists else {}
    accepted = inspect.signature(kind).parameters
    strange = [key for key in given if key not in accepted]
    if strange:
        raise SettingsError(f"data set {dataset} has no {strange[0]}; it has: {', '.join(accepted)}")
    index = kind(**config.get("init_args", {}) | given)
    assert isinstance(index, AnnotationIndex)
    return index


def method_classes() -> dict[str, Any]:
    """Dotted name -> class of every method in configs/methods."""
    import yaml

    found = {}
    for file in sorted((CONFIGS / "methods").glob("*.yaml")):
        dotted = (yaml.safe_load(file.read_text()).get("model") or {}).get("class_path")
        if dotted and dotted not in found:
            module, _, name = dotted.rpartition(".")
            found[dotted] = getattr(importlib.import_module(module), name)
    return found


@dataclass(frozen=True)
class Recipe:
    """How a method is built: its class (dotted), the class's arguments besides the backbone and those of the backbone,
    the side of its images, the name of its protocol, and how K shots become one prediction."""

    name: str
    kind: str
    arguments: dict[str, Any]
    backbone: dict[str, Any]
    image_size: int
    protocol: str
    nshot_strategy: str = "own"

    def build(self, **backbone: Any) -> Any:
        """The method, with other arguments of the backbone where given. Raises CheckpointError for missing weights."""
        from fsbench.backbones import BackboneConfig

        given = {key: value for key, value in backbone.items() if value is not None}
        module, _, name = self.kind.rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        return kind(BackboneConfig(**self.backbone | given), **self.arguments)


def method_recipe(name: str, dataset: str | None = None) -> Recipe:
    """The recipe of configs/methods/`name`, or of what it is with a data set, as `fsbench bench` would compose it.

    Raises SettingsError for an unknown method or data set, and for a method of classification.
    """
    _known("methods", "method", name)
    if answers("methods", name) == CLASSIFICATION:
        raise SettingsError(f"{name} classifies images; expected a method that segments (see: fsbench list)")
    own = [CONFIGS / "base.yaml", CONFIGS / "methods" / f"{name}.yaml"]
    return read_recipe(config_files(name, dataset) if dataset else own, name)


def read_recipe(files: Sequence[Path], name: str | None = None) -> Recipe:
    """The recipe of configuration files, later ones over earlier ones; `name` where they do not say theirs."""
    import yaml

    config: dict[str, Any] = {}
    for file in files:
        config = _merged(config, yaml.safe_load(file.read_text()))
    arguments, data, run = dict(config["model"]["init_args"]), config["data"]["init_args"], config.get("run", {})
    backbone = arguments.pop("backbone")
    return Recipe(
        name or run["name"],
        config["model"]["class_path"],
        arguments,
        backbone,
        int(data["image_size"]),
        data["protocol"],
        run.get("nshot_strategy", "own"),
    )


def _merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: _merged(below.get(key), value) for key, value in above.items()}


def build_method(name: str, backbone: "BackboneConfig") -> tuple[Any, int]:
    """The method of configs/methods/`name` and the image size it is made for. An empty name of `backbone` stands for
    the method's own backbone.

    Raises SettingsError for an unknown method, CheckpointError for missing weights.
    """
    recipe = method_recipe(name)
    return recipe.build(**asdict(backbone) | {"name": backbone.name or None}), recipe.image_size


def config_files(method: str, dataset: str, fast: bool = False) -> list[Path]:
    """base.yaml, the method's, the data set's, what the two need together, and that of a trial if wanted.

    Raises SettingsError for an unknown method or data set, and where the two do not belong together.
    """
    _known("methods", "method", method)
    _known("data", "data set", dataset)
    kind, other = answers("methods", method), answers("data", dataset)
    if kind != other:
        fitting = [name for name in names("data") if answers("data", name) == kind]
        raise SettingsError(
            f"{method} is a method of {kind}, and {dataset} a data set for {other}; data sets for {method}: "
            f"{', '.join(fitting)} (see: fsbench list)"
        )
    fast_file = CONFIGS / ("fast_classification.yaml" if kind == CLASSIFICATION else "fast.yaml")
    together = CONFIGS / "methods" / f"{method}.{dataset}.yaml"
    files = [CONFIGS / "base.yaml", CONFIGS / "methods" / f"{method}.yaml", CONFIGS / "data" / f"{dataset}.yaml"]
    return files + [together] * together.is_file() + [fast_file] * fast

"""Write a small package with a method, a data set or a protocol that works as it is written."""

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from string import Template

from fsbench.base.errors import SettingsError
from fsbench.base.files import make_folder, read_text, write_text
from fsbench.runner.config.registry import aliases, names

TEMPLATES = Path(__file__).with_name("templates")
KINDS = {"method": "methods", "dataset": "data", "protocol": "protocols"}
"""Kinds of packages, and the folder of configs whose names they join."""
CHECKS = {"method": "fsbench check-method ${name}", "dataset": "fsbench list", "protocol": "fsbench protocols"}
"""Command of each kind that shows whether fsbench takes the installed package."""
ACTION = Path(".github/actions/verdict/action.yml")
"""The suite's own action, which a method's package has a copy of."""
TAKEN = {"fsbench", "methods", "datamodules", "tests", "test", "torch", "numpy", "lightning", "site", "configs"}
"""Names of modules that a package would hide, besides Python's own."""


def write_package(kind: str, name: str, folder: Path) -> tuple[Path, str]:
    """Write a package into a new folder.

    Args:
        kind: "method", "dataset" or "protocol".
        name: of the method, data set or protocol, and of its module and folder.
        folder: in which the package's folder is made.

    Returns:
        The package's folder, and the name of its class.

    Raises:
        SettingsError: the name cannot be one or is taken, or the folder exists.
    """
    _check_name(kind, name)
    target = folder / name
    if target.exists():
        raise SettingsError(f"{target} is there already; expected a new folder; choose another name, or remove it")
    class_name = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    if class_name.lower() != name and class_name.lower() in _known(kind):
        raise SettingsError(f"{name} would have the class {class_name}, whose name is taken; choose another name")
    places = {
        f"{name}.py": [f"{kind}/code.py"],
        f"{name}_configs/{KINDS[kind]}/{name}.yaml": [f"{kind}/config.yaml"],
        f"test_{name}.py": [f"{kind}/test.py"],
        "README.md": [f"{kind}/README.md", "accepted.md", *(["method/verdict.md"] if kind == "method" else [])],
        "pyproject.toml": ["pyproject.toml", *(["protocol/entry_point.toml"] if kind == "protocol" else [])],
        "accepted/cases.yaml": [f"{kind}/cases.yaml"],
        ".github/workflows/check.yml": ["workflow.yml", *(["method/verdict.yml"] if kind == "method" else [])],
    }
    values = {"name": name, "class_name": class_name, "slug": name.replace("_", "-")}
    values["check"] = Template(CHECKS[kind]).substitute(values)
    for place, templates in places.items():
        texts = [read_text(TEMPLATES / f"{template}.txt", "settings") for template in templates]
        text = "\n".join(Template(one).substitute(values).strip("\n") + "\n" for one in texts)
        write_text(make_folder((target / place).parent) / Path(place).name, text)
    if kind == "method":
        write_text(
            make_folder((target / ACTION).parent) / ACTION.name, read_text(TEMPLATES / "action.yml.txt", "settings")
        )
    return target, class_name


def _check_name(kind: str, name: str) -> None:
    """Raise SettingsError for what is no name of a module, or one that is taken."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name, re.ASCII) or keyword.iskeyword(name):
        raise SettingsError(
            f"the name is {name!r}, expected a Python module's: a small letter, then up to 40 of a-z, 0-9 and _"
        )
    if name in TAKEN or name in sys.stdlib_module_names:
        raise SettingsError(f"the name {name} would hide the Python module {name}; choose another name")
    found = importlib.util.find_spec(name)
    if found is not None and found.origin is not None:  # None: a mere folder on the path
        raise SettingsError(
            f"the name {name} is that of an installed Python module ({found.origin}); choose another name"
        )
    if name in _known(kind):
        command = "protocols" if kind == "protocol" else "list"
        raise SettingsError(f"there is a {kind} {name} already (see: fsbench {command}); choose another name")


def _known(kind: str) -> set[str]:
    return {*names(KINDS[kind]), *(aliases() if kind == "method" else ())}

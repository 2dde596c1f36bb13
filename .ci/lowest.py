"""Print the lowest versions that pyproject.toml allows of what fsbench runs with, as constraints of pip.

    python .ci/lowest.py > lowest.txt && make venv CONSTRAINTS=lowest.txt

The tools of tests and of the manual are left out: users have none of them. Of a bound such as 2.11 it is the newest
release of that series.
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
TOOLS = ("test", "docs")
BUILT = "cuda"
"""The extra whose packages are compiled for a GPU."""


def requirements(project: Path = PROJECT) -> dict[str, dict[str, str]]:
    """Return the requirements by package, of the project ("") and of its extras, but for tools and what is compiled."""
    content = tomllib.loads(project.read_text())["project"]
    extras = content.get("optional-dependencies", {})
    groups = {"": content["dependencies"]} | {name: extras[name] for name in extras if name not in (*TOOLS, BUILT)}
    packages = re.compile(r"([\w.-]+).*[>=]=")
    return {
        group: {match[1]: requirement for requirement in listed if (match := packages.match(requirement))}
        for group, listed in groups.items()
    }


def lowest(project: Path = PROJECT) -> dict[str, str]:
    """Return the requirement of the lowest series of every package."""
    found = {name: requirement for group in requirements(project).values() for name, requirement in group.items()}
    return {name: re.sub(r"^([\w.-]+).*?[>=]=([\d.]+).*", r"\1==\2.*", found[name]) for name in sorted(found)}


if __name__ == "__main__":
    print("\n".join(lowest().values()))

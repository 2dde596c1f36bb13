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


def lowest(project: Path = PROJECT) -> list[str]:
    """Return a constraint for every package of the project and its extras, but for tools and what is compiled."""
    content = tomllib.loads(project.read_text())["project"]
    extras = content["optional-dependencies"]
    groups = [content["dependencies"], *(extras[name] for name in extras if name not in (*TOOLS, BUILT))]
    found = {
        match[1]: match[2]
        for requirement in (requirement for group in groups for requirement in group)
        if (match := re.match(r"([\w.-]+)(?:\[[\w,-]+\])?[>=]=([\d.]+)", requirement))
    }
    return [f"{name}=={version}.*" for name, version in sorted(found.items())]


if __name__ == "__main__":
    print("\n".join(lowest()))

"""An environment of numpy, Pillow and onnxruntime, in which neither the suite nor torch can be imported."""

import subprocess
import sys
from pathlib import Path

from tests.fsbench.test_light_installation import with_dependencies

START = """
import importlib.util, runpy, sys
sys.path.append(sys.argv[1])
sys.argv = sys.argv[2:]
assert not any(importlib.util.find_spec(name) for name in ("fsbench", "torch", "lightning"))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class ThreePackages:
    """Python with links to the three packages and what they need, which runs an exported file's script.

    Args:
        folder: to make; it is the scripts' working folder, too.
    """

    def __init__(self, folder: Path):
        self.folder, self.packages = folder, folder / "packages"
        self.packages.mkdir(parents=True)
        for distribution in with_dependencies(["numpy", "pillow", "onnxruntime"]).values():
            files = distribution.files or ()
            for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
                (self.packages / top).symlink_to(Path(str(distribution.locate_file(top))))

    def run(self, script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a script with arguments."""
        command = [sys.executable, "-I", "-S", "-c", START, str(self.packages), str(script), *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

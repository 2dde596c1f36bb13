import subprocess
import sys


def test_datasets_do_not_load_heavy_packages_before_they_are_used() -> None:
    program = """
import sys
import fsbench.datamodules.datasets.coco, fsbench.datamodules.datasets.demo.dataset, fsbench.datamodules.datasets.folder
import fsbench.datamodules.datasets.cars, fsbench.datamodules.datasets.pascal
print(*sorted({"torch", "cv2", "polars", "pycocotools", "yaml", "lightning"} & sys.modules.keys()))
"""
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []

"""`fsbench report` of a real run: its chosen episodes are predicted again and drawn."""

import json
import re

from PIL import Image


def test_a_real_run_is_pictured(fsbench, bench_arguments, tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "report"
    done = fsbench(*bench_arguments("prototype", runs))
    assert done.returncode == 0, done.stderr
    made = fsbench("report", str(runs), "--out", str(out), "--gallery", "3")
    assert made.returncode == 0, made.stderr
    page = (out / "study-1/gallery.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    pictured = data["folds"][0]["pictures"]
    assert pictured and "No pictures" not in page
    for entry in pictured.values():
        for file in (*entry["support"], entry["query"], entry["truth"], *entry["methods"]["0"]):
            assert max(Image.open(out / "study-1" / file).size) <= 240
    for config in runs.glob("*/config.yaml"):
        config.unlink()
    again = fsbench("report", str(runs), "--out", str(out))
    assert again.returncode == 0 and "there is no config.yaml" in (out / "study-1/gallery.html").read_text()

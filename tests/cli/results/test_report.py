"""`fsbench report` of a real run: its episodes are shown, and chosen ones run again as a manifest from the page."""

import shlex
import shutil
import subprocess
import sys

import polars as pl
import pytest
from PIL import Image

from fsbench.cli.main import main
from tests.fsbench.pages.report.test_report import data_file


@pytest.mark.slow(2)
def test_a_real_run_is_explored(finished_runs, tmp_path, capsys):
    runs, out = shutil.copytree(finished_runs, tmp_path / "runs"), tmp_path / "report"
    assert main(["report", str(runs), "--out", str(out), "--photo-side", "100"]) == 0, capsys.readouterr().err
    data, masks = (data_file(out / "study-1", name) for name in ("data", "masks-0-0"))
    names = {data["columns"]["query"][i] for i in range(9)}
    assert names <= set(data["images"]) and len(masks["predicted"]["0"]) == len(masks["truth"]) == 9
    for number in data["images"]:
        assert max(Image.open(out / f"study-1/explorer/{number}.jpg").size) <= 100
    assert "What is not shown" not in (out / "study-1/explorer.html").read_text()
    for config in runs.glob("*/config.yaml"):
        config.unlink()
    assert main(["report", str(runs), "--out", str(out)]) == 0
    assert "there is no config.yaml" in (out / "study-1/explorer.html").read_text()


@pytest.mark.slow(4)
def test_images_of_runs_that_kept_masks_need_no_torch(finished_runs, tmp_path):
    program = f"""if True:
        import sys
        from fsbench.cli.main import main
        main(["report", {str(finished_runs)!r}, "--out", {str(tmp_path / "report")!r}])
        print({{"torch", "lightning"}} & sys.modules.keys())
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert data_file(tmp_path / "report/study-1", "data")["images"]


@pytest.mark.slow(30)
def test_a_subset_from_the_page_runs_and_counts_as_before(warm, bench_arguments, chromium, tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "report"
    assert warm(*bench_arguments("prototype", runs)).returncode == 0
    assert warm("report", str(runs), "--out", str(out), "--no-photos").returncode == 0
    page = chromium.new_page()
    page.goto((out / "study-1/explorer.html").as_uri() + "#brush=0 1000 200 1000")
    page.wait_for_function("document.getElementById('shown-count').textContent")
    with page.expect_download() as download:
        page.locator("#save-buttons button").click()
    download.value.save_as(tmp_path / "my-hard-subset-fold0.jsonl")
    command = shlex.split(page.inner_text("#save-command"))
    page.context.close()
    (manifest,) = (word.partition("=")[2] for word in command if word.startswith("MANIFEST="))
    arguments = [word for word in bench_arguments("prototype", tmp_path / "again") if "data.test.episodes" not in word]
    done = warm(*arguments, "--manifest", manifest)
    assert done.returncode == 0, done.stderr
    assert "somebody chose these episodes from a list" in " ".join(done.stdout.split())
    whole, part = (pl.read_parquet(next(folder.glob("*/episodes.parquet"))) for folder in (runs, tmp_path / "again"))
    chosen = part["episode"].unique().to_list()
    assert 0 < len(chosen) < 9
    assert part.equals(whole.filter(pl.col("episode").is_in(chosen)))

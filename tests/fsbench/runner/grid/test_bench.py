"""The protocol that a method takes where none is asked for, and the line that says so."""

import pytest

from fsbench.base.errors import SettingsError
from fsbench.runner.config.registry import names, task_of
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.grid import bench as benches
from fsbench.runner.grid.bench import bench, protocol_words
from fsbench.runner.grid.words import task_words

OWN = {
    **dict.fromkeys(
        ("dcama", "dcama_resnet50", "hsnet", "hsnet_vgg16", "patnet", "patnet_tfi", "patnet_vgg16", "ifa", "ifa_5shot",
         "ifa_strict", "abcdfss", "abcdfss_every", "fssdino", "linear_probe_dense", "lora_probe_dense", "seggpt",
         "universeg", "multiverseg",
         "blind_saliency", "blind_centre", "blind_full", "vrp_sam", "vrp_sam_vgg16", "sansa", "sansa_generalist"),
        "hsnet",
    ),
    **dict.fromkeys(
        ("hmnet", "hmnet_5shot", "hmnet_vgg", "pspnet", "hdmnet", "hdmnet_5shot", "bam", "bam_5shot", "pfenet"),
        "pfenet",
    ),
    **dict.fromkeys(("insid3", "gf_sam", "persam", "persam_f"), "incontext"),
    **dict.fromkeys(("sam3_canvas", "sam3_canvas_names", "sam3_exemplars"), "fss_sam3"),
    "matcher": "incontext518", "diam": "gfss", "segic": "segic",
    "alpnet": "alpnet",
}  # fmt: skip
"""As their authors evaluate (dcama.md §9, classical-baselines §4, hmnet.md §11, emat.md); FS-CS for all others."""
SEGMENTING = sorted(name for name in names("methods") if task_of("methods", name) == "segmentation")


def stated(method: str, dataset: str, **options: object) -> str:
    """The protocol in the settings that the parser gets, which needs no parser to be read."""
    return RunConfig(method, dataset, **options).values["data"]["init_args"]["test"]["protocol"]


@pytest.mark.parametrize("method", SEGMENTING)
def test_a_method_takes_the_protocol_of_its_authors(method):
    assert RunConfig(method, "pascal").own_protocol == OWN.get(method, "fscs") == stated(method, "pascal")


@pytest.mark.parametrize("method", ["emat", "hsnet", "pfenet", "matcher", "segic"])
def test_a_method_takes_another_protocol_when_asked(method):
    asked = "hsnet" if method == "emat" else "fscs"
    assert stated(method, "coco", protocol=asked) == asked
    assert RunConfig(method, "pascal", protocol=asked).own_protocol is None


@pytest.mark.parametrize("method", ["dcama", "emat", "hmnet", "insid3", "sam3_canvas", "seggpt", "multiverseg"])
def test_on_the_demo_one_table_holds_all(method):
    assert RunConfig(method, "demo").own_protocol == stated(method, "demo") == "fscs"


def test_the_parser_changes_no_protocol():
    run = RunConfig("dcama", "pascal", protocol="fscs").parse(build=False)
    assert run.data_arguments["test"]["protocol"] == "fscs"


def line(*methods: str, dataset: str = "pascal", **options: object) -> str:
    return protocol_words([RunConfig(method, dataset, **options) for method in methods])


def test_the_line_names_what_was_taken_and_nothing_where_it_was_asked_for():
    assert line("dcama") == "default protocol: hsnet for dcama (--protocol NAME sets one for all)"
    assert line("dcama", "emat", "hsnet", "prototype") == (
        "default protocol: hsnet for dcama, hsnet; fscs for emat, prototype (scores of different protocols cannot be "
        "compared, so each has its own table; --protocol NAME sets one for all)"
    )
    assert line("emat", "cst") == line("dcama", "emat", dataset="demo") == line("nn", dataset="cub") == ""
    assert line("dcama", protocol="fscs") == line("dcama", "hmnet", manifest="episodes.jsonl.gz") == ""
    several = [RunConfig("dcama", "pascal", protocol=protocol) for protocol in ("hsnet", "fscs")]
    assert (
        protocol_words(several)
        == "protocols: hsnet, fscs; each has its own table, and one more table shows them side by side"
    )
    for given in (("--data.test.protocol=fscs",), ("--data.test.protocol", "fscs")):
        assert line("dcama", extra=given) == ""


def test_bench_prints_it_before_the_first_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benches, "plan_runs", lambda runs: [])
    bench([RunConfig("dcama", "pascal", runs=str(tmp_path))])
    assert capsys.readouterr().err == line("dcama") + "\n"
    bench([RunConfig("dcama", "demo", runs=str(tmp_path))])
    assert capsys.readouterr().err == ""


class Fails:
    """A process that ends with status 1."""

    def wait(self):
        return 1

    def stop(self):
        pass


@pytest.mark.slow(3)
def test_runs_of_several_protocols_are_counted_together(blocks_folder, tmp_path, capsys, monkeypatch):
    """Each is checked before the first one starts, and named with its protocol."""
    started = []
    monkeypatch.setattr(benches, "start_process", lambda job: started.append(job) or Fails())
    data = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}"]

    def one(name: str, fold: int) -> RunConfig:
        return RunConfig("prototype", "demo", fold=fold, runs=str(tmp_path / "runs"), protocol=name, extra=tuple(data))

    asked = [one(name, fold) for name in ("incontext", "hsnet") for fold in (0, 1)]
    records, failures = bench(asked)
    labels = [f"prototype on demo, fold {fold}, {name}" for name in ("incontext", "hsnet") for fold in (0, 1)]
    assert [job.log for job in started] == [None] * 4 and not records
    announced = [line.partition(": runs in ")[0] for line in capsys.readouterr().err.splitlines() if "runs in" in line]
    assert announced == [f"[{number}/4] {label}" for number, label in enumerate(labels, 1)]
    assert [line.partition(" failed")[0] for line in failures] == announced
    started.clear()
    with pytest.raises(SettingsError):
        bench([*asked, one("hsnet", 9)])
    assert not started


def test_a_grid_shows_it():
    def task(method: str, **options: object) -> str:
        return task_words(RunConfig(method, "pascal", shot=5, **options))

    assert task("dcama") == "1-way 5-shot hsnet" and task("emat") == "1-way 5-shot"
    assert task("dcama", protocol="fscs") == "1-way 5-shot fscs"

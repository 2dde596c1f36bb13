"""The protocol that a method takes where none is asked for, and the line that says so."""

import pytest

from fsbench.config.compose import parse
from fsbench.config.registry import names, task_of
from fsbench.config.request import Request
from fsbench.engine import bench as benches
from fsbench.engine.bench import bench, describe_protocols
from fsbench.grid.spec import GridCell

OWN = {
    "dcama": "hsnet", "dcama_resnet50": "hsnet", "hsnet": "hsnet", "hsnet_vgg16": "hsnet", "hmnet": "pfenet",
    "hmnet_5shot": "pfenet", "hmnet_vgg": "pfenet", "pspnet": "pfenet", "emat": "fscs", "emat_seg": "fscs",
    "cst": "fscs", "prototype": "fscs",
}  # fmt: skip
"""As their authors evaluate (dcama.md §9, classical-baselines §4, hmnet.md §11, emat.md)."""


def configured(method: str, dataset: str, **options: object) -> str:
    arguments = Request([method], dataset, **options).arguments(method, 0)
    return str(parse(arguments, build=False).config["data"].init_args.protocol)


@pytest.mark.parametrize("method", OWN)
def test_a_method_takes_the_protocol_of_its_authors_and_another_when_asked(method):
    assert Request([method], "pascal").own_protocol(method) == OWN[method] == configured(method, "pascal")
    assert configured(method, "coco") == OWN[method]
    for asked in ("fscs", "hsnet", "pfenet"):
        assert configured(method, "pascal", protocol=asked) == asked
        assert Request([method], "pascal", protocol=asked).own_protocol(method) is None


def test_all_methods_of_segmentation_are_known_here():
    known = {name for name in names("methods") if task_of("methods", name) == "segmentation"}
    assert known - set(OWN) <= {"cst_large", "cst_original"}


@pytest.mark.parametrize(
    "method", ["dcama", "dcama_resnet50", "hsnet", "hmnet", "emat", "emat_seg", "cst", "prototype"]
)
def test_on_the_demo_one_table_holds_all(method):
    assert Request([method], "demo").own_protocol(method) == configured(method, "demo") == "fscs"


def line(*methods: str, dataset: str = "pascal", **options: object) -> str:
    return describe_protocols(Request(methods, dataset, **options))


def test_the_line_names_what_was_taken_and_nothing_where_it_was_asked_for():
    assert line("dcama") == "protocol, by default: hsnet for dcama (PROTOCOL=<name> sets one for all)"
    assert line("dcama", "emat", "hsnet", "prototype") == (
        "protocol, by default: hsnet for dcama, hsnet; fscs for emat, prototype (a table compares within one protocol; "
        "PROTOCOL=<name> sets one for all)"
    )
    assert line("emat", "cst") == line("dcama", "emat", dataset="demo") == line("nn", dataset="cub") == ""
    assert line("dcama", protocol="fscs") == line("dcama", "hmnet", manifest="episodes.jsonl.gz") == ""
    for given in (("--data.protocol=fscs",), ("--data.protocol", "fscs"), ("--data.init_args.protocol=fscs",)):
        assert line("dcama", extra=given) == ""


def test_bench_prints_it_before_the_first_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benches, "_jobs", lambda request: [])
    bench(Request(["dcama"], "pascal", runs=str(tmp_path)))
    assert capsys.readouterr().err == line("dcama") + "\n"
    bench(Request(["dcama"], "demo", runs=str(tmp_path)))
    assert capsys.readouterr().err == ""


def test_a_grid_shows_it():
    def task(method: str, **options: object) -> str:
        return GridCell(Request([method], "pascal", shot=5, **options)).task

    assert task("dcama") == "1-way 5-shot hsnet" and task("emat") == "1-way 5-shot"
    assert task("dcama", protocol="fscs") == "1-way 5-shot fscs"

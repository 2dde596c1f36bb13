"""The check of all rows: a broken one is named, and of each kind of method one is run."""

import yaml

from fsbench.runner.papers.files import papers, read_paper
from fsbench.runner.reproduce.smoke import check_rows, samples


def test_a_row_that_cannot_be_composed_is_named(tmp_path):
    row = {"method": "emat", "reported": {"method": "EMAT", "backbone": "none"}, "datasets": ["pascal"]}
    rows = [row, row | {"options": ["--model.suport_side=3"]}, row | {"options": ["--data.training.batch_size=many"]}]
    paper = {"title": "Small", "tables": {"1": {"caption": "c", "source": "none", "rows": rows}}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(paper))
    said = []
    option, number = check_rows({"small": read_paper("small", tmp_path)}, said.append)
    assert option.startswith("small, table 1, emat (suport_side=3) pascal 1-way 1-shot: ")
    assert "no option 'suport_side'; did you mean 'support_side'?" in option
    assert "batch_size" in number and said == ["small: 3 rows composed"]


def test_a_method_of_each_class_is_run():
    methods = [row.entry.method for _, row in samples(papers())]
    assert methods == [
        "abcdfss_every", "bam", "cst_original", "dcama_resnet50", "emat", "metaoptnet", "vpt", "lp", "hdmnet", "hmnet",
        "hsnet_resnet101", "ifa", "patnet_tfi", "pfenet", "sansa", "vrp_sam",
    ]  # fmt: skip

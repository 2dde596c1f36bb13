"""The files of papers: every figure has its row, what papers state is what is trained, mistakes are one line."""

from dataclasses import replace

import pytest
import yaml

from fsbench.base.errors import SettingsError
from fsbench.runner.config.merge import setting
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.papers.files import paper_rows, papers, read_paper
from fsbench.runner.papers.paper_sheet import remarks
from fsbench.runner.papers.results import published_scores, row_scores
from tests.config_words import judged_parts


@pytest.fixture(scope="module")
def all_rows():
    return [row for name, paper in papers().items() for row in paper_rows(name, paper)]


def test_every_published_figure_of_our_methods_has_a_row_and_every_row_figures(all_rows):
    published = published_scores()
    assert [row for row in all_rows if row.entry.reported and not row_scores(row, published)] == []
    claimed = {figure for row in all_rows for figure in row_scores(row, published)}
    repeated = [figure for figure in published if "(as repeated there)" in figure.source]  # of no paper's own table
    assert {figure.method for figure in repeated} == {"HSNet"}
    about = {(figure.kind, figure.dataset) for figure in claimed}  # that papers' files are about
    unclaimed = [figure for figure in published if figure not in claimed and figure not in repeated]
    assert [figure for figure in unclaimed if (figure.kind, figure.dataset) in about] == []


def test_a_row_has_the_figures_of_its_own_line():
    paper = read_paper("emat")
    row = next(r for r in paper_rows("emat", paper) if (r.method, r.dataset, r.setting) == ("emat", "coco", "original"))
    figures = {(figure.fold, figure.metric): figure.value for figure in row_scores(row, published_scores())}
    assert figures == {("mean", "accuracy"): 80.07, ("mean", "mIoU"): 52.81}


def test_a_paper_trains_as_it_states(all_rows):
    """Effective batch and epochs; the specifications say from where each is known."""
    stated = [row for row in all_rows if row.stated_setting("batch") or row.stated_setting("epochs")]
    assert len(stated) > 80
    differing = {
        f"{row.paper} {row.method} {row.task}: {why}"
        for row in stated
        for why in remarks(row, ())
        if why.startswith(("batch", "epochs"))
    }
    assert differing == set()


KEYS = ("data.training.batch_size", "data.image_size", "data.test.protocol", "trainer.max_epochs",
        "model.backbone.name",
        "data.dataset.root", "model.class_path")  # fmt: skip


@pytest.mark.slow(5)
def test_settings_read_from_files_are_those_of_the_parser(all_rows):
    """A row of each paper, and one with an ablation or options where it has such: whole papers are read alike."""
    chosen = {(row.paper, bool(row.variant)): row for row in all_rows}
    assert {plain for _, plain in chosen} == {True, False}
    for row in chosen.values():
        request = row.request
        config = request.parse(build=False).config.as_dict()
        settings = request.values
        for key in KEYS:
            found = setting(settings, key)
            if found is not None and not (key == "data.test.protocol" and row.entry.protocol):  # an option of its own
                assert found == setting(config, key), (row.method, row.task, key)


@pytest.mark.slow(60)
def test_every_row_of_every_paper_is_composed_and_parsed(all_rows):
    """And its base learner's. The parser sees each setting once."""
    requests = {replace(row.request, shot=1) for row in all_rows}
    learners = {(row.entry.weights_of, row.dataset, row.request.fold) for row in all_rows if row.entry.weights_of}
    requests |= {RunConfig(base.method, dataset, fold=fold, backbone=base.backbone) for base, dataset, fold in learners}
    parsed: set[str] = set()
    for request in requests:
        parts = judged_parts(request.values)
        if not parts <= parsed:
            request.parse(build=False)
            parsed |= parts
    assert len(parsed) > 100


PAPER = {
    "title": "A paper",
    "tables": {
        "1": {
            "caption": "c",
            "source": "s",
            "rows": [{"method": "emat", "reported": {"method": "EMAT", "backbone": "ViT"}, "datasets": ["pascal"]}],
        }
    },
}


def written(tmp_path, **change):
    content = yaml.safe_load(yaml.safe_dump(PAPER))
    row = content["tables"]["1"]["rows"][0]
    for key, value in change.items():
        row.pop(key, None)
        if value is not None:
            row[key] = value
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content))
    return read_paper("small", tmp_path)


def test_a_row_has_its_defaults(tmp_path):
    (row,) = paper_rows("small", written(tmp_path))
    assert (row.way, row.shot, row.setting, row.entry.folds) == (1, 1, "original", [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"method": None, "metod": "emat"},
            "small.yaml: the key 'metod' of tables.1.rows[0] is unknown; did you mean 'method'?",
        ),
        ({"method": None}, "small.yaml: tables.1.rows[0].method is missing"),
        ({"sort": "b"}, "small.yaml: the key 'sort' of tables.1.rows[0] is unknown; leave it out"),
        ({"shots": "one"}, "small.yaml: tables.1.rows[0].shots is 'one', expected a list"),
        ({"datasets": []}, "small.yaml: tables.1.rows[0].datasets is [], expected a list of one or more"),
        ({"method": "emt"}, "small.yaml, table 1: unknown method 'emt'"),
        ({"datasets": ["cub"]}, "small.yaml, table 1: emat is a method of segmentation, and cub"),
        ({"ablation": "dcama/none_of_it"}, "small.yaml, table 1: no ablation dcama/none_of_it; see configs/ablations"),
        ({"weights_of": {"method": "psp"}}, "small.yaml, table 1: unknown method 'psp'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(tmp_path, change, message):
    with pytest.raises(SettingsError) as refused:
        written(tmp_path, **change)
    assert message in str(refused.value) and "\n" not in str(refused.value)

"""Rows of the atlas as protocols."""

import re

import pytest
from fsbench.protocols.rows import compose, row_names, row_of, why_not_run

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import NOT_STATED
from fsbench.protocols.draws.listed import Listed
from fsbench.protocols.programs import Program, read_programs
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import load_protocol, protocol_of, read_protocol

ROWS = read_programs()
LEAST = 100
"""Rows that can be run at least."""


def row(name: str, **words: str) -> Program:
    """Return a row of the atlas with other words."""
    return next(one for one in ROWS if one.id == name).model_copy(update=words)


def composed(name: str) -> Protocol:
    protocol = load_protocol(name)
    listed(protocol)
    return protocol


def listed(protocol: Protocol) -> Listed:
    assert isinstance(protocol.draw, Listed)
    return protocol.draw


def test_most_rows_can_be_run_and_the_others_say_why():
    names, others = row_names(), why_not_run()
    assert len(names) + len(others) == len(ROWS) and len(names) >= LEAST
    for name in names:
        protocol = composed(name)
        assert protocol.name == name and row_of(name).id == name.removeprefix("atlas:")
    for name, reason in others.items():
        assert reason.startswith(f"atlas:{name} cannot be run: ") and "\n" not in reason


def test_a_protocol_states_the_words_of_its_row():
    protocol = composed("atlas:cyctr/pascal-5i")
    stated, program = protocol.conditions("pascal"), row("cyctr/pascal-5i")
    assert all(word == getattr(program, column) for column, word in vars(stated).items())
    assert protocol.conditions("coco").episode_draw == "image then class"
    draw = listed(protocol)
    assert (draw.seed, draw.workers, draw.episodes, draw.passes) == (123, 8, {"others": 1001}, 20)
    assert composed("atlas:BAM/COCO-20i").draw.averaged_seeds == (510, 365, 382, 322, 988)
    assert composed("atlas:MLC (baseline)/PASCAL-5i").name == "atlas:mlc-baseline/pascal-5i"
    assert composed("atlas:pmms / rpmms/pascal-5i").counting.void == "background"
    assert composed("atlas:emat/pascal-5i").draw.empty_queries and composed("atlas:emat/pascal-5i").draw.seed is None


def test_the_words_of_a_row_in_spirit_share_no_test():
    for name in ("atlas:canet/pascal-5i", "atlas:cwt/pascal-5i"):
        assert composed(name).in_spirit and composed(name).conditions("pascal").episode_draw == NOT_STATED
    given = composed("atlas:cwt/pascal-5i@base_seeds=4+5")
    assert not given.in_spirit and listed(given).base_seeds == (4, 5)
    assert not composed("atlas:cwt/pascal-5i@network_words=900").in_spirit
    known = composed("atlas:repri/pascal-5i")  # its row says how much the network takes
    assert not known.in_spirit and listed(known).network_words == 72282488


def test_a_row_whose_seed_is_set_before_the_network_hangs_on_it():
    before = {one.id for one in ROWS if "seed is set before" in one.quirks}
    assert before == {one.id for one in ROWS if "network" in one.depends_on.split("+")} != set()
    dcsam = [one for one in ROWS if one.method == "DC-SAM"]  # its evaluation sets the seed again, and draws by itself
    assert [one.depends_on for one in dcsam] == ["no", "no"]
    assert all("sets the seed again before the loop" in one.quirks for one in dcsam)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("atlas:cytr/pascal-5i", r"unknown row 'cytr/pascal-5i' of the atlas; did you mean 'cyctr/pascal-5i'\?"),
        ("atlas:nothing like it", "unknown row 'nothing like it' of the atlas; expected <method>/<data set>"),
        ("atlas:cyctr/pascal-5i@worker=2", "has the setting 'worker'; did you mean 'workers'"),
        ("atlas:cyctr/pascal-5i@workers=two", "workers is 'two', expected a number"),
        ("atlas:cyctr/pascal-5i@workers=1+2", "workers is '1[+]2', expected one number"),
        ("atlas:cyctr/pascal-5i@gpus=2", "has no setting gpus: its episodes hang on workers"),
        ("atlas:vat/pascal-5i@workers=2", "has no setting workers: its episodes hang on nothing"),
        ("atlas:repri/pascal-5i@numpy_in_workers=new", "numpy_in_workers is 'new', expected seeded or copied"),
        ("atlas:dmtnet/isic2018@gpus=0", "gpus is 0, expected 1 or more"),
        ("atlas:cwt/pascal-5i@network_words=99999999999", "network_words is 99999999999, expected fewer than"),
        ("atlas:capl/pascal-5i", "its image_lists is 'gfss': a test of base and novel classes at once"),
        ("atlas:clipseg/coco-20i", "its seeds is 'not found'"),
    ],
)
def test_what_cannot_be_run_gets_one_line(name, message):
    with pytest.raises(SettingsError, match=message) as refused:
        load_protocol(name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"image_lists": "hsnet"}, "image_lists 'hsnet' and min_object '2048 query[+]support' do not go together"),
        ({"episode_draw": "list of pairs"}, "goes through pairs, and image_lists 'pfenet' has images"),
        ({"seeds": "one or two"}, "its seeds is 'one or two', no form of seeds"),
        ({"episodes_per_fold": "some"}, "its episodes_per_fold is 'some'"),
        ({"metric": "mean Dice of scans"}, "metric is 'mean Dice of scans', for which there is no rule"),
        ({"geometry": "letterbox", "compared_at": "network input, torch nearest"}, "expected both 'padded'"),
        ({"min_object": "not found"}, "its min_object is 'not found'"),
    ],
)
def test_words_that_do_not_go_together(words, message):
    with pytest.raises(SettingsError, match=f"atlas:cyctr/pascal-5i cannot be run: .*{message}"):
        compose(row("cyctr/pascal-5i", **words), {})


def test_the_settings_of_a_draw_are_in_the_header(datasets):
    manifests = [
        load_protocol(f"atlas:cyctr/pascal-5i{more}").manifest(datasets("pascal"), Task(0, episodes=12))
        for more in ("", "@workers=8", "@workers=0")
    ]
    assert [m.header.protocol_entries["drawn_by"]["workers"] for m in manifests] == [8, 8, 0]
    assert manifests[0].episodes == manifests[1].episodes != manifests[2].episodes
    assert protocol_of(manifests[2].header) == load_protocol("atlas:cyctr/pascal-5i@workers=0")


def test_a_protocol_of_words_may_be_written_in_yaml(tmp_path):
    file = tmp_path / "mine.yaml"
    text = "name: mine\nversion: 1\nsummary: mine\ndraw:\n  image_lists: bam\n  min_object: 2048 query+support\n"
    file.write_text(text)
    with pytest.raises(SettingsError, match=re.escape(f"{file}: episode_draw 'list of pairs' goes through pairs")):
        read_protocol(file)
    file.write_text(text + "  episode_draw: image then clas\n")
    with pytest.raises(SettingsError, match=r"episode_draw is 'image then clas', .*did you mean 'image then class'"):
        read_protocol(file)
    file.write_text(text + "  episode_draw: image then class\n")
    protocol = read_protocol(file)
    assert protocol.conditions("pascal").image_lists == "bam"


def test_rows_are_listed_and_shown_with_their_evidence(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", "protocols", "atlas:cyctr/pascal-5i"]) == 0
    shown = capsys.readouterr().out
    assert "episodes hang on: workers 8" in shown and "[util/dataset.py:188,205]" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert main(["list", "protocols", "atlas:"]) == 0
    listed = capsys.readouterr().out
    assert f"{len(row_names())} rows of the atlas can be run:" in listed and f"{len(why_not_run())} cannot:" in listed
    assert "atlas:canet/pascal-5i   (in spirit only)" in listed
    assert "the protocol gfss has its words" in " ".join(listed.split())
    assert main(["list", "protocols", "atlas:", "hsnet"]) == 2

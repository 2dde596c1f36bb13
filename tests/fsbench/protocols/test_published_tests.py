"""Published tests as protocols, by the names of the programs that run them."""

import re

import pytest

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import ATLAS_NAMES, DATASET, NOT_STATED
from fsbench.protocols.draws.listed import Listed
from fsbench.protocols.programs import PublishedTest
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.published_tests import (
    compose,
    is_runnable,
    programs,
    published_tests,
    why_not_run,
)
from fsbench.protocols.published_tests import test_names as names_of_tests
from fsbench.protocols.reading import load_protocol, protocol_of, read_protocol

RUNNABLE_PROGRAMS, RUNNABLE_TESTS = 125, 79


def changed(key: str, **words: str) -> PublishedTest:
    """A published test with other words."""
    return PublishedTest.model_construct(**published_tests()[key].model_dump() | words)


def composed(name: str) -> Protocol:
    protocol = load_protocol(name)
    assert isinstance(protocol.draw, Listed)
    return protocol


def listed(protocol: Protocol) -> Listed:
    assert isinstance(protocol.draw, Listed)
    return protocol.draw


def test_a_published_test_stands_once_and_each_program_points_at_one():
    tests = published_tests()
    assert set(tests) <= set(programs()) and all(programs()[key].test is each for key, each in tests.items())
    distinct = {tuple(each.model_dump(exclude={"key"}).items()) for each in tests.values()}
    assert len(distinct) == len(tests)


def test_every_program_s_test_runs_or_says_why_not():
    names, others = names_of_tests(), why_not_run()
    assert len(names) == RUNNABLE_TESTS and len(names) + len(others) == len(published_tests())
    assert sum(map(is_runnable, programs())) == RUNNABLE_PROGRAMS
    for key, program in programs().items():
        if is_runnable(key):
            assert load_protocol(f"atlas:{key}") == load_protocol(f"atlas:{program.test.key}")
    for key, reason in others.items():
        assert reason.startswith(f"atlas:{key} cannot be run: ") and "\n" not in reason


@pytest.mark.parametrize("name", names_of_tests())
def test_a_protocol_states_the_words_of_its_test(name):
    protocol, published = composed(name), published_tests()[name.removeprefix("atlas:")]
    (dataset, *_) = [ours for ours, theirs in ATLAS_NAMES.items() if theirs == published.dataset] or [""]
    if not dataset:
        return
    stated = protocol.conditions(dataset)
    differ = [key for key, word in published.conditions.items() if key != DATASET.key and stated[key] != word]
    assert not [key for key in differ if stated[key] != NOT_STATED]
    assert not differ or protocol.in_spirit  # which shares no test


def test_a_protocol_has_what_the_published_command_has():
    draw = listed(composed("atlas:cyctr/pascal-5i"))
    assert (draw.seed, draw.workers, draw.episodes, draw.passes) == (123, 8, {"others": 1001}, 20)
    assert composed("atlas:BAM/COCO-20i").draw.averaged_seeds == (510, 365, 382, 322, 988)
    assert composed("atlas:MLC (baseline)/PASCAL-5i").name == "atlas:mlc-baseline/pascal-5i"
    assert composed("atlas:pmms / rpmms/pascal-5i").counting.void == "background"
    assert composed("atlas:emat/pascal-5i").draw.empty_queries and composed("atlas:emat/pascal-5i").draw.seed is None


def test_the_words_of_a_test_in_spirit_share_no_test():
    for name in ("atlas:canet/pascal-5i", "atlas:cwt/pascal-5i"):
        assert composed(name).in_spirit and composed(name).conditions("pascal")["episode_draw"] == NOT_STATED
    given = composed("atlas:cwt/pascal-5i@base_seeds=4+5")
    assert not given.in_spirit and listed(given).base_seeds == (4, 5)
    assert not composed("atlas:cwt/pascal-5i@network_words=900").in_spirit
    known = composed("atlas:repri/pascal-5i")  # its row says how much the network takes
    assert not known.in_spirit and listed(known).network_words == 72282488


def test_a_test_whose_seed_is_set_before_the_network_hangs_on_it():
    before = {key for key, one in programs().items() if "seed is set before" in one.quirks}
    assert before == {key for key, one in programs().items() if "network" in one.test.depends_on.split("+")} != set()
    dcsam = [one for one in programs().values() if one.method == "DC-SAM"]  # sets it again, and draws by itself
    assert [one.test.depends_on for one in dcsam] == ["no", "no"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("atlas:cytr/pascal-5i", "'cytr/pascal-5i'.*did you mean 'cyctr/pascal-5i'"),
        ("atlas:nothing like it", "'nothing like it'.*expected <method>/<data set>"),
        ("atlas:cyctr/pascal-5i@worker=2", "'worker'; did you mean 'workers'"),
        ("atlas:cyctr/pascal-5i@workers=two", "workers is 'two'"),
        ("atlas:cyctr/pascal-5i@workers=1+2", "workers is '1[+]2'"),
        ("atlas:cyctr/pascal-5i@gpus=2", "no setting gpus: .* workers"),
        ("atlas:vat/pascal-5i@workers=2", "no setting workers: .* nothing"),
        ("atlas:repri/pascal-5i@numpy_in_workers=new", "numpy_in_workers is 'new'"),
        ("atlas:dmtnet/isic2018@gpus=0", "gpus is 0"),
        ("atlas:cwt/pascal-5i@network_words=99999999999", "network_words is 99999999999"),
        ("atlas:capl/pascal-5i", "image_lists is 'gfss'"),
        ("atlas:clipseg/coco-20i", "seeds is 'not found'"),
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
        ({"seeds": "one or two"}, "seeds is 'one or two'"),
        ({"episodes_per_fold": "some"}, "episodes_per_fold is 'some'"),
        ({"metric": "mean Dice of scans"}, "metric is 'mean Dice of scans'"),
        ({"geometry": "letterbox", "compared_at": "network input, torch nearest"}, "expected both 'padded'"),
        ({"min_object": "not found"}, "min_object is 'not found'"),
    ],
)
def test_words_that_do_not_go_together(words, message):
    with pytest.raises(SettingsError, match=f"atlas:cyctr/pascal-5i cannot be run: .*{message}"):
        compose(changed("cyctr/pascal-5i", **words), {})


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
    assert read_protocol(file).conditions("pascal")["image_lists"] == "bam"


def test_tests_are_listed_and_shown_with_their_evidence(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", "protocols", "atlas:cyctr/pascal-5i"]) == 0
    shown = capsys.readouterr().out
    assert "workers 8" in shown and "[util/dataset.py:188,205]" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert main(["list", "protocols", "atlas:"]) == 0
    said = capsys.readouterr().out
    assert str(RUNNABLE_TESTS) in said and str(len(why_not_run())) in said
    assert "atlas:canet/pascal-5i" in said and "the protocol gfss has its words" in " ".join(said.split())
    assert main(["list", "protocols", "atlas:", "hsnet"]) == 2

"""`fsbench compare --accepted`: what became of a method's scores, against the run that was accepted."""

import numpy as np
import pytest

from fsbench.doors.kits import load_kit_test
from fsbench.protocols.kit.answers import Answers
from fsbench.protocols.kit.kit import read_kit


@pytest.fixture
def scored(blocks_folder, tmp_path, command):
    """scored(rows) -> a folder with the run of a program that finds the truth on every `rows`-th row of an image."""
    kit, data = tmp_path / "kit", str(blocks_folder)
    where = ["folder", "--data-root", data, "--fold", "1", "--episodes", "24", "--protocol", "pfenet"]
    assert command("kit", *where, "--out", kit)[0] == 0

    def score(rows: int):
        test, file, runs = load_kit_test(read_kit(kit), root=data), tmp_path / f"{rows}.fsa", tmp_path / f"runs-{rows}"
        with Answers(file, kit) as answers:
            for episode in test.manifest.episodes:
                truth = test.index.label_map(episode.query)
                mask = sum((way * (truth == number) for way, number in enumerate(episode.classes, 1)), 0 * truth)
                mask[np.arange(len(mask)) % rows != 0] = 0
                answers.add(episode.index, mask)
        words = ["--kit", kit, "--name", "my-own", "--runs", runs, "--data-root", data]
        assert command("score", file, *words)[0] == 0
        return runs

    return score


def test_a_change_is_held_against_the_accepted_run(scored, command, tmp_path):
    good, bad = scored(1), scored(3)
    accepted, summary = ["--accepted", tmp_path / "accepted run"], tmp_path / "summary.md"
    status, out, _ = command("compare", good, *accepted, "--summary", summary)
    assert status == 0 and "nothing is accepted yet" in out and "--accept" in summary.read_text()
    assert command("compare", good, *accepted, "--fail-on", "changed")[0] == 1
    assert command("compare", good, *accepted, "--accept")[0] == 0
    status, out, _ = command("compare", good, *accepted, "--fail-on", "changed")
    assert status == 0 and "my-own: equal: all counts of 24 episodes" in out
    summary.write_text("before\n")
    status, out, _ = command("compare", bad, *accepted, "--summary", summary)
    assert status == 1 and "my-own: worse: mIoU" in out
    told = summary.read_text()
    assert told.startswith("before\n") and "my-own: worse: mIoU" in told and "| mIoU | 1 | 100.00 |" in told
    assert command("compare", bad, *accepted, "--fail-on", "never")[0] == 0
    assert command("compare", bad, *accepted, "--accept")[0] == 0
    status, out, _ = command("compare", good, *accepted)
    assert status == 0 and "my-own: better: mIoU" in out
    assert command("compare", good, *accepted, "--fail-on", "changed")[0] == 1
    status, _, err = command("compare", good, *accepted, "--method", "my-owm")
    assert status == 2 and "did you mean 'my-own'?" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--accept"], "--accept without --accepted; expected --accepted FOLDER, too"),
        (["--method", "a", "--summary", "s.md"], "--method, --summary without --accepted"),
        (["--accepted", "a", "--metrics", "mIoU", "--by", "size"], "--metrics, --by and --accepted were both given"),
    ],
)
def test_options_of_one_comparison_are_none_of_the_other(command, words, message):
    status, _, err = command("compare", "runs", *words)
    assert status == 2 and message in err and len(err.splitlines()) == 1

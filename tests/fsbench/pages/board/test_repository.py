"""The repository that bundles are handed in to: a workflow that GitHub can read, and commands that there are."""

import re
import shlex
import subprocess

import pytest
import yaml

from fsbench.base.version import __version__
from fsbench.cli.main import main, parser_for
from fsbench.pages.board.repository import write_repository
from fsbench.records.card import CHOICES

FILES = [".github/workflows/board.yml", ".gitignore", "README.md", "bundles/README.md", "card.example.yaml"]


@pytest.fixture
def repository(tmp_path, capsys):
    assert main(["report", "--board", "--new", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "new" / file) for file in FILES]
    return tmp_path / "new"


def test_only_a_new_folder_or_a_fresh_clone_is_written_to(repository, tmp_path, capsys):
    assert main(["report", "--board", "--new", str(repository)]) == 2
    assert "holds something already" in capsys.readouterr().err
    (tmp_path / "clone/.git").mkdir(parents=True)
    assert write_repository(tmp_path / "clone") == FILES
    assert (repository / "card.example.yaml").read_text() == CHOICES


def test_the_workflow_pins_actions_and_may_only_read_what_anybody_sends(repository):
    text = (repository / FILES[0]).read_text()
    workflow = yaml.safe_load(text)
    assert workflow[True].keys() == {"push", "pull_request"}  # YAML's "on"; no trigger that knows secrets
    assert workflow["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: (.*)", text)
    assert len(used) == sum("uses" in step for job in workflow["jobs"].values() for step in job["steps"]) == 5
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} +# v\d+(\.\d+)+", line) for line in used)
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert "permissions" not in build and publish["needs"] == "build"
    assert publish["if"].startswith("github.event_name == 'push' &&")
    scripts = [step["run"] for step in build["steps"] if "run" in step]
    assert scripts[0] == f'pip install "fsbench=={__version__}"'
    assert all("${{" not in script for script in scripts)  # names of others come by the environment


def test_commands_of_the_workflow_and_the_readme_are_there(repository):
    text = (repository / FILES[0]).read_text() + (repository / "README.md").read_text()
    assert "@VERSION@" not in text
    typed = re.findall(r"^(?: *- run: )?(fsbench \w+ .*?)(?: *#.*)?$", text, re.MULTILINE)
    assert len(typed) == 5
    for command in typed:
        words = shlex.split(command)[1:]
        assert parser_for(words).parse_known_args(words)[1] == []
    assert "fsbench verify <" in text


def test_a_new_repository_has_an_empty_board(repository, tmp_path):
    assert main(["report", "--board", str(repository / "bundles"), "--out", str(tmp_path / "site"), "--strict"]) == 0


def test_the_value_that_a_sample_follows_from_is_the_commit_that_merged_the_bundle(repository, monkeypatch):
    """The README's own lines, in a repository where a pull request was merged later than it was made."""
    monkeypatch.chdir(repository)

    def git(*words: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *author, *words], capture_output=True, check=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "new")
    git("checkout", "-qb", "theirs")
    (repository / "bundles/yours.fsb").write_bytes(b"a bundle")
    git("add", "-A")
    git("commit", "-qm", "hand in")
    handed_in = git("rev-parse", "HEAD")
    git("checkout", "-q", "main")
    git("merge", "-q", "--no-ff", "-m", "merge", "theirs")
    merged = git("rev-parse", "HEAD")
    (repository / "README.md").write_text((repository / "README.md").read_text() + "\n")
    git("commit", "-qam", "later")
    lines = re.findall(r"^  ([BV]=.*|fsbench verify \"\$B\".*)$", (repository / "README.md").read_text(), re.MULTILINE)
    script = "\n".join([*lines[:2], f"echo {lines[2]}"])
    words = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True).stdout.split()
    assert parser_for(words[1:]).parse_known_args(words[1:])[1] == []
    assert words[words.index("--public-value") + 1] == merged != handed_in

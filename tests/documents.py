"""Commands that the README and the manual tell a reader to type."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from fsbench.base.paths import REPOSITORY

DOCUMENTS = [
    REPOSITORY / "README.md",
    *sorted(REPOSITORY.glob("docs/*.md")),
    *sorted(REPOSITORY.glob("docs/guides/*.md")),
    *sorted(REPOSITORY.glob("docs/methods/*.md")),
]
SHELL = {"sh", "bash", "console"}
PROGRAMS = "make|fsbench|pip|python|torchrun|srun|wandb|export"
COMMAND = re.compile(rf"(?:\$ )?(?:\w+=\S+ )*(?:{PROGRAMS})\b|…")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
VARIABLE = "(?:METHOD|BACKBONE|DATASET|ARGS|CKPT|WEIGHTS|LISTS|DEVICES)="
INLINE = re.compile(rf"(?<!`)`((?:[A-Z_]+=[^\s`]+ )*(?:{PROGRAMS})(?:\s[^`]+)?|{VARIABLE}[^`]+)`")


@dataclass(frozen=True)
class Command:
    """A command of a document.

    Attributes:
        words: as a shell splits them.
        mention: True where a sentence names a command without the arguments that it needs.
    """

    words: tuple[str, ...]
    mention: bool = False

    @property
    def text(self) -> str:
        return " ".join(self.words)


def commands(document: Path) -> list[Command]:
    """Return all commands of `document`: lines of blocks of shell code first, then those inside sentences."""
    text = document.read_text(encoding="utf-8")
    listed = [command for kind, block in FENCE.findall(text) for command in _commands_of_block(kind, block)]
    for span in INLINE.findall(FENCE.sub("", text)):
        for words in _alternatives(_words(" ".join(span.split()))):
            if re.match(VARIABLE, words[0]):  # an addition to `make bench`
                words = ["make", "bench", *words]
            bare = all(re.fullmatch(r"-m|[a-z][\w.]*", word) for word in words)
            listed.append(Command(tuple(words), bare or "…" in span.split()))
    return listed


def _commands_of_block(kind: str, block: str) -> Iterator[Command]:
    if kind and kind not in SHELL:
        return
    lines = block.replace("\\\n", " ").splitlines()
    if not kind and not COMMAND.match(lines[0]):
        return
    head: list[str] = []
    for line in lines:
        words = _words(line.removeprefix("$ "))
        if not words:
            continue
        if words[0] == "…":  # the block's first call, with more
            words = head + words[1:]
        head = head or words
        yield Command(tuple(word for word in words if word != "…"))


def _words(line: str) -> list[str]:
    """Split a line as a shell does; a blank to be filled in, `<…>`, is a part of its word."""
    return shlex.split(
        re.sub(r"<[^>]+>", lambda blank: blank[0].replace(" ", "-").replace("'", ""), line), comments=True
    )


def other_blocks(document: Path) -> list[str]:
    """Return the first lines of blocks without a label that `commands` takes for something else than commands."""
    blocks = FENCE.findall(document.read_text(encoding="utf-8"))
    return [block.splitlines()[0] for kind, block in blocks if not kind and not COMMAND.match(block)]


def _alternatives(words: list[str]) -> Iterator[list[str]]:
    """Yield the words of every choice, where a word `a|b` stands for either."""
    choices = [word.split("|") if re.fullmatch(r"[\w|]+", word) else [word] for word in words if word != "…"]
    yield from map(list, product(*choices))

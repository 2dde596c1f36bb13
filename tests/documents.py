"""What the README and the guides tell a reader to type."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from fsbench.paths import REPOSITORY

DOCUMENTS = [
    REPOSITORY / "README.md",
    *sorted(REPOSITORY.glob("docs/*.md")),
    *sorted(REPOSITORY.glob("docs/guides/*.md")),
]
SHELL = {"sh", "bash", "console"}
PROGRAMS = "make|fsbench|pip|python|torchrun|srun|wandb|export"
COMMAND = re.compile(rf"(?:\$ )?(?:\w+=\S+ )*(?:{PROGRAMS})\b|…")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
VARIABLE = "(?:METHOD|DATASET|ARGS|CKPT|WEIGHTS|LISTS|DEVICES)="
INLINE = re.compile(rf"(?<!`)`((?:[A-Z_]+=\S+ )*(?:{PROGRAMS})(?:\s[^`]+)?|{VARIABLE}[^`]+)`")


@dataclass(frozen=True)
class Command:
    """`words` as a shell would split them; `mention` where a sentence names a command without what it needs."""

    words: tuple[str, ...]
    mention: bool = False

    @property
    def text(self) -> str:
        return " ".join(self.words)


def commands(document: Path) -> list[Command]:
    """All of `document`, in their order: lines of blocks of shell code, then what stands in sentences."""
    text = document.read_text(encoding="utf-8")
    found = [command for kind, block in FENCE.findall(text) for command in _of_block(kind, block)]
    for span in INLINE.findall(FENCE.sub("", text)):
        for words in _alternatives(_words(" ".join(span.split()))):
            if re.match(VARIABLE, words[0]):  # what is added to a call
                words = ["make", "bench", *words]
            bare = all(re.fullmatch(r"-m|[a-z][\w.]*", word) for word in words)
            found.append(Command(tuple(words), bare or "…" in span.split()))
    return found


def _of_block(kind: str, block: str) -> Iterator[Command]:
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
    """As a shell splits them; a blank to be filled in, `<…>`, is a part of its word."""
    return shlex.split(
        re.sub(r"<[^>]+>", lambda blank: blank[0].replace(" ", "-").replace("'", ""), line), comments=True
    )


def other_blocks(document: Path) -> list[str]:
    """First lines of unlabelled blocks that hold no commands: there is one way to miss a command, this is it."""
    blocks = FENCE.findall(document.read_text(encoding="utf-8"))
    return [block.splitlines()[0] for kind, block in blocks if not kind and not COMMAND.match(block)]


def _alternatives(words: list[str]) -> Iterator[list[str]]:
    """`a|b` stands for either."""
    choices = [word.split("|") if re.fullmatch(r"[\w|]+", word) else [word] for word in words if word != "…"]
    yield from map(list, product(*choices))

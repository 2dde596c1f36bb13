"""The rules of a test in plain words, for a reader who has no fsbench: `RULES.md` of a kit."""

from collections.abc import Collection
from dataclasses import replace

from fsbench.protocols.counting import PixelCounting
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.test import Test
from fsbench.protocols.view import View
from fsbench.scores.confusion import void_rule


def rules(
    test: Test, has_boxes: bool, base_classes: list[str], copied: bool, told: bool, image_entries: Collection[str] = ()
) -> str:
    """Return the Markdown text of RULES.md in a kit (folder with a test for other programs).

    Args:
        test: the test, whose protocol says how answers are scored.
        has_boxes: whether supports are labelled with boxes besides masks.
        base_classes: names of the classes without supports, which are the first ways of every episode.
        copied: whether the kit has copies of the images.
        told: whether paths of query images give away their classes, so that the rules must forbid using paths.
        image_entries: names of entries that images have in the list of episodes, such as `orientation` if some must be
            turned.
    """
    header, protocol = test.manifest.header, test.protocol
    if not header.empty:  # a choice of the test
        protocol = replace(protocol, draw=replace(protocol.draw, empty_queries=False))
    has_masks = protocol.has_masks
    asked = _masks(protocol, base_classes, header.way) if has_masks else _LABELS
    own = "" if header.is_official else f"\n\n{_OWN_LIST.format(protocol=protocol.name)}"
    parts = [
        "# Rules of this test",
        f"{test!r}\n\n{protocol.summary[0].upper()}{protocol.summary[1:]}.{own}",
        f"## Files\n\n{_files(test, has_boxes, copied, image_entries)}",
        f"## Answers\n\n{asked}",
        *([f"## Truth\n\n{_truth(test)}"] if has_masks else []),
        f"## Allowed\n\n{_ALLOWED}" + (f"\n\n{_PATHS}" if told else ""),
        "## Choices of the protocol\n\n" + "\n".join(f"- {one.label}: {one.words}." for one in protocol.choices()),
    ]
    return "\n\n".join(parts) + "\n"


_LABELS = """\
To each episode there is one answer: for each of its `queries` the way, from 1 to N, that it belongs to. The supports of
way n are the n-th list of `supports`. `answers.add(number, labels=[…])` stores it."""

_ALLOWED = """\
An answer to an episode follows from its query and its supports, and from what the method was trained on. The names of
files, the order and the numbers of the episodes, the other episodes and the annotations of the query are not to be
used. Whether the method saw the test's classes or images before, and what it is told besides, is stated on its card."""

_OWN_LIST = """\
**The episodes are a list of one's own, not those that {protocol} draws.** Answers are counted by its rules, and scores
are no result of the protocol: every table says so."""

_PATHS = """\
**Paths of images in this kit contain names of classes.** An answer must not depend on them: read an image and forget
its path. A kit with `--copy-images` has copies under numbers instead."""


def _files(test: Test, has_boxes: bool, copied: bool, image_entries: Collection[str]) -> str:
    has_masks = test.protocol.has_masks
    named = "--kit <this folder>" if test.manifest.header.is_official else "--manifest <the list that it is made of>"
    where = "in this folder" if copied else "from the folder of the data set on"
    lines = [
        f"- `episodes.jsonl`: one episode a line. Paths of images (`image`) are {where}."
        + (
            " `crop` (top, bottom, left, right) is the part of the file that is the image; without it all of it is."
            if has_masks and not copied
            else ""
        )
    ]
    if not test.data.images_are_files:
        lines.append(
            "- `intensities` of an image, where it is there, is a file of numpy with the same slice as it was measured "
            "and normalised, float32; the image itself has 8 bits of the range of its whole scan."
        )
    if "orientation" in image_entries:
        lines.append(
            "- `orientation` of an image, where it is there, is that of its EXIF entry: the image is to be turned by "
            "it first, as viewers do (PIL's `ImageOps.exif_transpose`)."
        )
    if "transparent" in image_entries:
        lines.append(
            "- `transparent` of an image, where it is there: its transparent pixels are to be laid over white, as "
            "browsers do (`example.py` does)."
        )
    if has_masks:
        lines.append(
            "- `masks/`: masks of the supports at the size of their images: 1 the class, 0 anything else, 255 void, "
            "which is neither."
        )
    if has_boxes:
        lines.append(
            "- `box` of a support: x, y, width and height in pixels. The test tells this box; a method that takes "
            "masks may use the mask."
        )
    lines += [
        "- `answers.py`: writes the file of answers; it needs numpy alone. `example.py`: a loop to begin with.",
        "- `kit.json`: the name of the test and the hashes of these files.",
        "",
        f"Then: `fsbench score mine.fsa {named} --data-root <data> --name mine`.",
    ]
    return "\n".join(lines)


def _masks(protocol: Protocol, base_classes: list[str], way: int) -> str:
    view, counting = protocol.view, protocol.counting
    assert isinstance(counting, PixelCounting)
    lines = [
        "To each episode there is one answer: a label map of the query, 0 background and n where it shows way n. The "
        "supports of way n are the n-th list of `supports`. `answers.add(number, mask)` stores it; a folder of PNGs "
        "`<number>.png` with these values is taken as well.",
        f"Size: {_size(view)}",
        f"Void pixels of the query are {void_rule(counting.void).words}.",
    ]
    if base_classes:
        named = ", ".join(f"{place} {name}" for place, name in enumerate(base_classes, 1))
        lines.append(
            f"The first {len(base_classes)} ways are base classes, which have no supports and are known by training: "
            f"{named}. The ways after them have supports."
        )
        if view.tells_void:
            lines.append("Which pixels of the query are void, as the protocol would tell, is not in this kit.")
    if protocol.draw.empty_queries or way > 1:
        shown = "may show none of the classes" if protocol.draw.empty_queries else "need not show all of the classes"
        lines.append(
            f"A query {shown}. `answers.add(number, mask, presence=[…], score=[…])` says of each way whether the query "
            "shows it at all, and how sure that is from 0 to 1; give them with every answer or with none. Without "
            "presence, a way is present if the mask has a pixel of it."
        )
    return "\n\n".join(lines)


def _truth(test: Test) -> str:
    """Say how the label maps are made that answers are compared with, and over which classes a mean is taken."""
    protocol = test.protocol
    header = test.manifest.header
    number, left_out = len(header.class_ids), header.dropped_classes
    divisor = f"{number}, the classes of this test"
    if isinstance(protocol.counting, PixelCounting) and protocol.counting.absent == "left_out":
        divisor = f"the number of classes that episodes are about, at most {number}"
    lines = [f"- Label maps are {test.data.label_maps_are}.", f"- A mean over classes divides by {divisor}."]
    if left_out:
        whole = number + len(left_out)
        names = ", ".join(map(test.data.name_of, left_out))
        lines.append(
            f"- Left out for want of images: {names}. A program that counts them as 0 divides "
            f"by {whole}: its mean of the same answers is {number}/{whole} of the one here."
        )
    return "\n".join(lines)


def _size(view: View) -> str:
    """Say at which size an answer is given, and where the query lies in it."""
    padded, size = view.resize == "padded", view.query_size
    if view.frame is not None:
        return (
            f"{view.frame} x {view.frame}, a padded square: the query is scaled until its longer side is "
            f"{view.frame} and lies at the top left; below or right of it is padding, which counts as background."
        )
    if size == "square":
        return (
            "`size` of the episode, the square of the query's longer side: the query lies at its top left, and what is "
            "below or right of it is not counted."
        )
    if size == "input" or isinstance(size, int):
        side = "S" if size == "input" else str(size)
        lies = (
            f"the query is scaled until its longer side is {side}, both sides rounded down to multiples of 8, and lies "
            "at the top left; padding is not counted"
            if padded
            else "the query is stretched to it"
        )
        own = (
            "; S is the side of the images that your method sees, the same in all answers, and the record says it"
            if size == "input"
            else ""
        )
        return f"{side} x {side}: {lies}{own}."
    return "`size` (height, width) of the episode, which is the query's own."

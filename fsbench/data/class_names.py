"""Names of classes: which of them mean the same in several data sets, and that those of one do not look alike."""

import re
from collections.abc import Collection, Iterable, Sequence

from fsbench.base.errors import DataError
from fsbench.base.files.names import two_alike

SYNONYMS = (
    ("aeroplane", "airplane", "plane", "airliner"),
    ("motorbike", "motorcycle"),
    ("bicycle", "bike"),
    ("sofa", "couch"),
    ("tv/monitor", "tvmonitor", "tv", "monitor", "television", "television set"),
    ("diningtable", "dining table", "table"),
    ("pottedplant", "potted plant", "houseplant"),
    ("person", "people", "human"),
    ("cow", "cattle"),
    ("cell phone", "cellular telephone", "mobile phone", "cellphone"),
    ("laptop", "laptop computer", "notebook computer"),
    ("keyboard", "computer keyboard"),
    ("mouse", "computer mouse"),
    ("remote", "remote control"),
    ("microwave", "microwave oven"),
    ("refrigerator", "fridge"),
    ("hair drier", "hair dryer", "hand blower"),
    ("donut", "doughnut"),
    ("hot dog", "hotdog"),
    ("wine glass", "wineglass"),
    ("tie", "necktie"),
    ("fire hydrant", "fireplug"),
    ("stop sign", "stopsign"),
    ("teddy bear", "teddy"),
    ("ski", "skis"),
    ("scissors", "scissor"),
    ("ship", "boat"),
    ("car", "automobile", "small vehicle"),
    ("truck", "lorry"),
    ("bus", "coach"),
    ("cup", "mug"),
    ("toothbrush", "tooth brush"),
    ("sports ball", "ball"),
    ("handbag", "purse"),
)
"""Names of one class in PASCAL VOC, COCO, LVIS, PACO, iSAID and FSS-1000.

A pair too many makes a run admit more than it has to; one too few hides what it saw."""


def _plain(name: str) -> str:
    """Return a name in small letters alone: without what stands in brackets, spaces, underscores and other signs.

    >>> _plain("TV_monitor"), _plain("mouse_(computer_equipment)")
    ('tvmonitor', 'mouse')
    """
    return re.sub(r"[\W_]+", "", re.sub(r"\([^)]*\)", "", name).casefold())


_CLASSES = {_plain(name): _plain(names[0]) for names in SYNONYMS for name in names}


def same_class(name: str) -> str:
    """Return a normal form of a class name that is equal for all known spellings and synonyms of a class.

    >>> same_class("Aeroplane") == same_class("airplane") != same_class("air balloon")
    True
    """
    plain = _plain(name) or name
    return _CLASSES.get(plain, plain)


def shared_classes(names: Sequence[str], others: Iterable[str]) -> list[str]:
    """Return those of `names` whose class is also in `others`, under any known spelling or synonym.

    >>> shared_classes(["tv/monitor", "sheep", "sofa"], ["couch", "tv", "bear"])
    ['tv/monitor', 'sofa']
    """
    known = {same_class(other) for other in others}
    return [name for name in names if same_class(name) in known]


def check_names(names: Collection[str], source: object) -> None:
    """Raise DataError if two classes of a data set have names that look alike, such as Cat and cat."""
    if alike := two_alike(sorted(names)):
        raise DataError(
            f"{source} have the classes {alike[0]!r} and {alike[1]!r}, whose names differ by case or spaces at most; "
            "expected one name for a class; rename one"
        )

"""The schema of a manifest's header, which may come from anybody: types and ranges of its entries."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.errors import RecordError
from fsbench.files.validation import first_problem

if TYPE_CHECKING:
    from pydantic import TypeAdapter

COMPARED = (
    "protocol", "version", "dataset", "fold", "folds", "way", "shot", "setting", "classes", "empty", "seed", "lists",
    "all_lists_sha256", "dropped_classes", "requested", "official_episodes",
)  # fmt: skip
"""Entries that a run's header needs to stand in a table beside others."""


@cache
def _schema() -> "TypeAdapter[Any]":
    # 0.2 seconds for pydantic, which commands that read no manifest are spared
    from typing import (
        Annotated,
        Literal,
        NotRequired,  # as pydantic asks before Python 3.12
    )

    from pydantic import Field, TypeAdapter, with_config
    from typing_extensions import TypedDict

    count = Annotated[int, Field(ge=0, lt=2**53)]
    name = Annotated[str, Field(max_length=1000)]
    typed_dict: Any = TypedDict  # mypy knows no fields that a program lists
    header = typed_dict(
        "header",
        {
            "kind": NotRequired[Literal["classification"] | None],
            "fold": count,
            "class_ids": list[count],
            "class_names": dict[str, name],
            **dict.fromkeys(("protocol", "dataset", "setting", "classes", "lists"), NotRequired[name]),
            **dict.fromkeys(("way", "shot", "folds", "requested", "official_episodes"), NotRequired[count]),
            **dict.fromkeys(("queries", "min_class_size", "filled_classes", "episodes"), NotRequired[count | None]),
            **dict.fromkeys(("lists_sha256", "all_lists_sha256"), NotRequired[name | None]),
            "version": NotRequired[int | name],
            "seed": NotRequired[int | None],
            "empty": NotRequired[bool],
            "dropped_classes": NotRequired[list[count]],
        },
    )
    with_config({"strict": True, "extra": "allow"})(header)
    return TypeAdapter(header)


def check_header(header: Any, path: Path, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return `header`, the first line of the manifest `path`.

    Raises:
        RecordError: an entry has another type or range, or one of `needed` is not there.
    """
    from pydantic import ValidationError  # spared as above

    try:
        _schema().validate_python(header)
    except ValidationError as error:
        raise RecordError(f"{path} has a header that does not fit: {first_problem(error, header)}") from error
    missing = [key for key in needed if key not in header]
    if missing:
        raise RecordError(f"{path} has a header without {', '.join(missing)}; expected one of this version of fsbench")
    values: dict[str, Any] = header
    return values

"""The schema of a record: what `run.json` and `episodes.parquet` may hold, which may come from anybody."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fsbench.errors import RecordError
from fsbench.files.validation import first_problem
from fsbench.metrics.confusion import COUNTS, REGIONS

if TYPE_CHECKING:
    import polars as pl
    from pydantic import TypeAdapter


SHOWN = (
    ("identity", "method", "name"), ("identity", "backbone", "name"), ("identity", "backbone", "weights"),
    ("identity", "manifest_sha256"), ("identity", "training"), ("presence",), ("cost", "trainable_parameters"),
    ("cost", "episodes_per_second"), ("cost", "peak_mib"),
)  # fmt: skip
"""Entries of a run.json that tables show or group by."""

DEEPEST = 50
"""Levels of dicts and lists in a run.json; those of the suite have fewer than ten."""

LARGEST = 2**40
"""Largest count: so many pixels has no image, and the sum of millions of them is still an int64."""


@cache
def _schema() -> "TypeAdapter[Any]":
    # 0.2 seconds for pydantic, which commands that read no record are spared

    from typing import Required

    from pydantic import Field, TypeAdapter, with_config
    from typing_extensions import TypedDict

    typed_dict: Any = TypedDict  # mypy knows no fields that a program lists

    def entries(label: str, /, **types: Any) -> Any:
        made = typed_dict(label, types, total=False)
        return with_config({"strict": True, "extra": "allow"})(made)

    name = Annotated[str, Field(max_length=1000, min_length=1)]
    count = Annotated[int, Field(ge=0, lt=2**63)]
    measure = Annotated[float, Field(ge=0, allow_inf_nan=False)]
    stage = entries("stage", unordered_kernels=list[name], cpu_kernels=name, cache_dtype=name)
    steps = entries(
        "steps",
        batch_size=count | None,
        processes=count,
        accumulate_grad_batches=count | None,
        max_epochs=int | None,
        division=dict[str, Any],
    )
    training = entries(
        "training",
        image_size=count | None,
        precision=name | None,
        tf32=bool | None,
        settings=steps,
        method=dict[str, Any],
        chosen_by=name | None,
        episodes=count | None,
        official_episodes=count | None,
    )
    trained_on = entries("trained_on", dataset=Required[name], fold=Required[count], protocol=name, classes=count)
    weights = entries(
        "weights", origin=Required[name], training=Required[training | None], trained_on=trained_on | None
    )
    identity = entries(
        "identity",
        method=entries("method", name=name),
        backbone=entries("backbone", name=name, weights=name, cache_dtype=name),
        manifest_sha256=name,
        training=steps | None,
        image_size=count,
        seed=int | None,
        fold=count | None,
        precision=name,
        tf32=bool,
    )
    cost = entries("cost", trainable_parameters=count, episodes_per_second=measure | None, peak_mib=measure | None)
    run = entries(
        "run",
        id=name,
        identity=identity,
        cost=cost,
        counts_sha256=name,
        presence=name,
        weights=weights | None,
        scores=dict[str, float],
        dropped_classes=list[name],
        remarks=list[Annotated[str, Field(max_length=10_000)]],
        made=stage,
        provenance=stage,
        predictions=entries("predictions", kept=name, sha256=name, attention=name) | None,
    )
    return TypeAdapter(run)


def check_run(run: Any, file: Path) -> dict[str, Any]:
    """Return `run`, the content of the run.json `file`. Raises RecordError where an entry has another type or range."""
    if _is_deeper(run, DEEPEST):
        raise RecordError(
            f"{file} is no record of fsbench: it has more than {DEEPEST} levels; remove the folder or run it again"
        )
    from pydantic import ValidationError  # spared as above

    try:
        _schema().validate_python(run)
    except ValidationError as error:
        raise RecordError(
            f"{file} is no record of fsbench: {first_problem(error, run)}; remove the folder or run it again"
        ) from error
    values: dict[str, Any] = run
    return values


def _is_deeper(value: Any, levels: int) -> bool:
    """Return whether dicts and lists stand in each other more than `levels` deep."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for each in layer
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in layer)


def check_complete(run: dict[str, Any], file: Path) -> None:
    """Raise RecordError where the run.json `file` lacks what a table needs of it."""
    for names in SHOWN:
        value: Any = run
        for number, name in enumerate(names, 1):
            if name not in value:
                raise RecordError(f"{file} lacks {'.'.join(names[:number])}; expected a whole record; run it again")
            value = value[name]


def check_counts_table(frame: "pl.DataFrame", header: Mapping[str, Any] | None, file: Path) -> None:
    """Raise RecordError unless `frame`, read from `file`, is a table of counts.

    Args:
        frame: the table.
        header: of the manifest, whose classes and ways it may count; None where it is not known.
        file: named in the message.
    """
    # spared until it is needed
    import polars as pl

    whole = ["episode", "slot", "class_id", *COUNTS]
    kinds = {**dict.fromkeys(whole, pl.Int64), "present": pl.Boolean, "decided": pl.Boolean, "score": pl.Float64}
    kinds |= {name: pl.Float64 for name in REGIONS if name in frame.columns} | {"query": pl.String}
    for column, kind in kinds.items():
        if column not in frame.columns:
            raise RecordError(f"{file} has no column {column}; expected the counts of a finished run")
        found = frame.schema[column]
        alike = found.is_integer() if kind == pl.Int64 else found.is_float() if kind == pl.Float64 else found == kind
        if not alike and not (column == "query" and found == pl.Null):
            raise RecordError(f"{file}: the column {column} holds {found}, expected {kind}")
    for column in [*whole, "present", "decided"]:
        if frame[column].null_count():
            raise RecordError(f"{file}: the column {column} has gaps; expected the counts of a finished run")
    if frame.height and min(int(frame[column].min() or 0) for column in whole) < 0:  # type: ignore[arg-type]
        raise RecordError(f"{file} has counts below 0; expected the counts of a finished run")
    if frame.height and max(int(frame[column].max() or 0) for column in whole) > LARGEST:  # type: ignore[arg-type]
        raise RecordError(f"{file} has counts above {LARGEST}; expected the counts of a finished run")
    if header is None:
        return
    is_way = pl.col("slot") > 0
    for rows, allowed in ((frame.filter(is_way), header["class_ids"]), (frame.filter(~is_way), [0])):
        unknown = sorted(set(rows["class_id"].unique().to_list()) - set(allowed))
        if unknown:
            raise RecordError(f"{file} counts the class {unknown[0]}, which is none of its manifest's")
    last, at_most = int(frame["slot"].max() or 0), largest_way(header)  # type: ignore[arg-type]
    if last > at_most:
        raise RecordError(f"{file} counts the way {last}; expected at most the {at_most} of its manifest")


def largest_way(header: Mapping[str, Any]) -> int:
    """Count the ways that an episode may have: in the fully augmented setting, any class of the fold adds one."""
    every = len(header["class_ids"])
    return every if header.get("setting") == "fully_augmented" else header.get("way", every)

"""Make a single run of a comparison, or say why there is none."""

from fsbench.base.errors import FsbenchError, user_message
from fsbench.records.record import Record
from fsbench.runner.grid.bench import Request, bench


def record_or_reason(request: Request) -> Record | str:
    """Return the record of a request's only run, or in one line the reason why there is none."""
    try:
        records, failures = bench(request)
    except FsbenchError as error:
        return user_message(error).splitlines()[0]
    return records[0] if records else failures[0]

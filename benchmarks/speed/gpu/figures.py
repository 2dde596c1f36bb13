"""Content of a file of results: one GPU's figures, with everything that they were measured with."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

OUT_OF_TIME = "not measured: the time was up"
ABSENT = ("cannot be imported", "is not installed")
"""Words of a back end that asks for a package which is not here; that is no failure."""


class Timing(BaseModel):
    """One timed call.

    Attributes:
        part, what, path, precision, deterministic: see `GpuCall`.
        times: seconds of every repeat, in their order; empty where nothing was measured.
        seconds: their median; None where nothing was measured.
        peak_mib: memory beyond what was held before the call.
        problem: why nothing was measured; "" where something was.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: str
    what: str
    path: str
    precision: str
    deterministic: bool
    times: list[float] = []
    seconds: float | None = None
    peak_mib: float | None = None
    problem: str = ""

    @property
    def failed(self) -> bool:
        """Something broke: not the time, and not an optional package that is absent."""
        return bool(self.problem) and self.problem != OUT_OF_TIME and not any(word in self.problem for word in ABSENT)


class CudaTests(BaseModel):
    """Outcome of the tests that need a GPU.

    Attributes:
        status: pytest's exit status; 5 where there is no such test, 124 where they took too long.
        summary: pytest's last line, or how many had passed when the time was up.
        failures: names of the tests that failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: int
    summary: str
    failures: list[str]


class GpuFigures(BaseModel):
    """Content of a file of results.

    Attributes:
        format: version of this form.
        device: the GPU's or the CPU's name.
        kind: "cuda" or "cpu".
        capability: compute capability, "" on a CPU.
        memory_mib: of the GPU; None on a CPU.
        driver: version of NVIDIA's driver, "" where it is not known.
        cuda: CUDA that torch is built for, "" without.
        versions: of packages; those that are absent have no entry.
        commit: of the suite.
        finished: UTC.
        quick: tiny shapes, whose times say nothing.
        minutes: that everything took.
        tests: see `CudaTests`.
        timings: in the order of measuring.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    device: str
    kind: Literal["cuda", "cpu"]
    capability: str
    memory_mib: int | None
    driver: str
    cuda: str
    versions: dict[str, str]
    commit: str | None
    finished: str
    quick: bool
    minutes: float
    tests: CudaTests
    timings: list[Timing]

"""Claimed figures as they are printed: a value, and the rounding of its last digit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from math import log10

from fsbench.base.errors import SettingsError


@dataclass(frozen=True)
class Figure:
    """A printed figure.

    Attributes:
        value: in percent.
        half: half a unit of its last digit.
    """

    value: float
    half: float = 0.05

    @classmethod
    def parse(cls, text: str | float) -> "Figure":
        """Read a figure as it is printed.

        Raises SettingsError unless it is a percentage.

        >>> Figure.parse("57.6"), Figure.parse(57)
        (Figure(value=57.6, half=0.05), Figure(value=57.0, half=0.5))
        """
        try:
            number = Decimal(str(text).strip().removesuffix("%"))
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or not 0 <= number <= 100:
            raise SettingsError(f"the claimed figure is '{text}', expected a percentage from 0 to 100, such as 57.6")
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int)
        return cls(float(number), 0.5 * 10.0 ** min(exponent, 0))

    def __str__(self) -> str:
        digits = max(0, round(-log10(2 * self.half)))
        return f"{self.value:.{digits}f}"


@dataclass(frozen=True)
class Claim:
    """The claimed figures of a test.

    Attributes:
        mean: of the test; None where only figures of folds are claimed.
        folds: figure of each fold, by its number.
    """

    mean: Figure | None
    folds: Mapping[int, Figure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mean is None and not self.folds:
            raise SettingsError("no figure is claimed; expected one, such as 57.6")

    def targets(self, by_fold: Mapping[int, float], is_part: bool) -> list[tuple[Figure, float]]:
        """Pair each claimed figure that tells something with that of a rule.

        Args:
            by_fold: figures of the rule.
            is_part: they are of some folds of the test alone, so that a mean is another figure than theirs.
        """
        pairs = [(figure, by_fold[fold]) for fold, figure in self.folds.items() if fold in by_fold]
        if self.mean is not None and (is_part or len(pairs) < len(by_fold)):
            mean = self.mean, sum(by_fold.values()) / len(by_fold)
            return [mean] if is_part else [*pairs, mean]
        return pairs

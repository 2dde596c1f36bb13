"""The settings that a method's process states, of which nothing is believed: they only choose the test."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from fsbench.base.errors import SettingsError
from fsbench.base.files.validation import first_problem
from fsbench.core.loading import LoadingConfig
from fsbench.protocols.geometry import InputResize
from fsbench.protocols.segmentation import Segmentation
from fsbench.protocols.test import Test
from fsbench.records.run import DEEPEST, Count, Name, is_deeper
from fsbench.runner.config.limits import check_name
from fsbench.runner.config.request import Request
from fsbench.runner.config.tests import load_test

MOST_CHARACTERS = 20_000
"""Characters of the settings that a record keeps as they were stated."""


class _TestSettings(BaseModel):
    """Settings of the test as arguments of `load_test`, read by their names in `EpisodicTest`."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    protocol: Name | None = None
    way: Count | None = None
    shot: Count = 1
    setting: Name = "original"
    empty: Annotated[bool, Field(alias="empty_masks")] = True
    episodes: Count | None = None
    seed: Annotated[Count | None, Field(alias="test_seed")] = None
    draws: Count = 1
    drop_small: Annotated[bool, Field(alias="drop_small_classes")] = False


class _DataSettings(_TestSettings):
    """Settings of the test and of loading that a blind test has, and no others."""

    image_size: Annotated[int, Field(gt=0, le=10_000)]
    input_resize: InputResize = "protocol"
    support_annotation: Literal["mask", "all_ways"] = "mask"
    kept_support: Literal[1] | Annotated[float, Field(ge=1, le=1)] = 1
    nested_in: None = None


class _TrainedOn(BaseModel):
    """The data that weights were trained on, as a checkpoint states them."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    dataset: Name
    fold: Count
    classes: list[Name]


def _check_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Raise ValueError for settings that no record holds."""
    if is_deeper(settings, DEEPEST // 2) or len(json.dumps(settings, allow_nan=False)) > MOST_CHARACTERS:
        raise ValueError(f"expected at most {MOST_CHARACTERS} characters of JSON in {DEEPEST // 2} levels")
    return settings


class Statement(BaseModel):
    """The settings that a method's process states.

    Attributes:
        name: of the method in tables.
        data: settings of the test and of loading.
        hints: parts of an episode that the method asks for beside images and masks.
        trained_on: data that its weights were trained on.
        settings: of the method, its backbone and its checkpoint, as an identity of a run has them.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    name: Name
    data: _DataSettings
    hints: list[Literal["photos", "boxes"]]
    trained_on: list[_TrainedOn]
    settings: Annotated[dict[Name, JsonValue], AfterValidator(_check_settings)]

    def load_test(self, request: Request) -> Test:
        """Draw the test that the request and the method's settings ask for, from this process's own data."""
        drawn = {"fold": request.folds[0], **self.data.model_dump(include=set(_TestSettings.model_fields))}
        chosen: dict[str, Any] = drawn if request.manifest is None else {"manifest": request.manifest}
        return load_test(
            request.dataset, root=request.data_root, lists=request.lists, image_size=self.data.image_size, **chosen
        )

    def loading(self, test: Test) -> LoadingConfig:
        """Return how episodes are loaded, as in a run of the suite."""
        assert isinstance(test.protocol, Segmentation)
        header = test.manifest.header
        shows_all = self.data.support_annotation == "all_ways"
        shows_all = shows_all and (header.way > 1 or header.setting == "fully_augmented")
        return LoadingConfig(
            self.data.image_size,
            test.protocol.geometry,
            cache_bytes=2**30,
            annotation="all_ways" if shows_all else "mask",
            annotation_seed=header.seed or 0,
            input_resize=self.data.input_resize,
            hints=frozenset(self.hints),
        )


def read_statement(content: dict[str, Any], request: Request) -> Statement:
    """Return the statement of a method's process. Raises SettingsError for settings that no blind test has."""
    try:
        statement = Statement.model_validate(content)
    except ValidationError as error:
        raise SettingsError(
            f"{request.methods[0]} asks for what a blind test does not have: {first_problem(error, content)}; leave "
            "it out, or leave out --blind"
        ) from error
    check_name(statement.name, "the name of the method")
    return statement

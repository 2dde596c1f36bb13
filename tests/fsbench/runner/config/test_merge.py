"""Files and arguments are merged as they are meant."""

import pytest

from fsbench.base.errors import SettingsError
from fsbench.runner.config.merge import (
    full_key,
    merge_files,
    parted_arguments,
    setting,
    shipped_settings,
    split_arguments,
    stated_values,
)
from fsbench.runner.config.registry import aliases, config_files, names, task_of
from fsbench.runner.config.run_config import RunConfig


def test_a_run_has_what_its_files_say():
    for method in [*names("methods"), *aliases()]:
        own = aliases()[method].method if method in aliases() else method
        for dataset in names("data"):
            if task_of("methods", own) == task_of("data", dataset):
                values, shipped = RunConfig(method, dataset).values, shipped_settings(method, dataset)
                assert (values["model"], values["trainer"]) == (shipped["model"], shipped["trainer"])


def test_another_class_begins_without_arguments():
    """The protocol of configs/base.yaml is none of classification's."""
    arguments = merge_files(config_files("nn", "demo-cls"))["data"]
    assert (
        arguments["class_path"].endswith("ClassificationDataModule")
        and "protocol" not in arguments["init_args"]["test"]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainr: {}", "unknown key 'trainr'; did you mean 'trainer'?"),
        ("[1, 2]", "holds list, expected a mapping of settings"),
        ("a: [", "cannot read the configuration"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SettingsError) as error:
        merge_files([tmp_path / "mine.yaml"])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_words_and_values():
    """Words behind two dashes count as well."""
    assert list(split_arguments(["--a=1", "--b", "2", "--c", "--d=", "x", "-h", "--", "--e=3"])) == [
        ("a", "1"), ("b", "2"), ("c", None), ("d", ""), ("", "x"), ("help", None), ("e", "3"),
    ]  # fmt: skip


def test_files_are_parted_from_other_arguments():
    words = ["--config=a.yaml", "--data.test.way", "2", "--config", "b.yaml", "--print_config"]
    assert parted_arguments(words) == (["a.yaml", "b.yaml"], ["--data.test.way=2", "--print_config"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("word", "unrecognized arguments: word"),
        ("--trainr.max_epochs=3", "unrecognized arguments: --trainr.max_epochs; did you mean '--trainer'?"),
        ("--metod=x", "did you mean '--method'?"),
        ("--batch-size=3", "did you mean '--data.training.batch_size'?"),
        ("--batch_size=3", "did you mean '--data.training.batch_size'?"),
        ("--workers=3", "did you mean '--data.loading.workers'?"),
        ("--epochs=3", "did you mean '--trainer.max_epochs'?"),
        ("--data.test.fold", "--data.test.fold has no value; expected --data.test.fold=VALUE"),
    ],
)
def test_an_unknown_word_is_refused_with_a_sensible_guess(word, message):
    with pytest.raises(SettingsError) as error:
        parted_arguments([word], ["method", "dataset", "fold"])
    assert message in str(error.value)


def test_what_arguments_state():
    values = stated_values(["--data.dataset.root=x", "--data.test.way=2", "--model.a+=1", "--print_config"])
    assert values == {"data": {"init_args": {"dataset": {"init_args": {"root": "x"}}, "test": {"way": 2}}}}
    assert setting(values, "data.test.way") == 2 and setting(values, "data.test.shot") is None
    assert full_key("data.init_args.dataset.root") == full_key("data.dataset.root")

"""Settings of a training: flags override the file, the file the defaults; nothing else counts."""

import re
from pathlib import Path

import pytest

from fashion_mnist.errors import ConfigError
from fashion_mnist.spec import FASHION_MNIST_CLASSES
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.flags import read_train_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text("epochs: 3\nlearning_rate: 0.01\nflip: false\nclasses: [a, b]\n")
    return path


def test_without_flags_the_defaults_apply() -> None:
    assert read_train_config([]) == TrainConfig()


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--data", "some/folder"], "data", "some/folder"),
        (["--batch-size", "64"], "batch_size", 64),
        (["--batch-size=64"], "batch_size", 64),
        (["--learning-rate", "1e-3"], "learning_rate", 0.001),
        (["--no-flip"], "flip", False),
        (["--flip"], "flip", True),
        (["--color"], "color", True),
        (["--classes", "T-shirt/top,Ankle boot"], "classes", ("T-shirt/top", "Ankle boot")),
        (["--classes", "fashion-mnist"], "classes", FASHION_MNIST_CLASSES),
        (["--classes", "cre\u0300me,eau"], "classes", ("cr\u00e8me", "eau")),
        (["--strict"], "strict", True),
        (["--output", "a/b"], "output", Path("a/b")),
        (["--limit", "100"], "limit", 100),
    ],
)
def test_a_flag_sets_its_field_only(arguments: list[str], name: str, value: object) -> None:
    assert read_train_config(arguments) == TrainConfig().model_copy(update={name: value})


def test_the_file_sets_fields(file: Path) -> None:
    expected = TrainConfig(epochs=3, learning_rate=0.01, flip=False, classes=("a", "b"))
    assert read_train_config(["--config", str(file)]) == expected


def test_the_file_may_name_the_garments_in_short(file: Path) -> None:
    file.write_text("classes: fashion-mnist\n")
    assert read_train_config(["--config", str(file)]) == TrainConfig(classes=FASHION_MNIST_CLASSES)
    assert TrainConfig(strict=True).recipe() == TrainConfig().recipe()


def test_flags_override_the_file(file: Path) -> None:
    found = read_train_config(["--epochs", "5", "--config", str(file), "--flip", "--classes", "c,d,e"])
    expected = TrainConfig(epochs=5, learning_rate=0.01, flip=True, classes=("c", "d", "e"))
    assert found == expected


def test_an_empty_file_changes_nothing(file: Path) -> None:
    file.write_text("# nothing yet\n")
    assert read_train_config(["--config", str(file)]) == TrainConfig()


@pytest.mark.parametrize("key", ["epoch", "batch-size", "cli_args", "model_config"])
def test_an_unknown_key_is_named_with_its_file(file: Path, key: str) -> None:
    file.write_text(f"{key}: 3\n")
    with pytest.raises(ConfigError, match=f"^{re.escape(str(file))}, {key}: "):
        read_train_config(["--config", str(file)])


@pytest.mark.parametrize("arguments", [["--epoch-count", "3"], ["--epochs"], ["stray"]])
def test_a_wrong_command_line_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_train_config(arguments)
    assert caught.value.code == 2
    assert "train.py: error: " in capsys.readouterr().err


def test_help_describes_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_train_config(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    names = (field.alias or name for name, field in TrainConfig.model_fields.items())
    for name in (*names, "config"):
        assert f"--{name.replace('_', '-')}" in out


BAD_VALUES = [
    ("epochs", "zero"),
    ("epochs", "0"),
    ("batch_size", "1"),
    ("learning_rate", "-1"),
    ("precision", "fp8"),
    ("erase", "1.5"),
    ("input_size", "7"),
    ("seed", str(2**32)),
    ("seed", str(2**80)),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_bad_flag_is_named_with_its_value(file: Path, name: str, value: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    for rest in ([], ["--config", str(file)]):
        with pytest.raises(ConfigError, match=rf"^{flag}: .*'{re.escape(value)}'"):
            read_train_config([flag, value, *rest])


def test_a_bad_value_says_what_is_expected() -> None:
    with pytest.raises(ConfigError, match=r"^--epochs: must be greater than or equal to 1 \(got '0'\)$"):
        read_train_config(["--epochs", "0"])
    with pytest.raises(ConfigError, match=r"^--optimizer: must be 'auto', 'muon' or 'sgd' \(got 'adam'\)$"):
        read_train_config(["--optimizer", "adam"])


def test_settings_that_contradict_each_other_are_named_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"^--optimizer muon: works only with the compact .* sgd$"):
        TrainConfig(network="resnet18", optimizer="muon").resolve()
    with pytest.raises(ConfigError, match=r"^--train head: .* random layers of compact; .* vgg16, "):
        TrainConfig(train="head").resolve()


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_bad_key_is_named_with_its_file_and_value(file: Path, name: str, value: str) -> None:
    file.write_text(f"flip: true\n{name}: {value}\n")
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(file))}, {name}: .*{re.escape(value)}"):
        read_train_config(["--config", str(file)])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"- epochs\n- 3\n", "expected `key: value` lines"),
        (b"just words\n", "expected `key: value` lines"),
        (b"1: 2\n", "expected `key: value` lines"),
        (b"epochs: [3\n", "not valid YAML"),
        (b"epochs: \xff\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_not_a_mapping_is_named(file: Path, content: bytes, problem: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(file))}: {problem}"):
        read_train_config(["--config", str(file)])


@pytest.mark.parametrize("key", ["epochs", "learning_rate", "limit", "precision"])
def test_a_boolean_is_refused_where_another_type_is_expected(file: Path, key: str) -> None:
    file.write_text(f"{key}: yes\n")
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(file))}, {key}: YAML reads the value as True; "):
        read_train_config(["--config", str(file)])


@pytest.mark.parametrize("classes", ["", " ", "shirt,,bag", "shirt", "bag,bag"])
def test_invalid_class_names_are_refused(classes: str) -> None:
    with pytest.raises(ConfigError, match=r"^--classes: "):
        read_train_config(["--classes", classes])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        read_train_config(["--config", str(tmp_path / "none.yaml")])


@pytest.mark.parametrize("name", ["EPOCHS", "epochs", "DATA", "SEED", "CONFIG", "FASHION_MNIST_DATA"])
def test_environment_variables_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "7")
    assert read_train_config([]) == TrainConfig()

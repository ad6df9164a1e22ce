"""Read TrainConfig from flags and a YAML file: flags override keys, keys override defaults."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from fashion_mnist.errors import ConfigError
from fashion_mnist.spec import find_name_problem
from fashion_mnist.training.config import TrainConfig


class _TrainFlags(TrainConfig, BaseSettings):
    """Train a network, evaluate it and save it to the BentoML model store."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_prog_name="train.py",
    )

    config: Path | None = Field(
        None, description="YAML file with these settings; keys have underscores (`batch_size: 128`)"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # flags and file only: a variable called DATA or SEED must not change a training
        return (init_settings,)


def read_train_config(arguments: Sequence[str]) -> TrainConfig:
    """Read the flags, and the file that --config names.

    Raises ConfigError naming the flag or key; exits for --help and unknown flags, as argparse does.
    """
    flags = _parse(arguments, {}, "")
    if flags.config is not None:
        flags = _parse(arguments, read_yaml(flags.config), f"{flags.config}, ")
    if flags.classes is not None and (problem := find_name_problem(flags.classes)):
        raise ConfigError(f"--classes: {problem}; name every class, separated by commas")
    return TrainConfig(**flags.model_dump(exclude={"config"}, by_alias=True))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping of settings. Raises ConfigError naming the file and the key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: expected `key: value` lines such as `batch_size: 128`")
    settings = {field.alias or name: field for name, field in TrainConfig.model_fields.items()}
    for key in content:
        if key not in settings:
            raise ConfigError(f"{path}, {key}: unknown setting; the settings are {', '.join(settings)}")
        if isinstance(content[key], bool) and settings[key].annotation is not bool:
            raise ConfigError(
                f"{path}, {key}: YAML reads the value as {content[key]}; expected a number or text, "
                "which may need quotes"
            )
    return content


def _parse(arguments: Sequence[str], values: dict[str, Any], origin: str) -> _TrainFlags:
    try:
        return CliApp.run(_TrainFlags, cli_args=list(arguments), **values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        where = f"{origin}{name}" if name in values else f"--{name.replace('_', '-')}"
        message = problem["msg"].replace("Input should be", "must be")
        raise ConfigError(f"{where}: {message} (got {problem['input']!r})") from error

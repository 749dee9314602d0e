"""What the commands' settings have in common: a parser that answers in sentences, and dataclasses.

A command's settings are a frozen dataclass, whose fields may be dataclasses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NoReturn, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from ngu.sentences import SettingsError, sentence

set_parsing_settings(docstring_parse_attribute_docstrings=True)


def underscored(word: str) -> str:
    """An option with its dashes as the underscores of the setting's name: --num-envs."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


class SettingsParser(ArgumentParser):
    """Answers in one sentence, which names the nearest options where one is unknown."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong as a sentence."""
        raise SettingsError(sentence(message, self._names()))

    def _names(self) -> list[str]:
        words = [
            option.removeprefix("--")
            for action in self._actions
            for option in action.option_strings
            if option.startswith("--") and option != "--print_shtab"
        ]
        return [word for word in words if not any(w.startswith(f"{word}.") for w in words)]


def build(
    kind: type[Any],
    namespace: Namespace,
    parts: Mapping[str, type[Any] | None],
    prefix: str = "",
) -> Any:
    """A dataclass of settings, its parts included, from what the parser found.

    Raises:
        SettingsError: a value is missing or out of range; names it in full.
    """
    types = {**get_type_hints(kind), **parts}
    values: dict[str, Any] = {}
    for name in (f.name for f in dataclasses.fields(kind)):
        part, full_name = types[name], f"{prefix}{name}"
        value = namespace.get(name)
        if isinstance(part, type) and dataclasses.is_dataclass(part):
            if not isinstance(value, Namespace):
                raise SettingsError(f"{full_name} must hold settings by name, got {value}")
            value = build(part, value, {}, f"{full_name}.")
        elif value is None and part is not None and type(None) not in get_args(part):
            raise SettingsError(f"{full_name} must have a value, got null")
        values[name] = value
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        says = str(error)
        group = prefix if says.split()[0] in values else prefix and f"{prefix[:-1]}: "
        raise SettingsError(f"{group}{says}") from error

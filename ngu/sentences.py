"""Complaints as one sentence for the user: the settings' parser's, and what an error says."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from typing import NoReturn

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "NoneType": "null",
}
_LISTED = 16
"""So many names are listed where none is near."""


class SettingsError(ValueError):
    """Settings that cannot be used; the message is a sentence for the user."""


class EarlyParser(argparse.ArgumentParser):
    """Takes a few options out of a command line before the rest is parsed.

    Args:
        repeated: options that may come several times.
        names: the other options.
    """

    def __init__(self, *names: str, repeated: Sequence[str] = ()) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        for name in names:
            self.add_argument(f"--{name}")
        for name in repeated:
            self.add_argument(f"--{name}", action="append", default=[])

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong as a sentence."""
        raise SettingsError(sentence(message, ()))


def closest(name: str, known: Sequence[str]) -> str:
    """A clause that names what ``name`` may have meant."""
    by_key = {word.casefold(): word for word in known}
    near = difflib.get_close_matches(name.casefold(), by_key, n=3, cutoff=0.5)
    if near:
        return f"the closest are {', '.join(by_key[key] for key in near)}"
    if len(known) <= _LISTED:
        return f"there are {', '.join(known)}"
    return "none is close; --help lists them all"


def sentence(message: str, names: Sequence[str]) -> str:
    """A message of the parser as one sentence, with the nearest names where one is unknown.

    Args:
        message: of argparse or jsonargparse.
        names: of all settings.
    """
    message = re.sub(r"<class '(\w+)'>", r"\1", " ".join(message.split()))
    message = message.removeprefix("Parser key ")
    for pattern, say in _SENTENCES:
        found = re.search(pattern, message, re.IGNORECASE)
        if found:
            return say(found, names)
    return message


def _unknown_option(found: re.Match[str], names: Sequence[str]) -> str:
    if not found[1].startswith("--"):
        return f"there is no argument {found[1]!r}; settings are given as --NAME VALUE"
    return f"there is no option {found[1]}; {closest(found[1], [f'--{name}' for name in names])}"


def _unknown_setting(found: re.Match[str], names: Sequence[str]) -> str:
    key = ".".join(part for part in found.groups() if part)
    return f"there is no setting {key}; {closest(key, names)}"


def _not_among(found: re.Match[str], names: Sequence[str]) -> str:
    choices = re.findall(r"'([^']*)'", found[2])
    return f"{found[1]} must be one of {', '.join(choices)}, got {found[3]!r}"


def _wrong_type(found: re.Match[str], names: Sequence[str]) -> str:
    return f"{found[1]} must be {_KINDS.get(found[2], found[2])}, got {found[3]!r}"


def _no_type_fits(found: re.Match[str], names: Sequence[str]) -> str:
    kinds = " or ".join(_KINDS.get(kind, kind) for kind in found[2].split(", "))
    return f"{found[1]} must be {kinds}, got {found[3]!r}"


_SENTENCES: list[tuple[str, Callable[[re.Match[str], Sequence[str]], str]]] = [
    (r"unrecognized arguments: ([^\s=]+)", _unknown_option),
    (r"Group '([^']*)' does not accept option '([^']*)'", _unknown_setting),
    (r"Option '([^']*)' is not accepted", _unknown_setting),
    (r"argument (--\S+): expected one argument", lambda found, _: f"{found[1]} needs a value"),
    (r'"([^"]+)": Expected a typing\.Literal\[(.*?)\]\. Got value: ?(.*)$', _not_among),
    (r'"([^"]+)": Expected a (\w+)\. Got value: ?(.*)$', _wrong_type),
    (r'"([^"]+)": Does not validate .* Subtypes: \[(.*?)\].* Given value: ?(.*)$', _no_type_fits),
    (
        r"^\"([^\"]+)\": Unable to load config '([^']*)'",
        lambda found, _: f"{found[1]} must be a file or settings by name, got {found[2]!r}",
    ),
]


def reason(error: Exception) -> str:
    """What an error says, on one line; of a missing key that it is missing."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return " ".join(str(error).split())


def at_least(minimum: int) -> Callable[[str], int]:
    """What turns an option's text into a whole number of at least so much, for argparse."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
        if value < minimum:
            raise argparse.ArgumentTypeError(f"expected at least {minimum}, got {value}")
        return value

    return convert

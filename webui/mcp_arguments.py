"""Arguments of tools: described as JSON Schema for a model, checked when they come. Pure.

Times and symbols are only checked for their form here; what they mean is for the tickets to say.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from core.errors import BadTicket

TEXT_CHARS_MAX: Final = 64 * 1024
LIST_MAX: Final = 1_000

Kind = Literal["text", "time", "whole", "words", "values"]
Json = dict[str, object]

_FORMS: Final[Mapping[Kind, Json]] = {
    "text": {"type": "string", "minLength": 1},
    "time": {"type": "string", "minLength": 1},
    "whole": {"type": "integer"},
    "words": {"type": "array", "items": {"type": "string"}, "maxItems": 64},
    "values": {
        "type": "array",
        "items": {"type": ["string", "number", "boolean", "null"]},
        "maxItems": LIST_MAX,
    },
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a tool; `low` and `high` are limits of whole numbers."""

    name: str
    kind: Kind
    meaning: str
    examples: tuple[object, ...] = ()
    default: int | str | None = None
    low: int = 0
    high: int = 0
    is_required: bool = False

    def schema(self) -> Json:
        """What a client is told."""
        found = {**_FORMS[self.kind], "description": self.meaning}
        if self.kind == "whole":
            found |= {"minimum": self.low, "maximum": self.high}
        if self.default is not None:
            found["default"] = self.default
        if self.examples:
            found["examples"] = list(self.examples)
        return found


class Given:
    """The arguments of one call, of the right kind; raise BadTicket where one is not."""

    def __init__(self, arguments: Sequence[Argument], given: Mapping[str, object]) -> None:
        known = {argument.name: argument for argument in arguments}
        if unknown := sorted(set(given) - set(known)):
            raise BadTicket(
                f"no argument is called {', '.join(unknown)[:80]!r}",
                hint=f"arguments are {', '.join(known) or 'none'}",
            )
        self._values: dict[str, object] = {}
        for name, argument in known.items():
            value = given.get(name)
            if value is None:
                if argument.is_required:
                    raise BadTicket(f"{name} is missing", hint=_example(argument))
                value = argument.default
            elif (fault := _fault(argument, value)) is not None:
                raise BadTicket(f"{name}: {fault}, found {_shown(value)}", hint=_example(argument))
            self._values[name] = value

    def text(self, name: str) -> str:
        """Text, or a time as text; empty where it is not given."""
        value = self._values[name]
        return "" if value is None else str(value).strip()

    def whole(self, name: str) -> int:
        """A whole number."""
        value = self._values[name]
        assert isinstance(value, int), name
        return value

    def many(self, name: str) -> list[object]:
        """A list, empty where it is not given; words may also come as one text with commas."""
        value = self._values[name]
        if isinstance(value, str):
            return [word.strip() for word in value.split(",") if word.strip()]
        return list(value) if isinstance(value, list) else []

    def given(self) -> Json:
        """What was given, or is the default; for asking once more."""
        return {name: value for name, value in self._values.items() if value is not None}


def input_schema(arguments: Sequence[Argument]) -> Json:
    """The JSON Schema of a tool's arguments."""
    found: Json = {
        "type": "object",
        "properties": {argument.name: argument.schema() for argument in arguments},
        "additionalProperties": False,
    }
    if required := [argument.name for argument in arguments if argument.is_required]:
        found["required"] = required
    return found


def _fault(argument: Argument, value: object) -> str | None:
    match argument.kind:
        case "text":
            is_good, wanted = isinstance(value, str) and bool(value.strip()), "text"
        case "time":
            # Epoch nanoseconds do not fit the numbers of every client, so text is what is asked.
            is_good = isinstance(value, str | int) and not isinstance(value, bool)
            is_good, wanted = is_good and bool(str(value).strip()), "a time as text"
        case "whole":
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            is_good = is_whole and argument.low <= int(str(value)) <= argument.high
            wanted = f"a whole number from {argument.low} to {argument.high}"
        case "words":
            is_list = isinstance(value, list) and all(isinstance(word, str) for word in value)
            is_good, wanted = is_list or isinstance(value, str), "a list of texts"
        case "values":
            plain = str | int | float | bool | None
            is_good = isinstance(value, list) and all(isinstance(one, plain) for one in value)
            wanted = "a list of texts, numbers, true, false or null"
    if is_good and isinstance(value, str) and len(value) > TEXT_CHARS_MAX:
        return f"expected at most {TEXT_CHARS_MAX} characters"
    if is_good and isinstance(value, list) and len(value) > LIST_MAX:
        return f"expected at most {LIST_MAX} values"
    return None if is_good else f"expected {wanted}"


def _example(argument: Argument) -> str:
    if not argument.examples:
        return argument.meaning
    return f"for example {json.dumps({argument.name: argument.examples[0]})}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:60]} ..."

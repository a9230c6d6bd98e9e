"""Members of a catalog's mappings set and removed in its text; every other character stays."""

import io
import json
import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, JsonValue, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, SequenceNode

PLAIN_WORD = re.compile(r"[A-Za-z][\w -]*[\w]|[A-Za-z]")
"""Text that YAML takes for text without quotes, but for the words below."""

OTHER_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
"""What one YAML or another takes for something else than text."""

DECIMALS = 10
"""Of numbers: for the smallest of a homography, a millionth of a pixel over its image."""

Place = Sequence[str | int]
"""Keys and indices on the way to a mapping."""


def plain(text: str) -> object:
    """The values of YAML text."""
    return YAML(typ="safe").load(io.StringIO(text))


def says(text: str, schema: type[BaseModel], expected: BaseModel) -> bool:
    """Whether the text is valid and means what is expected."""
    try:
        return schema.model_validate(plain(text)) == expected
    except (ValidationError, YAMLError, ValueError):
        return False


def with_member(text: str, place: Place, key: str, value: str) -> str | None:
    """The text with a member of a mapping set to a value written on one line.

    Args:
        text: YAML.
        place: of the mapping.
        key: of the member.
        value: YAML of one line.

    Returns:
        None: there is no mapping at that place.
    """
    mapping = _mapping_at(text, place)
    if mapping is None:
        return None
    for name, old in mapping.value:
        if name.value == key:
            start, end = old.start_mark.index, _end(old)
            after_colon = text.index(":", name.end_mark.index) + 1
            if old.value == "":  # nothing is written there; its marks may lie lines below
                return f"{text[:after_colon]} {value}{text[after_colon:]}"
            if not text[after_colon:start].strip():
                return f"{text[:after_colon]} {value}{text[end:]}"
            return text[:start] + value + text[end:]
    end = _end(mapping.value[-1][1])
    if mapping.flow_style:
        return f"{text[:end]}, {key}: {value}{text[end:]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    end = _line_end(text, end)
    indent = " " * mapping.value[0][0].start_mark.column
    return f"{text[:end]}{newline}{indent}{key}: {value}{text[end:]}"


def with_item(text: str, place: Place, value: str) -> str | None:
    """The text with one more item at the end of a sequence.

    Args:
        text: YAML.
        place: of the sequence.
        value: YAML of one line.

    Returns:
        None: there is no sequence at that place.
    """
    node = _node_at(text, place)
    if not isinstance(node, SequenceNode):
        return None
    newline = "\r\n" if "\r\n" in text else "\n"
    if not node.value:
        start, end = node.start_mark.index, _end(node)
        around = _node_at(text, place[:-1])
        if isinstance(around, CollectionNode) and around.flow_style:
            return f"{text[:start]}[{value}]{text[end:]}"
        return f"{text[:start].rstrip(' ')}{newline}  - {value}{text[end:]}"
    end = _end(node.value[-1])
    if node.flow_style:
        return f"{text[:end]}, {value}{text[end:]}"
    end = _line_end(text, end)
    return f"{text[:end]}{newline}{' ' * node.start_mark.column}- {value}{text[end:]}"


def without_member(text: str, place: Place, key: str) -> str | None:
    """The text without a member of a mapping; the same text where it has none of that key.

    The first member of a list's item stays and becomes null, since its line holds the dash.

    Returns:
        None: there is no mapping at that place.
    """
    mapping = _mapping_at(text, place)
    if mapping is None:
        return None
    for index, (name, old) in enumerate(mapping.value):
        if name.value != key:
            continue
        start, end = name.start_mark.index, _end(old)
        if mapping.flow_style:
            if index + 1 < len(mapping.value):
                return text[:start] + text[mapping.value[index + 1][0].start_mark.index :]
            return text[: text.rindex(",", 0, start)] + text[end:] if index else None
        line_start = text.rfind("\n", 0, start) + 1
        if text[line_start:start].strip():
            return with_member(text, place, key, "null")
        following = re.compile(r"\r?\n").match(text, _line_end(text, end))
        return text[:line_start] + text[following.end() if following else len(text) :]
    return text


def flow(value: JsonValue) -> str:
    """A value as one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        is_plain = PLAIN_WORD.fullmatch(value) and value.lower() not in OTHER_WORDS
        return value if is_plain else _quoted(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    """Text in double quotes; what is no visible character is written by its number."""
    return "".join(
        one if one.isprintable() else f"\\U{ord(one):08X}"
        for one in json.dumps(text, ensure_ascii=False)
    )


def as_written(value: JsonValue) -> JsonValue:
    """The value that `flow` writes: numbers rounded to DECIMALS."""
    if isinstance(value, Mapping):
        return {name: as_written(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_written(item) for item in value]
    return round(value, DECIMALS) if isinstance(value, float) else value


def number(value: float, decimals: int = DECIMALS) -> str:
    """Decimal digits without an exponent, which YAML 1.1 readers take for a word."""
    digits = f"{value:.{decimals}f}".rstrip("0")
    return digits + "0" if digits.endswith(".") else digits


def _mapping_at(text: str, place: Place) -> MappingNode | None:
    node = _node_at(text, place)
    return node if isinstance(node, MappingNode) and node.value else None


def _node_at(text: str, place: Place) -> Node | None:
    node: Node | None = YAML(typ="safe", pure=True).compose(io.StringIO(text))
    for key in place:
        if isinstance(key, int):
            node = node.value[key] if isinstance(node, SequenceNode) else None
        else:
            node = _member(node, key)
    return node


def _member(node: Node | None, key: str) -> Node | None:
    """A mapping's value; None where it has none of that key."""
    if not isinstance(node, MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _end(node: Node) -> int:
    """Where a value ends in the text, without the comments and blank lines behind it."""
    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _line_end(text: str, at: int) -> int:
    """Where the line of a place ends, before its line break."""
    rest = re.compile(r"[^\r\n]*").match(text, at)
    return rest.end() if rest else at

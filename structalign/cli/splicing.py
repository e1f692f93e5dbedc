"""Edit the text of a YAML file at a key. All other characters stay, with comments and layout.

Keys are dotted (`tasks.t01.crp`). `parse_yaml` must have accepted the text.
"""

import re
from typing import Any

import yaml

LINE_END = re.compile(r"\r\n?|\n")


def has(text: str, key: str) -> bool:
    """Whether the text has a key."""
    return bool(_path(text, key))


def rename(text: str, key: str, name: str) -> str:
    """The text with the last part of a key renamed to `name`. A comment after its value keeps its column."""
    mapping, index = _path(text, key)[-1]
    old, value = mapping.value[index]
    begin, end = old.start_mark.index, old.end_mark.index
    value_end = value.end_mark.index if isinstance(value, yaml.ScalarNode) else end
    blanks = len(text[value_end:]) - len(text[value_end:].lstrip(" "))
    commented = text[value_end + blanks :].startswith("#")
    width = max(1, blanks + (end - begin) - len(name)) if commented else blanks
    return text[:begin] + name + text[end:value_end] + " " * width + text[value_end + blanks :]


def replace_value(text: str, key: str, value: str) -> str:
    """The text with another scalar value at a key. Raise a ValueError if the key has no scalar value."""
    old = _single(text, key)
    return text[: old.start_mark.index] + value + text[old.end_mark.index :]


def insert_after(text: str, key: str, name: str, value: str, comment: str) -> str:
    """The text with a new entry after that of a key. Within braces the comment is left out.

    A dotted `name` is a section with one entry."""
    mapping, index = _path(text, key)[-1]
    before, old = mapping.value[index]
    begin, end = before.start_mark.index, _end(old)
    parts = name.split(".")
    if mapping.flow_style:
        return f"{text[:end]}, {': {'.join(parts)}: {value}{'}' * (len(parts) - 1)}{text[end:]}"
    indent = text[_line_begin(text, begin) : begin]
    line_end = LINE_END.search(text, end)
    place, newline = (line_end.start(), line_end[0]) if line_end else (len(text), "\n")
    lines = [f"{newline}{indent}{'  ' * depth}{part}:" for depth, part in enumerate(parts)]
    return f"{text[:place]}{''.join(lines)} {value}  # {comment}{text[place:]}"


def remove(text: str, key: str) -> str:
    """The text without a key, its value and its comment. A mapping that becomes empty is removed too.

    A value that is not a scalar is a ValueError."""
    path, end = _path(text, key), _single(text, key).end_mark.index
    while len(path) > 1 and len(path[-1][0].value) == 1:
        path.pop()
    mapping, index = path[-1]
    name, value = mapping.value[index]
    begin = name.start_mark.index
    if not mapping.flow_style:
        line_end = LINE_END.search(text, end)
        return text[: _line_begin(text, begin)] + (text[line_end.end() :] if line_end else "")
    end = value.end_mark.index
    if index + 1 < len(mapping.value):
        return text[:begin] + text[mapping.value[index + 1][0].start_mark.index :]
    if index:
        begin = mapping.value[index - 1][1].end_mark.index
    return text[:begin] + text[end:]


def _line_begin(text: str, place: int) -> int:
    return max(text.rfind(character, 0, place) for character in "\r\n") + 1


def _end(value: yaml.Node) -> int:
    """The end of a value, before the blank lines and comments that follow it."""
    while isinstance(value, yaml.CollectionNode) and not value.flow_style and value.value:
        last = value.value[-1]
        value = last[1] if isinstance(last, tuple) else last
    end: int = value.end_mark.index
    return end


def _path(text: str, key: str) -> list[tuple[yaml.MappingNode, int]]:
    """Each mapping on the path to a key, with the position of its entry. Empty if the key does not exist."""
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    path = []
    for part in key.split("."):
        names = [name.value for name, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        if part not in names:
            return []
        path.append((node, names.index(part)))
        node = node.value[names.index(part)][1]
    return path


def _single(text: str, key: str) -> yaml.ScalarNode:
    """The node of a key's value, which must be a scalar."""
    mapping, index = _path(text, key)[-1]
    value = mapping.value[index][1]
    if not isinstance(value, yaml.ScalarNode) or value.style in ("|", ">"):
        raise ValueError(f"`{key}` is more than one value: remove it by hand")
    return value

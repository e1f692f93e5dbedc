"""Strict YAML 1.2, as DVC reads it: one reader and one writer for all YAML files of a project.

DVC reads YAML 1.2 through ruamel.yaml. PyYAML follows YAML 1.1, where `010` is 8 and `no` is false. `parse_yaml` only
accepts files that give the tree that DVC reads. It refuses anything that two versions or two readers would read
differently, and says how to write it.
"""

import json
import re
from collections.abc import Iterator
from math import isinf
from pathlib import Path
from typing import Any, NoReturn

import yaml

from structalign.errors import UserError
from structalign.text import visible

DEPTH = 32  # DVC's reader is recursive: some hundred levels overflow its stack
COPIES = 100_000  # values that aliases may expand to: a few lines of nested aliases would fill the memory
DIGITS = 300  # more than any value here needs; Python refuses integers of 4,300

CONSTANTS = {"": None, "~": None} | {
    spelling: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for spelling in (word, word.capitalize(), word.upper())
}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+][0-9]+)?)")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

# Texts that are not a number, truth value or null by the rules above, but are for YAML 1.1 or for DVC's reader.
AMBIGUOUS = [
    (re.compile(r"(?i)y|n|yes|no|on|off|true|false|null"), "is a truth value or null for some readers of YAML"),
    (
        re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?"),
        "has a leading zero, which makes it octal for some readers of YAML",
    ),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-9]+)+(\.[0-9_]*)?"), "is a base-60 number for some readers of YAML"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(([Tt]|[ \t]+)[0-9].*)?"), "is a date for some readers of YAML"),
    (re.compile(r"(?i)[-+]?0(b[01_]+|o[0-7_]+|x[0-9a-f_]+)"), "is a number for some readers of YAML"),
    (
        re.compile(r"(?i)[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9_]+)(e[-+]?[0-9]+)?|[-+][0-9_]+"),
        "is a number for some readers of YAML",
    ),
    (re.compile(r"=|<<"), "has a special meaning in YAML 1.1"),
]

# Characters that one of the readers refuses, or takes for the end of a line.
UNPRINTABLE = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
SURROGATE = re.compile("[\ud800-\udfff]")

# Texts that PyYAML and ruamel.yaml scan differently: `[a:]`, and a block that begins with a line of spaces. With its
# C scanner, ruamel.yaml also refuses `[a:b]`.
BLOCK = ("|", ">")
TIGHT_COLON = re.compile(r"\s*:\S")
BLANK_LINE_FIRST = re.compile(r"[|>].*\n\n*[ \t]+\n")


def load_yaml(path: Path) -> Any:
    """Read a YAML file. Raises a `UserError` that names the file if it is missing or `parse_yaml` refuses it."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would block
            raise UserError(f"{path} is not a file: remove it, or restore it with `git checkout {path}`.")
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: run this in a project's folder, or make a project with `structalign new DIR`."
        ) from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): correct its permissions.") from None
    return parse_yaml(content, str(path))


def load_texts(path: Path) -> Any:
    """The tree of a file that DVC wrote, with every value as text. It may have values that `parse_yaml` refuses."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file: remove it, or restore it with `git checkout {path}`.")
    try:
        return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except yaml.YAMLError:
        raise UserError(f"{path} is damaged: restore it with `git checkout {path}`.") from None


def parse_yaml(content: bytes | str, source: str) -> Any:
    """The tree of one YAML document: dicts with text keys, lists and values. None if the document is empty.

    Raises a `UserError` with `source`, line, key and remedy for everything that DVC would read differently.
    """
    text = _decoded(content, source) if isinstance(content, bytes) else content
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # like a file opened in text mode
    if bad := UNPRINTABLE.search(text):
        code, line = f"U+{ord(bad[0]):04X}", text.count("\n", 0, bad.start()) + 1
        if bad[0] == "\ufeff" and not bad.start():
            raise UserError(f"{source}, line 1: the file begins with a byte order mark: save it as UTF-8 without one.")
        escape = json.dumps(bad[0])
        raise UserError(f"{source}, line {line}: the character {code} is not allowed: remove it, or write {escape}.")
    reader = _Reader(text, source)
    try:
        return reader.document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{source} is not valid YAML (line {line}: {error.problem}): correct that line.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # an escape beyond Unicode is a ValueError
        raise UserError(f"{source} is not valid YAML (after line {reader.line}: {error}): correct it.") from None


def _decoded(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{source}, line {line}: this is not UTF-8: save the file as UTF-8.") from None


def dump_yaml(tree: Any) -> str:
    """A tree as YAML that `parse_yaml` and DVC read back unchanged. Innermost collections take one line each."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=10_000)


def needs_quotes(text: str) -> bool:
    """Whether our reader or another one would not read a plain `text` as that text."""
    if text in CONSTANTS or any(form.fullmatch(text) for form in (INTEGER, FLOAT, NOT_FINITE)):
        return True
    return any(form.fullmatch(text) for form, _ in AMBIGUOUS) or not text.isprintable()


class _Dumper(yaml.SafeDumper):
    """Put texts that `needs_quotes` in double quotes and write no alias. PyYAML does the rest."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if needs_quotes(text) else None)


_Dumper.add_representer(str, _represent_text)


class _Reader:
    """One document, built from PyYAML's events, which distinguish a plain `no` from a quoted one."""

    def __init__(self, text: str, source: str) -> None:
        self.text, self.source = text, source
        self.events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self.line, self.end, self.gap = 1, 0, ""  # of the last event, with the text between it and the previous one
        self.in_flow = 0  # brackets and braces that are open
        self.begun: set[str] = set()  # names of anchors; `anchors` has those whose value is complete
        self.anchors: dict[str, Any] = {}
        self.copies = 0

    def next(self) -> Any:
        event: Any = next(self.events)
        self.line = event.start_mark.line + 1
        self.gap, self.end = self.text[self.end : event.start_mark.index], event.end_mark.index
        return event

    def refuse(self, what: str) -> NoReturn:
        raise UserError(f"{self.source}, line {self.line}: {visible(what)}.")

    def document(self) -> Any:
        self.next()  # the stream's start
        event = self.next()
        if isinstance(event, yaml.StreamEndEvent):
            return None
        if event.version or event.tags:
            self.refuse("directives (`%`) are not allowed: remove the line")
        event = self.next()
        if isinstance(event, yaml.ScalarEvent) and event.style in BLOCK:
            self.refuse("the text belongs to no key: write `key: |` before it")
        tree = self.value(event, ())
        if self.next().explicit:
            self.refuse("`...` ends the document: remove the line")
        if not isinstance(self.next(), yaml.StreamEndEvent):
            self.refuse("a second document begins: keep one, and remove the other `---`")
        return tree

    def value(self, event: Any, path: tuple[str, ...]) -> Any:
        if len(path) > DEPTH:
            self.refuse(f"`{path[0]}` is nested deeper than {DEPTH} levels: use fewer levels")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                alias = f"{_named(path)} = *{event.anchor}"
                self.refuse(f"{alias} repeats no earlier value: write the value out")
            return self.copy(self.anchors[event.anchor], path)
        if event.tag is not None:
            self.refuse(f"{_named(path)} has the tag {event.tag}: remove the tag, and use quotes for a text")
        if event.anchor in self.begun:
            self.refuse(f"{_named(path)} has the anchor &{event.anchor}, which is used already: rename it")
        if event.anchor:
            self.begun.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            tree = self.scalar(event, path)
        else:
            self.in_flow += bool(event.flow_style)
            is_list = isinstance(event, yaml.SequenceStartEvent)
            tree = self.sequence(path) if is_list else self.mapping(path, event.flow_style)
            self.in_flow -= bool(event.flow_style)
        if event.anchor:
            self.anchors[event.anchor] = tree
        return tree

    def copy(self, tree: Any, path: tuple[str, ...]) -> Any:
        """A copy of the value of an alias."""
        self.copies += 1
        if len(path) > DEPTH or self.copies > COPIES:
            self.refuse(f"{_named(path)} expands to too many values by its aliases (`*`): write the values out")
        if isinstance(tree, dict):
            return {key: self.copy(value, (*path, key)) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self.copy(value, (*path, str(index))) for index, value in enumerate(tree)]
        return tree

    def sequence(self, path: tuple[str, ...]) -> list[Any]:
        tree: list[Any] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            tree.append(self.value(event, (*path, str(len(tree)))))
        return tree

    def mapping(self, path: tuple[str, ...], in_braces: bool) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key = self.key(event, path)
            here = _named((*path, key))
            if key in tree:
                self.refuse(f"{here} is there twice, first in line {lines[key]}: remove one")
            if in_braces and TIGHT_COLON.match(self.text, event.end_mark.index):
                self.refuse(f"{here} has no space after its colon: write `: `")
            lines[key] = self.line
            event = self.next()
            if isinstance(event, yaml.ScalarEvent) and "#" in self.gap:
                self.refuse(f"there is a comment between {here} and its value: write the value first")
            tree[key] = self.value(event, (*path, key))
        return tree

    def key(self, event: Any, path: tuple[str, ...]) -> str:
        if not isinstance(event, yaml.ScalarEvent) or event.style in BLOCK:
            self.refuse(f"a key below {_named(path)} is not a one-line text: write it as one")
        if event.implicit[0] and event.value == "<<":
            self.refuse(f"{_named(path)} has the merge key `<<`: write the merged keys out")
        plain = event.implicit[0] and event.value not in ("y", "n")  # `y` is a key of plots in dvc.yaml
        if event.tag or event.anchor or (plain and needs_quotes(event.value)):
            self.refuse(f"the key {_named((*path, event.value))} is not a plain text: write {_quoted(event.value)}")
        self.refuse_half_characters(event.value, path)
        self.refuse_colon_in_flow(event, (*path, event.value))
        return str(event.value)

    def refuse_half_characters(self, text: str, path: tuple[str, ...]) -> None:
        if SURROGATE.search(text):
            self.refuse(f"{_named(path)} has half a character (U+D800 to U+DFFF): write the whole character")

    def refuse_colon_in_flow(self, event: Any, path: tuple[str, ...]) -> None:
        if self.in_flow and event.implicit[0] and ":" in event.value:
            self.refuse(f"{_named(path)} has a colon within brackets or braces: write {_quoted(event.value)}")

    def scalar(self, event: Any, path: tuple[str, ...]) -> Any:
        text: str = event.value
        self.refuse_half_characters(text, path)
        self.refuse_colon_in_flow(event, path)
        if event.style in BLOCK and BLANK_LINE_FIRST.match(self.text, event.start_mark.index):
            self.refuse(f"{_named(path)} begins with a line of spaces: remove them")
        if not event.implicit[0]:  # quoted, or a block
            return text
        if text in CONSTANTS:
            return CONSTANTS[text]
        if NOT_FINITE.fullmatch(text):
            return float(text.replace(".", ""))
        if INTEGER.fullmatch(text) or FLOAT.fullmatch(text):
            return self.number(text, path)
        for form, reason in AMBIGUOUS:
            if form.fullmatch(text):
                self.refuse(f"{_named(path)} = {_short(text)} {reason}: write {_way(text)}{_quoted(text)} for a text")
        return text

    def number(self, text: str, path: tuple[str, ...]) -> int | float:
        here = f"{_named(path)} = {_short(text)}"
        if len(text) > DIGITS:
            self.refuse(f"{here} has {len(text)} characters: write a number of at most {DIGITS}")
        if INTEGER.fullmatch(text):
            return int(text, 0)
        if isinf(number := float(text)):
            self.refuse(f"{here} is too large for a number: write .inf, or {_quoted(text)} for a text")
        return number


def _named(path: tuple[str, ...]) -> str:
    return f"`{'.'.join(map(_short, path))}`" if path else "the file"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _quoted(text: str) -> str:
    return json.dumps(_short(text), ensure_ascii=not text.isprintable())


def _way(text: str) -> str:
    """How to write the value that an ambiguous text may mean, followed by "or"."""
    if text.lower() in ("y", "yes", "on", "true"):
        return "true, or "
    if text.lower() in ("n", "no", "off", "false"):
        return "false, or "
    if text.lower() == "null":
        return "null, or "
    plain = re.sub(r"^([-+]?)0+(?=[0-9])", r"\1", text.replace("_", ""))
    plain = re.sub(r"^([-+]?)\.", r"\g<1>0.", plain)
    if plain not in (text, "0.") and (INTEGER.fullmatch(plain) or FLOAT.fullmatch(plain)):
        return f"{_short(plain)}, or "
    return "a decimal number, or " if re.match(r"[-+]?[0-9]", text) and "-" not in text[1:] else ""

"""YAML is read as DVC reads it. A value that YAML's versions read differently is refused, with a remedy."""

import math
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from codemap import ROOT
from dvc.exceptions import DvcException
from dvc.utils.serialize import parse_yaml as dvc_reads
from dvc.utils.serialize import parse_yaml_for_update as dvc_edits
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.scalarbool import ScalarBoolean

from structalign.cli.editing import dump_with_comments, load_with_comments
from structalign.errors import UserError
from structalign.strict_yaml import dump_yaml, load_yaml, parse_yaml


def shape(tree: Any) -> Any:
    """A tree with the type of each value. 1, 1.0 and true differ, NaN equals NaN, and ruamel's types are plain ones."""
    if isinstance(tree, dict):
        return {shape(key): shape(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [shape(value) for value in tree]
    if isinstance(tree, bool | ScalarBoolean):
        return bool, bool(tree)
    kind = next((kind for kind in (int, float, str) if isinstance(tree, kind)), type(tree))
    return kind, None if tree is None else repr(kind(tree))


def refusal(text: str) -> str | None:
    """Why our reader refuses a text, or None."""
    try:
        parse_yaml(text, "params.yaml")
    except UserError as error:
        return str(error)
    return None


def read_alike(text: str) -> bool:
    """Whether our reader accepts a text. If so, checks that DVC reads, and edits, the same tree.

    DVC reads with ruamel.yaml's C scanner if `ruamel.yaml.clib` is there, and otherwise with the one in Python.
    """
    if said := refusal(text):
        assert "params.yaml" in said
        assert "\n" not in said
        return False
    expected = shape(parse_yaml(text, "params.yaml") or {})
    assert shape(dvc_reads(text, "params.yaml")) == expected
    assert shape(YAML(typ="safe", pure=True).load(text) or {}) == expected
    assert shape(dvc_edits(text, "params.yaml")) == expected
    return True


# Words of a scalar and pieces of a file in which the two readers could differ
LETTERS = st.text("0123456789_.eE+-:xob nyf~=<", min_size=1, max_size=7)
WORDS = "yes No ON off y N true False tRUE null Null ~ .inf -.INF .NaN 010 1:30 1_0 0o7 0b1 0x1F 1e-05 5e-4 2024-01-01"
PIECES = [
    *(
        "a",
        "key",
        " ",
        "\n",
        "\n  ",
        "\n    ",
        ": ",
        ":",
        "- ",
        "-",
        "? ",
        ", ",
        ",",
        "[",
        "]",
        "{",
        "}",
        "#",
        " # c\n",
    ),
    *("&a ", "*a", "!", "!!str ", "|\n  ", ">", "|-\n ", ">+\n ", "'", '"', "\\n", "\\u2028", "%", "@", "`"),
    *("---", "\n---\n", "\n...\n", "<<: ", "=", "\t", "é", "\u2028", "\x85", "\ufeff", "\x07", "😀", "\xa0"),
    *("a: 1\n", "b: [1, 2]\n", "c: {x: 1}\n", "  - b\n", "x: |\n  t\n   u\n\n", "y: >\n  f g\n  h\n\n  i\n"),
    *WORDS.split(),
]
FILES = [
    "seed: 0\nmethod:\n  name: x   # c -> d\n  list: [a, 'b c', \"d\\te\"]\n",
    "tasks:\n  t01: {prev: t00, phase: first}\n  t02:\n    categories: [cats, 'dogs, big', \"1:30\"]\n",
    "a: &x {b: 1, c: [1.5, 2e-3]}\nd: *x\ne:\n- *x\n- f\n",
    "a: |\n  l1\n\nb: >-\n  f1\n\n   f3\nc: 'q1\n  q2'\nd: \"q1\n\n  q2 \\\n  q3\"\ne: plain\n  multi\n",
]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A file with some pieces inserted or removed."""
    text = draw(st.sampled_from(FILES))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.sampled_from([0, 0, 1, 2, 5])))
        text = text[:begin] + draw(st.sampled_from(["", *PIECES])) + text[end:]
    return text


@settings(max_examples=600, deadline=None)
@given(
    st.one_of(
        st.builds(str.format, st.sampled_from(["k: {}\n", "- {}\n", "[{}]", "{}: 1\n", "k: [{}, 1]\n"]), LETTERS),
        st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
        damaged(),
    )
)
@example("[a:]")
@example("k: {b:, c: 1}\n")
@example("k: {b:c d}\n")
@example("k: [1, a:b]\n")
@example("{a:b: c}\n")
@example('k: ["":30]\n')
@example("k: |-\n \n    x\n")
@example("a: # c\n  b\n\nc: 1\n")
@example("> # c\n#x\n")
@example("a\n...\n...\n")
@example("k: &x [&x 1]\nl: *x\n")
@example("%YAML 1.1\n---\nk: 010\n")
@example("a: &x {a |\n  t\n   u\n\nb: 1}\n")
def test_an_accepted_file_gives_the_tree_that_dvc_reads(text: str) -> None:
    read_alike(text)


@pytest.mark.parametrize("path", ["params.yaml", "tasks.yaml", "dvc.yaml", "joint/dvc.yaml", "joint/on.yaml"])
def test_the_files_of_the_project_are_read_as_by_dvc(path: str) -> None:
    assert read_alike((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_is_read_as_by_dvc(path: Path) -> None:
    assert read_alike(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-05", 1e-5), ("5e-4", 5e-4), ("1E3", 1000.0), ("+1.5", 1.5), (".5", 0.5), ("3.", 3.0), ("-0.0", -0.0)),
        *(("0", 0), ("-7", -7), ("+7", 7), ("0o10", 8), ("0x1F", 31), ("12345678901234567890", 12345678901234567890)),
        *((".inf", math.inf), ("-.INF", -math.inf), (".NaN", math.nan)),
        *(("true", True), ("False", False), ("null", None), ("~", None), ("", None), ('"010"', "010"), ("'no'", "no")),
    ],
)
def test_a_scalar_of_the_core_schema_is_read(text: str, value: Any) -> None:
    assert shape(parse_yaml(f"k: {text}\n", "params.yaml")) == shape({"k": value})
    assert read_alike(f"k: {text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "e10",
        "E4",
        "v1.2.3",
        "1.2.3",
        "3d",
        "4x100",
        "0b7a072f",
        "nope",
        "only",
        "a:b",
        "10-pin",
        "-a",
        "1e",
        "_1",
        "t01",
        "24h",
    ],
)
def test_an_ordinary_text_needs_no_quotes(text: str) -> None:
    assert parse_yaml(f"k: {text}\n", "params.yaml") == {"k": text}
    assert read_alike(f"k: {text}\n")


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        *(("010", "10"), ("08", "8"), ("-007", "-7"), ("+01", "+1"), ("00", "0"), ("01.5", "1.5"), ("007e3", "7e3")),
        *(("1:30", ""), ("-1:30:05", ""), ("1:30.5", ""), ("12:00", "")),
        *((word, "true") for word in ["y", "Y", "yes", "Yes", "YES", "yEs", "on", "On", "ON", "tRUE"]),
        *((word, "false") for word in ["n", "N", "no", "No", "NO", "off", "Off", "OFF", "fALSE"]),
        *(("2024-01-01", ""), ("2024-1-1 10:20:30", ""), ("2024-01-01T00:00:00Z", "")),
        *(("1_000", "1000"), ("1_0.5", "10.5"), ("0b11", ""), ("-0x1F", ""), ("0O17", ""), ("0x_1", "0x1")),
        *((".5e3", "0.5e3"), ("._", ""), ("-_", ""), ("=", ""), ("1e999", ".inf"), ("nULL", "null")),
    ],
)
@pytest.mark.parametrize("place", ["seed: 1\nk: {}\n", "seed: 1\nk: [{}]\n", "seed: 1\nk: {{x: {}}}\n"])
def test_a_value_that_two_yaml_versions_read_differently_is_refused(place: str, text: str, ways: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_yaml(place.format(text), "params.yaml")
    said = str(refusal.value)
    assert said.startswith("params.yaml, line 2: `k")
    assert f'"{text}"' in said
    assert f"write {ways}" in said
    for way in (f'"{text}"', ways or '"x"'):
        assert read_alike(place.format(way))


@pytest.mark.parametrize("key", ["1", "010", "1.5", "no", "ON", "null", "~", "true", "2024-01-01", "1:30", "="])
def test_a_key_that_is_not_a_text_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf'line 2: the key `k\.{re.escape(key)}` .* write "{re.escape(key)}"'):
        parse_yaml(f"k:\n  {key}: 1\n", "params.yaml")
    assert read_alike(f'k:\n  "{key}": 1\n')


DEEP = "\n".join(f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}]" for n in range(1, 40))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nk: 2\nseed: 3\n", "line 3: `seed` is there twice, first in line 1: remove one"),
        ("k:\n  a: 1\n  'a': 2\n", "line 3: `k.a` is there twice, first in line 2"),
        ("k: {a: 1, a: 1}\n", "line 1: `k.a` is there twice"),
        ("k: &x [1, *x]\n", "line 1: `k.1` = *x repeats no earlier value: write the value out"),
        ("k: &x\n  l: *x\n", "line 2: `k.l` = *x repeats"),
        ("k: *x\n", "line 1: `k` = *x repeats"),
        ("k: [1, a:b]\n", 'line 1: `k.1` has a colon within brackets or braces: write "a:b"'),
        ("k: &x 1\nl: &x 2\n", "line 2: `l` has the anchor &x, which is used already"),
        (f"x0: &x0 [1, 2]\n{DEEP}\n", "expands to too many values by its aliases"),
        ("x: &x {a: 1}\nk:\n  <<: *x\n", "line 3: `k` has the merge key `<<`: write the merged keys out"),
        ("k: " + "9" * 5000, "line 1: `k` = 9999999999999999999999999999999999999999... has 5000 characters"),
        ("k: 1." + "9" * 5000, "has 5002 characters"),
        ("k: !!python/object/apply:os.system [ls]\n", "line 1: `k` has the tag tag:yaml.org,2002:python/object"),
        ("k: !!str 010\n", "line 1: `k` has the tag"),
        ("k: !x 1\n", "line 1: `k` has the tag !x: remove the tag"),
        ("!!str k: 1\n", 'line 1: the key `k` is not a plain text: write "k"'),
        ("k:\n  ? [a]\n  : 1\n", "line 2: a key below `k` is not a one-line text"),
        ("k: " + "[" * 3000, "line 1: `k` is nested deeper than 32 levels"),
        ("".join(" " * n + "k:\n" for n in range(500)), "is nested deeper than 32 levels"),
        ("k: 1\n---\nk: 2\n", "line 2: a second document begins: keep one"),
        ("k: 1\n...\n", "line 2: `...` ends the document: remove the line"),
        ("%YAML 1.1\n---\nk: 1\n", "line 1: directives (`%`) are not allowed: remove the line"),
        ("\ufeffk: 1\n", "line 1: the file begins with a byte order mark"),
        ("k: 1\nl: \x1b[31m\n", "line 2: the character U+001B is not allowed"),
        ("k: a\u2028b\n", 'line 1: the character U+2028 is not allowed: remove it, or write "\\u2028"'),
        ('k: "\\ud800"\n', "line 1: `k` has half a character"),
        ('k: "\\UFFFFFFFF"\n', "is not valid YAML (after line 1"),
        ("k: [1, 2\n", "is not valid YAML (line 2: "),
        ("k: 1\n\tl: 2\n", "is not valid YAML (line 2: "),
        ("- a\nk: 1\n", "is not valid YAML (line 2: "),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_unneeded_yaml_features_are_refused_with_line_and_key(text: str, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_yaml(text, "params.yaml")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "piece", ["9", "0", "_", "1_", "[", "{a: ", "- ", "1:", "a", "'", "&a ", "*a ", "? ", "\\", "#", "-"]
)
def test_a_long_line_is_read_or_refused_quickly(piece: str) -> None:
    begun = time.perf_counter()
    said = refusal("k: " + piece * 20_000)
    assert time.perf_counter() - begun < 2
    assert len(said or "") < 400


def test_an_alias_gives_a_copy() -> None:
    tree = parse_yaml("a: &x {b: [1]}\nc: *x\n", "params.yaml")
    tree["a"]["b"].append(2)
    assert tree["c"] == {"b": [1]}


@pytest.mark.parametrize("content", [b"k: 1\r\nl: [a,\r\n b]\r\n", b"k: 1\rl: [a, b]\r", b"k: 1\nl: [a, b]"])
def test_line_ends_of_all_systems_are_read(content: bytes) -> None:
    assert parse_yaml(content, "params.yaml") == {"k": 1, "l": ["a", "b"]}


# --- files ---


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes("k: 1\nl: köche\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"params\.yaml, line 2: this is not UTF-8: save the file as UTF-8"):
        load_yaml(tmp_path / "params.yaml")


def test_a_name_too_long_for_the_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"can't be read \(File name too long\)"):
        load_yaml(tmp_path / ("x" * 300))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml does not exist"):
        load_yaml(tmp_path / "params.yaml")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_is_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "params.yaml")
    with pytest.raises(UserError, match=r"params\.yaml is not a file"):
        load_yaml(tmp_path / "params.yaml")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser can read every file, so the refusal is simulated."""

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "params.yaml").write_text("k: 1\n")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"params\.yaml can't be read \(Permission denied\)"):
        load_yaml(tmp_path / "params.yaml")


# --- writing ---

TEXTS = st.one_of(st.text(), LETTERS, st.sampled_from(WORDS.split()), st.lists(st.sampled_from(PIECES)).map("".join))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
@example({"k": ["no", "010", "1:30", "null", "on", "~", "", "=", "<<", "1_000", "2024-01-01", "1e5", "a\u2028b\x07"]})
@example({"no": {"010": 1}, "a: b": [{}, []]})
@example({"k": "a word, " * 1500})
@example({"k": "x" * 11_000 + "\n "})
@example({"x" * 200: 1})
def test_a_dumped_file_is_read_back_by_us_and_by_dvc(tree: dict[str, Any]) -> None:
    text = dump_yaml(tree)
    assert shape(parse_yaml(text, "params.yaml")) == shape(tree)
    assert read_alike(text)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
@example(text="no")
@example(text="010")
@example(text="1:30")
@example(text="2024-01-01")
@example(text="a\u2028b\x85\ufeff")
@example(text="a word, " * 1500)
@example(text="./my:clip")
def test_a_text_written_into_a_file_with_comments_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("edited") / "params.yaml"
    path.write_text("# first\nname: x  # of the backbone\nlr: 1e-05 # small\nflow: {name: x}\n", encoding="utf-8")
    tree = load_with_comments(path)
    tree["name"] = tree["flow"]["name"] = text
    dump_with_comments(tree, path)
    assert load_yaml(path) == {"name": text, "lr": 1e-5, "flow": {"name": text}}
    assert "lr: 1e-05 # small\n" in path.read_text(encoding="utf-8")


def test_a_file_with_comments_is_also_read_strictly(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 010\n", encoding="utf-8")
    with pytest.raises(UserError, match="leading zero"):
        load_with_comments(tmp_path / "params.yaml")


def test_dvc_accepts_some_files_that_we_refuse() -> None:
    """If DVC's reader were as strict as ours, ours would not be needed."""
    assert dvc_reads("seed: 010\n", "params.yaml") == {"seed": 10}
    with pytest.raises(DvcException):
        dvc_reads("seed: 1\nseed: 2\n", "params.yaml")

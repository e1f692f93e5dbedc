"""Editing YAML files in place with ruamel.yaml: comments and the writing of untouched values stay.

What is edited has been read by `load_yaml` first: ruamel.yaml alone takes more than our reader does.
"""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from structalign.store import whole
from structalign.strict_yaml import load_yaml, needs_quotes


class _Representer(RoundTripRepresenter):
    """Quotes a text that our reader would refuse without quotes, such as `no`."""

    def represent_str(self, text: str) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if needs_quotes(text) else None)


_Representer.add_representer(str, _Representer.represent_str)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 4096
    yaml.Representer = _Representer
    return yaml


def load_with_comments(path: Path) -> Any:
    """The tree of a YAML file, to be changed and given to `dump_with_comments`."""
    load_yaml(path)
    return _yaml().load(path.read_text(encoding="utf-8"))


def dump_with_comments(tree: Any, path: Path) -> None:
    """Write a tree of `load_with_comments` back, whole."""
    with whole(path) as temporary:
        _yaml().dump(tree, temporary)

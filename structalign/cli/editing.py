"""Edit YAML files in place with ruamel.yaml: comments and the layout of unchanged values stay.

Read a file with `load_yaml` before you edit it: ruamel.yaml accepts more than our reader does.
"""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from structalign.store import whole
from structalign.strict_yaml import load_yaml, needs_quotes


class _Representer(RoundTripRepresenter):
    """Put quotes around a text that our reader refuses without them, such as `no`, or `a:b` within brackets."""

    def represent_str(self, text: str) -> ScalarNode:
        quoted = needs_quotes(text) or ":" in text
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Representer.add_representer(str, _Representer.represent_str)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 4096
    yaml.Representer = _Representer
    return yaml


def load_with_comments(path: Path) -> Any:
    """The tree of a YAML file. Change it, then pass it to `dump_with_comments`."""
    load_yaml(path)
    return _yaml().load(path.read_text(encoding="utf-8"))


def dump_with_comments(tree: Any, path: Path) -> None:
    """Write a tree of `load_with_comments` back, completely or not at all."""
    with whole(path) as temporary:
        _yaml().dump(tree, temporary)

"""The docs are right about the first `dvc pull` in a clone of this repository. Its remote only has the data."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from codemap import ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
PROMISED = re.findall(r"^\| `dvc (pull[^`]*)` \| yes.*\| (\d) \|$", PAGE, re.M)


def test_the_page_says_how_each_form_of_dvc_pull_ends() -> None:
    assert PROMISED == [("pull data", "0"), ("pull --allow-missing", "0"), ("pull", "1")]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "code"), PROMISED)
def test_a_new_clone_gets_the_data(command: str, code: str, tmp_path: Path) -> None:
    if subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=False).returncode:
        pytest.skip("this is no clone")
    dvc = [sys.executable, "-m", "dvc", *shlex.split(command)]
    done = subprocess.run(dvc, cwd=tmp_path / "clone", capture_output=True, text=True, check=False)
    assert done.returncode == int(code), done.stderr
    assert (tmp_path / "clone/data/captions.csv").is_file()
    assert len(list((tmp_path / "clone/data/videos").rglob("*.mp4"))) == 1080

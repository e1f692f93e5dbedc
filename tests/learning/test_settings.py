"""Which losses act in a task, and how training reads them."""

from pathlib import Path

import pytest
from codemap import ROOT
from tiny import settings, turned

from stages.check import main as check
from structalign.data.tasks import read_tasks
from structalign.learning.settings import read_settings
from structalign.params.losses import Contrastive, Crp, Etf, Losses, Pseudo, acting, acting_sections, sections
from structalign.params.optim import Phase
from structalign.params.reading import read
from structalign.params.schema import validate
from structalign.store import json_text
from structalign.strict_yaml import dump_yaml, load_yaml

PARAMS = validate(load_yaml(ROOT / "params.yaml"))


def test_a_loss_that_waits_for_task_2_does_not_act_in_the_first() -> None:
    assert {"contrastive", "etf"} <= set(acting(PARAMS, 1)) <= set(sections()) - {"crp", "pseudo"}
    assert set(acting(PARAMS, 2)) == set(acting(PARAMS, 9)) == set(sections())


def test_what_is_written_for_a_task_is_read_back_typed() -> None:
    assert acting_sections(acting(PARAMS, 2)) == tuple(getattr(PARAMS, name) for name in sections())


def test_a_number_written_otherwise_is_the_same_text() -> None:
    """Otherwise `crp.weight: 1.0` in place of 1 would train again."""
    values = {name: getattr(PARAMS, name).model_dump() for name in sections()}
    texts = [
        json_text(acting(Losses.model_validate({**values, "crp": {**values["crp"], "weight": weight}}), 2))
        for weight in (1, 1.0)
    ]
    assert texts[0] == texts[1]


def test_the_check_writes_the_losses_of_every_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "tasks.yaml"):
        Path(name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    check()
    assert {file.stem for file in Path("work/losses").iterdir()} == set(read_tasks())
    first, later = (read_settings(task, read("optim.first", Phase)) for task in ("t01", "t02"))
    assert later[Crp] == PARAMS.crp
    assert first[Etf] == PARAMS.etf
    with pytest.raises(KeyError, match="Crp"):
        first[Crp]


def test_the_check_says_how_to_remove_columns_of_an_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "tasks.yaml"):
        Path(name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    tree = load_yaml(Path("tasks.yaml"))
    tree["tasks"]["t02"]["crp"] = "crp"
    check()
    assert capsys.readouterr().err == ""
    Path("tasks.yaml").write_text(dump_yaml(tree), encoding="utf-8")
    check()
    assert "`structalign migrate`" in capsys.readouterr().err


def test_a_weight_of_0_turns_a_loss_off() -> None:
    assert settings(2).acts(Pseudo)
    assert not turned(settings(2), Pseudo, weight=0).acts(Pseudo)
    assert not settings(1).acts(Pseudo)
    assert settings(1)[Contrastive].scale == 17.6

import pytest

from structalign.console import command
from structalign.errors import UserError


def test_ctrl_c_ends_with_a_sentence_that_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(SystemExit) as end:
        command(stage)
    assert end.value.code == 130
    assert "interrupted: the same command goes on from what was done" in capsys.readouterr().err


def test_a_users_error_is_one_sentence_and_exit_code_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage() -> None:
        raise UserError("the disk is full.")

    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(SystemExit) as end:
        command(stage)
    assert (end.value.code, capsys.readouterr().err) == (1, "error: the disk is full.\n")

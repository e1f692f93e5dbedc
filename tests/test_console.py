import pytest

from structalign.console import command
from structalign.errors import UserError


def test_a_users_error_is_one_sentence_and_exit_code_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage() -> None:
        raise UserError("the disk is full.")

    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(SystemExit) as end:
        command(stage)
    assert (end.value.code, capsys.readouterr().err) == (1, "error: the disk is full.\n")

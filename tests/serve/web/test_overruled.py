"""Every door (Python, the command line, HTTP) names its own way to overrule a refusal, and no other door's."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette")

from xraytransfer.cli.predict_run import _print_refusal
from xraytransfer.errors import OVERRULED_BY, REASONS, RadiographError
from xraytransfer.prediction import Refusal
from xraytransfer.serve.web.problems import as_problem

PYTHON = {
    "any_modality": "any_modality=True",
    "any_film": "any_film=True",
    "unintended_films": "unintended_films='note'",
}
OPTIONS = {"any_modality": "--any-modality", "any_film": "--any-film", "unintended_films": "--unintended-films note"}
QUERY = {"any_modality": "any_modality=true", "any_film": "any_film=true", "unintended_films": None}


@pytest.mark.parametrize("reason", list(OVERRULED_BY))
def test_a_refusal_that_can_be_overruled(reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    argument = OVERRULED_BY[reason]
    error = RadiographError(reason, "<bytes>: what was found")
    assert str(error) == f"<bytes>: what was found. To score it anyway: {PYTHON[argument]}"
    _print_refusal(Refusal.from_error("a.dcm", error))
    printed = capsys.readouterr().err
    buttons = ". The page of `xraytransfer serve` has buttons that turn and invert a film"
    cured_by_hand = reason in ("sideways", "upside-down", "inverted")
    cure = f"what was found{buttons if cured_by_hand else ''}. To score it anyway: {OPTIONS[argument]}\n"
    assert printed.endswith(cure)
    document = as_problem(error).to_dict()
    assert document["overruled_by"] == QUERY[argument]
    assert document["detail"].startswith("what was found")
    assert "any" not in document["detail"]
    assert "--" not in document["detail"]


@pytest.mark.parametrize("reason", sorted(REASONS.keys() - OVERRULED_BY))
def test_a_refusal_that_stands(reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = RadiographError(reason, "what was found")
    assert str(error) == "what was found"
    _print_refusal(Refusal.from_error("a.dcm", error))
    assert capsys.readouterr().err == f"refused ({reason}): a.dcm: what was found\n"
    assert as_problem(error).to_dict()["overruled_by"] is None

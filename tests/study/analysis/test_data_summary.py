from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from xraytransfer.study.analysis.cells import score_results
from xraytransfer.study.analysis.data_summary import headline, limits, settings_table
from xraytransfer.study.analysis.paper_differences import differences_table
from xraytransfer.study.analysis.results_folder import read_results


def test_cells_with_other_seeds_are_said(tmp_path: Path, write_study_run: Callable[..., Path]) -> None:
    for architecture in ("alpha1", "beta1"):
        write_study_run(tmp_path, architecture)
    said = "Not all cells have the same seeds"
    assert said not in " ".join(limits(score_results(read_results(tmp_path), replicates=20)))
    write_study_run(tmp_path, "alpha1", seed=1)
    assert said in " ".join(limits(score_results(read_results(tmp_path), replicates=20)))


def test_a_mapped_data_set_has_its_own_name(tmp_path: Path, write_study_run: Callable[..., Path]) -> None:
    """Not that of its layout. Older runs did not note it, and are compared with newer ones."""
    data = {"name": "csv", "folder": "elsewhere", "refused": {}}
    write_study_run(tmp_path, "alpha1", data={**data, "dataset": "hospital"})
    write_study_run(tmp_path, "beta1", data=data)
    scores = score_results(read_results(tmp_path), replicates=20)
    assert len(scores.results.runs) == 2
    assert headline(scores)[0].endswith(": hospital")
    assert "hospital" in differences_table(scores).markdown()


def test_precisions_that_machines_chose_are_said(tmp_path: Path, write_study_run: Callable[..., Path]) -> None:
    """With precision ``auto`` one processor trains in bfloat16 and another in float32: no setting tells them apart."""

    def write(precision: str | None, *arguments: str, **options: int | str) -> None:
        done = write_study_run(tmp_path, *arguments, **options) / "done.json"
        found = json.loads(done.read_text()) | ({"precision": precision} if precision else {})
        done.write_text(json.dumps(found))

    def said() -> tuple[str, str, str]:
        scores = score_results(read_results(tmp_path), replicates=20)
        (row,) = [row for row in settings_table(scores).rows if row["setting"] == "precision of training"]
        return " ".join(limits(scores)), str(row["value"]), differences_table(scores).markdown()

    write("bfloat16", "alpha1")
    write("bfloat16", "beta1", family="Beta")
    sentences, value, differences = said()
    assert "precision" not in sentences
    assert value == "bfloat16"
    assert "| Precision | float32 | bfloat16 |" in differences

    write("float32", "gamma1", family="Gamma")
    sentences, value, _ = said()
    assert "(bfloat16: Alpha, Beta; float32: Gamma)" in sentences
    assert "seed alone differ in precision" not in sentences
    assert value == "bfloat16, float32"

    write("float32", "alpha1", seed=1)
    assert (
        "seed alone differ in precision, too, because they were trained on different machines: alpha1, pre" in said()[0]
    )

    write(None, "gamma1", family="Gamma", seed=1)
    assert said()[1] == "bfloat16, float32, not recorded"

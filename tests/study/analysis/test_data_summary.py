from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xraytransfer.study.analysis.cells import score_results
from xraytransfer.study.analysis.data_summary import headline, limits
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

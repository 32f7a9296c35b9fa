from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from xraytransfer.study.analysis.cells import score_results
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.analysis.subgroups import subset_table
from xraytransfer.study.data.predictions import Predictions, read_predictions, write_predictions

Write = Callable[..., Path]


def change(folder: Path, edit: Callable[[Predictions], Predictions]) -> None:
    """Change the stored test predictions of a run."""
    path = folder / "predictions" / "test.npz"
    write_predictions(path, edit(read_predictions(path)))


def test_a_subset_without_an_observation_says_so(tmp_path: Path, write_study_run: Write) -> None:
    def no_edema_in_pa(stored: Predictions) -> Predictions:
        label = stored.label.copy()
        label[np.ix_(stored.view == "PA", stored.observations == "edema")] = 0
        return replace(stored, label=label)

    change(write_study_run(tmp_path), no_edema_in_pa)
    note = subset_table(score_results(read_results(tmp_path), replicates=20)).note
    assert "PA lacks edema" in note
    assert "AP lacks" not in note


def test_examinations_are_not_called_films(tmp_path: Path, write_study_run: Write) -> None:
    folder = write_study_run(tmp_path, preset={"name": "paper", "epochs": 2, "judged_by": "examination"})
    change(folder, lambda one: replace(one, examination=np.array([f"e{i // 2}" for i in range(len(one.image))])))
    table = subset_table(score_results(read_results(tmp_path), replicates=20))
    assert "One film an examination" not in table.note
    assert "all 120" in table.note
    assert "Films" not in table.note
    assert "All examinations" in table.markdown()

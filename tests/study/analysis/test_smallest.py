from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xraytransfer.study.analysis.cells import score_results
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.analysis.smallest import answer_smallest


def test_a_network_of_the_same_size_is_not_smaller(tmp_path: Path, write_study_run: Callable[..., Path]) -> None:
    write_study_run(tmp_path, "alpha1", initialisation="random", skill=1.01, films=2000)  # the best in validation
    write_study_run(tmp_path, "alpha1", initialisation="pretrained", skill=1.0, films=2000)
    first = answer_smallest(score_results(read_results(tmp_path), replicates=100), {}, margin=0.1).verdicts[0]
    assert first.startswith("No network smaller than alpha1, random, the best by validation AUROC, is shown")

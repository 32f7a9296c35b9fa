"""Costs of networks: what was measured is kept, and a damaged file is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.analysis import cost
from xraytransfer.study.analysis.cost import Cost, measure_costs, read_costs
from xraytransfer.study.analysis.results_folder import Results, read_results

HEADER = "architecture,truncation,resolution,latency_ms,map_rows,map_columns"


@pytest.fixture
def results(tmp_path: Path, write_study_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Results:
    """Return the results of two networks, whose costs are drawn."""
    for name in ("alpha1", "alpha2"):
        write_study_run(tmp_path, name)
    monkeypatch.setattr(cost.Architecture, "from_dict", lambda row: row)
    monkeypatch.setattr(
        cost, "measure_cost", lambda row, cut, _, side: Cost(row["name"], cut, side, 3.0, 2, 2, "Abacus")
    )
    return read_results(tmp_path)


def test_costs_at_other_resolutions_stay(results: Results):
    path = results.folder / "costs.csv"
    path.write_text(f"{HEADER}\nalpha1,0,128,9.0,4,4\nalpha1,0,64,2.0,2,2\n")  # of version 0.1, without processors
    costs = measure_costs(results)
    assert {key: row.latency_ms for key, row in costs.items()} == {("alpha1", 0): 2.0, ("alpha2", 0): 3.0}
    assert read_costs(results) == costs
    assert "alpha1,0,128,9.0,4,4," in path.read_text().splitlines()


def test_nothing_is_written_where_nothing_is_measured(results: Results):
    measure_costs(results)
    before = (results.folder / "costs.csv").stat().st_mtime_ns
    measure_costs(results)
    assert (results.folder / "costs.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize("rows", ["alpha1,0,64", "alpha1,0,64,fast,2,2", "alpha1,0,64,2.0,2,2\nalpha2,0,6"])
def test_a_damaged_file_is_named(results: Results, rows: str):
    (results.folder / "costs.csv").write_text(f"{HEADER}\n{rows}")
    with pytest.raises(StudyError, match=r"costs\.csv"):
        read_costs(results)

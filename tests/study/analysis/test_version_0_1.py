"""A results folder of version 0.1, written by that version on drawn phantoms; its weights are known by shape alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.report.report import write_report
from xraytransfer.study.runs.status import run_status

RESULTS = Path(__file__).parent / "results-0.1"
RUN = "toy_efficientnet-random-t0-s0"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    shutil.copytree(RESULTS, tmp_path / "results")
    return tmp_path / "results"


def change_config(results: Path, name: str, **changes: object) -> Path:
    """Copy the run under another name, with changed settings; None takes one away."""
    folder = results / "runs" / name
    shutil.copytree(results / "runs" / RUN, folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def test_status_and_report_read_it(results: Path) -> None:
    status = run_status(results / "runs" / RUN)
    assert (status.state, status.step, status.steps) == ("done", 2, 2)
    read = read_results(results)
    assert [run.name for run in read.runs] == [RUN]
    text = (write_report(results, replicates=20, measure=False).parent / "report.md").read_text(encoding="utf-8")
    assert "Judged on 36 films of 21 patients" in text
    assert "toy_efficientnet" in text


def test_the_export_finds_its_films_its_split_and_its_weights(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    import torch

    from xraytransfer.export.members import choose_members
    from xraytransfer.study.data.cache import build_cache
    from xraytransfer.study.data.run_data import load_data, read_table
    from xraytransfer.study.phantoms.dataset import write_phantoms
    from xraytransfer.study.training.checkpoints import save_checkpoint, write_index
    from xraytransfer.study.training.run_folder import load_run

    run = load_run(results / "runs" / RUN)
    config = run.config
    films = write_phantoms(tmp_path, patients=60, size=64, workers=1)
    config["data"] |= {"folder": str(films), "cache": str(tmp_path / "cache")}
    build_cache(tmp_path / "cache", read_table(config["data"]), (32, 32), "voi")
    data = load_data(config)  # checks the cache's key and the split against those that 0.1 wrote
    assert data.table.image[data.rows["test"]].tolist() == run.predictions("test").image.tolist()
    network = run.empty_network()
    shapes = json.loads((run.folder / "checkpoints" / "tensors.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == shapes
    kept = save_checkpoint(run.folder / "checkpoints", 2, run.checkpoints[0].validation_auroc, network)
    write_index(run.folder / "checkpoints", [kept])
    member = choose_members([run.folder]).networks[0]
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 255
    torch.testing.assert_close(member(x), network(x))


def test_what_cannot_be_read_is_refused_by_name(results: Path) -> None:
    change_config(results, "newer", schema=2, writer="xraytransfer 9")
    change_config(results, "alien", architecture=None, preset=None)
    reasons = dict(read_results(results).left_out)
    assert "newer/config.json: is of schema 2, 1 expected; xraytransfer 9 wrote it" in reasons["newer"]
    assert "alien/config.json: lacks architecture" in reasons["alien"]
    with pytest.raises(StudyError, match=r"alien/config\.json: preset or split is absent"):
        run_status(results / "runs" / "alien")

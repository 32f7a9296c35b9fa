"""Distillation: a run that learns from its labels and from what finished runs say of the same training films.

The teachers are the runs' mean of weights; what they say of each training film, unchanged by augmentation, is computed
once and kept in the run's folder, so that a resumed run learns from the same numbers.

References
----------
Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.study.run_data import RunData, load_data
from xraytransfer.study.run_folder import Run, load_run

__all__ = ["FILE", "describe_teachers", "teacher_probability"]

FILE = "teacher.npy"
"""Name, in the run's folder, of what the teachers say."""


def describe_teachers(
    folders: Sequence[Path], share: float, outputs: Sequence[str], split: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the ``teacher`` part of config.json.

    Parameters
    ----------
    folders : sequence of Path
        Folders of finished runs.
    share : float
        Weight of the teachers in the loss, above 0 and at most 1; the labels have the rest.
    outputs : sequence of str
        Observations that the new run trains.
    split : mapping
        The new run's division of patients.

    Raises
    ------
    StudyError
        A teacher that is not finished, lacks an observation, or knows other patients: what it learned from the new
        run's validation or test patients would be handed on.
    """
    if not 0 < share <= 1:
        raise StudyError(f"the teachers' share must be above 0 and at most 1, found {share:g}")
    teachers = [load_run(folder) for folder in folders]
    for teacher in teachers:
        if teacher.config["split"]["sha256"] != split["sha256"]:
            raise StudyError(
                f"{teacher.folder}: divided patients otherwise than the new run, so it may have learned from that "
                f"run's validation or test patients; a teacher needs the same data and split"
            )
        if missing := [name for name in outputs if name not in teacher.config["outputs"]]:
            raise StudyError(f"{teacher.folder}: a teacher that was not trained on {', '.join(missing)}")
    return {
        "share": share,
        "weights": {teacher.name: [kept.sha256 for kept in teacher.checkpoints] for teacher in teachers},
        "folders": [str(teacher.folder.resolve()) for teacher in teachers],
    }


def teacher_probability(
    folder: Path, config: Mapping[str, Any], data: RunData, stop: Callable[[], None]
) -> NDArray[np.float32]:
    """Return the teachers' mean probability of each training film.

    Parameters
    ----------
    folder : Path
        The run's; `FILE` in it is read, or written where it is absent.
    config : mapping
        The run's config.json, with its ``teacher``.
    data : RunData
        The run's films.
    stop : callable
        Raises where the process was asked to end.

    Returns
    -------
    ndarray
        float32, shape (training films, outputs), 0 to 1.

    Raises
    ------
    StudyError
        A teacher was trained anew since, knows other films, or its films are gone.
    """
    from xraytransfer.study.row_predictions import np_save  # not above: planning a grid needs no torch

    path, outputs = folder / FILE, list(config["outputs"])
    shape = (len(data.rows["train"]), len(outputs))
    if path.is_file():
        known: NDArray[np.float32] = np.load(path, allow_pickle=False)
        if known.shape != shape or not np.isfinite(known).all():
            raise StudyError(f"{path}: damaged; delete it, and it is computed again from the teachers")
        return known
    described = config["teacher"]
    total = np.zeros(shape, np.float64)
    for place in described["folders"]:
        teacher = load_run(place)
        if [kept.sha256 for kept in teacher.checkpoints] != described["weights"].get(teacher.name):
            raise StudyError(f"{teacher.folder}: the teacher's weights are not those that the run was planned with")
        total += _one(teacher, outputs, data, stop)
    mean = (total / len(described["folders"])).astype(np.float32)
    np_save(path, mean)
    return mean


def _one(teacher: Run, outputs: Sequence[str], data: RunData, stop: Callable[[], None]) -> NDArray[np.float32]:
    """Return one teacher's probabilities; it sees the films at its own resolution, through its own cache."""
    import torch

    from xraytransfer.study.row_predictions import predict_rows

    own = load_data(teacher.config)
    rows = own.rows["train"]
    if own.table.image[rows].tolist() != data.table.image[data.rows["train"]].tolist():
        raise StudyError(f"{teacher.folder}: the teacher's training films are not those of the run")
    said = predict_rows(teacher.load_soup(), own.pixels, rows, torch.device("cpu"), stop)
    return said[:, [teacher.config["outputs"].index(name) for name in outputs]]

"""Distillation: a run that learns from its labels and from what finished runs say of the same training films.

The teachers are the runs' means of weights. What each says of the training films, unchanged by augmentation, is
computed once and kept in the run's folder, so that a resumed run learns from the same numbers.

Differences from the paper: no temperature; each observation has a sigmoid of its own; several teachers count as the
mean of their probabilities.

References
----------
Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.files import write_with
from xraytransfer.study.data.run_data import RunData, load_data
from xraytransfer.study.training.run_folder import Run, load_run

if TYPE_CHECKING:
    import torch

__all__ = ["DEFAULT_SHARE", "TEACHER_FOLDER", "describe_teachers", "teacher_probability"]

DEFAULT_SHARE = 0.5
"""Of the loss."""
TEACHER_FOLDER = "teacher"
"""In the run's folder: what each teacher says, one file each."""

Floats = NDArray[np.float32]


def describe_teachers(
    folders: Sequence[Path], share: float, outputs: Sequence[str], split: Mapping[str, Any], label_policy: str
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
    label_policy : str
        The new run's.

    Raises
    ------
    StudyError
        A teacher that is not finished, has no weights any more, is given twice, lacks an observation, learned under
        another label policy, or knows other patients: what it learned from the new run's validation or test patients
        would be handed on.
    """
    if not 0 < share <= 1:
        raise StudyError(f"the teachers' share must be above 0 and at most 1, found {share:g}")
    places = [folder.resolve() for folder in folders]
    if twice := [str(place) for place in places if places.count(place) > 1]:
        raise StudyError(f"{twice[0]}: given twice as a teacher; it would count double")
    teachers = [load_run(place) for place in places]
    for teacher in teachers:
        teacher.kept_weights.require_soup(teacher.folder)
        if teacher.config["split"]["sha256"] != split["sha256"]:
            raise StudyError(
                f"{teacher.folder}: divided patients otherwise than the new run, so it may have learned from that "
                f"run's validation or test patients; a teacher needs the same data and split"
            )
        if missing := [name for name in outputs if name not in teacher.config["outputs"]]:
            raise StudyError(f"{teacher.folder}: a teacher that was not trained on {', '.join(missing)}")
        if teacher.config["label_policy"] != label_policy:
            raise StudyError(
                f"{teacher.folder}: learned under label policy {teacher.config['label_policy']}, the new run takes "
                f"{label_policy}: they mean different things by the same observation"
            )
    return {
        "share": share,
        "runs": [{"name": teacher.name, "checkpoints": _checksums(teacher)} for teacher in teachers],
        "folders": [str(place) for place in places],
    }


def teacher_probability(
    folder: Path,
    config: Mapping[str, Any],
    data: RunData,
    *,
    device: torch.device,
    stop: Callable[[], None],
    log: Callable[[str], None],
) -> Floats:
    """Return the teachers' mean probability of each training film.

    Parameters
    ----------
    folder : Path
        The run's; files in its `TEACHER_FOLDER` are read, and written where they are absent.
    config : mapping
        The run's config.json, with its ``teacher``.
    data : RunData
        The run's films.
    device : torch.device
        Where teachers answer.
    stop : callable
        Raises where the process was asked to end; what one teacher has said in full is kept.
    log : callable
        Takes a line for each teacher that is asked.

    Returns
    -------
    ndarray
        float32, shape (training films, outputs), 0 to 1.

    Raises
    ------
    StudyError
        A teacher was trained anew since, knows other films, or its films are gone; or a file of answers is damaged.
    """
    described = config["teacher"]
    shape = (len(data.rows["train"]), len(config["outputs"]))
    total = np.zeros(shape, np.float64)
    for number, (row, place) in enumerate(zip(described["runs"], described["folders"], strict=True)):
        path = folder / TEACHER_FOLDER / f"{number}.npz"
        if not path.is_file():
            log(f"asking the teacher {row['name']} about {shape[0]} training films")
            teacher = load_run(place)
            if _checksums(teacher) != row["checkpoints"]:
                raise StudyError(f"{teacher.folder}: the teacher's weights are not those that the run was planned with")
            _write(path, _answers(teacher, list(config["outputs"]), data, device, stop), row["checkpoints"])
        total += _read(path, shape, row["checkpoints"])
    return (total / len(described["runs"])).astype(np.float32)


def _checksums(run: Run) -> list[str]:
    return [kept.sha256 for kept in run.checkpoints]


def _answers(
    teacher: Run, outputs: Sequence[str], data: RunData, device: torch.device, stop: Callable[[], None]
) -> Floats:
    """Return one teacher's probabilities; it sees the films at its own resolution, through its own cache."""
    from xraytransfer.study.training.predict import predict_rows  # not above: planning a grid needs no torch

    try:
        own = load_data(teacher.config)
    except StudyError as error:
        raise StudyError(
            f"{teacher.folder}: the teacher's films cannot be opened: {error} (where they are looked for stands in its "
            f"config.json: data.folder, data.cache)"
        ) from error
    rows = own.rows["train"]
    if own.table.image[rows].tolist() != data.table.image[data.rows["train"]].tolist():
        raise StudyError(f"{teacher.folder}: the teacher's training films are not those of the run")
    said = predict_rows(teacher.load_soup().to(device), own.pixels, rows, device, stop)
    return said[:, [teacher.config["outputs"].index(name) for name in outputs]]


def _write(path: Path, probability: Floats, checkpoints: Sequence[str]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, probability=probability, checkpoints=np.array(checkpoints))

    path.parent.mkdir(exist_ok=True)
    write_with(path, write)


def _read(path: Path, shape: tuple[int, int], checkpoints: Sequence[str]) -> Floats:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            probability, known = file["probability"], file["checkpoints"].tolist()
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise StudyError(f"{path}: damaged ({error}); delete it, and the teacher is asked again") from error
    right = probability.shape == shape and probability.dtype == np.float32 and known == list(checkpoints)
    if not right or not ((probability >= 0) & (probability <= 1)).all():
        raise StudyError(
            f"{path}: does not hold what the run's teacher says; delete it, and the teacher is asked again"
        )
    answers: Floats = probability
    return answers

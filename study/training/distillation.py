"""Distillation: a run learns from its labels and from the probabilities that finished runs give its training films.

A teacher is the mean of the weights of a finished run. Its probabilities of the training films, without augmentation,
are computed once and kept in the run folder, so that a resumed run learns from the same numbers.

Cross-fitting: teachers that were trained on one half of the training patients each (``half``) teach the other half
alone, so that no teacher repeats labels that it has learned by heart.

Differences from the paper: there is no temperature; each observation has a sigmoid of its own; the probabilities of
several teachers are averaged.

References
----------
Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.files import write_with
from xraytransfer.study.data.predictions import DAMAGED_NPZ
from xraytransfer.study.data.run_data import RunData, load_data
from xraytransfer.study.data.split import patient_halves
from xraytransfer.study.training.run_folder import Run, load_run

if TYPE_CHECKING:
    import torch

__all__ = ["DEFAULT_SHARE", "TEACHER_FOLDER", "describe_teachers", "teacher_probability"]

DEFAULT_SHARE = 0.5
"""Weight of the teachers in the loss."""
TEACHER_FOLDER = "teacher"
"""Folder in the run folder with one file of probabilities for each teacher."""

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
        How the new run divides the patients.
    label_policy : str
        The label policy of the new run.

    Raises
    ------
    StudyError
        If a teacher is not finished, has no weights any more, is given twice, lacks an observation, or learned under
        another label policy; if only one half has a teacher; or if a teacher was trained on another split: it may have
        learned from the new run's validation or test patients, and would hand that knowledge on.
    """
    if not 0 < share <= 1:
        raise StudyError(f"the teachers' share must be above 0 and at most 1, found {share:g}")
    paths = [folder.resolve() for folder in folders]
    if twice := [str(path) for path in paths if paths.count(path) > 1]:
        raise StudyError(f"{twice[0]}: given twice as a teacher; it would count double")
    teachers = [load_run(path) for path in paths]
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
    if (halves := {teacher.config.get("half") for teacher in teachers}) not in ({None}, {"A", "B"}):
        found = ", ".join(f"{teacher.folder} ({teacher.config.get('half') or 'all'})" for teacher in teachers)
        raise StudyError(
            f"teachers of halves {', '.join(sorted(str(half or 'all') for half in halves))}: either every teacher "
            f"learned from all training patients, or each half, A and B, has its teachers; found {found}"
        )
    return {
        "share": share,
        "runs": [{"name": teacher.name, "checkpoints": _checksums(teacher), **_half(teacher)} for teacher in teachers],
        "folders": [str(path) for path in paths],
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
    """Return the mean probability, for each training film, of the teachers that may teach it.

    Parameters
    ----------
    folder : Path
        The run folder; files in its `TEACHER_FOLDER` are read, and written if they are absent.
    config : mapping
        config.json of the run, with its ``teacher``.
    data : RunData
        The films of the run.
    device : torch.device
        Where the teachers are run.
    stop : callable
        Raises `Interrupted` if the process was asked to end; the file of each teacher that is complete is kept.
    log : callable
        Is called with a line for each teacher that is run.

    Returns
    -------
    ndarray
        float32, shape (training films, outputs), 0 to 1.

    Raises
    ------
    StudyError
        If a teacher has been trained again since the run was planned, has other training films, or its films are
        gone; or if a file of its probabilities is damaged.
    """
    described = config["teacher"]
    shape = (len(data.rows["train"]), len(config["outputs"]))
    total, teachers = np.zeros(shape, np.float64), np.zeros((shape[0], 1))
    half = patient_halves(data.table.patient[data.rows["train"]], config["split"]["salt"])
    for number, (row, teacher_folder) in enumerate(zip(described["runs"], described["folders"], strict=True)):
        path = folder / TEACHER_FOLDER / f"{number}.npz"
        if not path.is_file():
            log(f"asking the teacher {row['name']} about {shape[0]} training films")
            teacher = load_run(teacher_folder)
            if _checksums(teacher) != row["checkpoints"]:
                raise StudyError(f"{teacher.folder}: the teacher's weights are not those that the run was planned with")
            probability = _predict(teacher, config, data, device, stop)
            _write(path, probability, row["checkpoints"])
        unseen = (half != row.get("half"))[:, None]  # all films, where the teacher learned from both halves
        total += unseen * _read(path, shape, row["checkpoints"])
        teachers += unseen
    return (total / teachers).astype(np.float32)


def _half(teacher: Run) -> dict[str, str]:
    return {"half": teacher.config["half"]} if "half" in teacher.config else {}


def _checksums(run: Run) -> list[str]:
    return [checkpoint.sha256 for checkpoint in run.checkpoints]


def _predict(
    teacher: Run, config: Mapping[str, Any], data: RunData, device: torch.device, stop: Callable[[], None]
) -> Floats:
    """Return the probabilities of one teacher, which reads the films at its own resolution, from its own cache."""
    from xraytransfer.study.training.predict import predict_rows  # here, because planning a grid needs no torch

    try:
        own = load_data({**teacher.config, "half": config.get("half")})
    except StudyError as error:
        raise StudyError(
            f"{teacher.folder}: the teacher's films cannot be opened: {error} (where they are looked for stands in its "
            f"config.json: data.folder, data.cache)"
        ) from error
    rows = own.rows["train"]
    if own.table.image[rows].tolist() != data.table.image[data.rows["train"]].tolist():
        raise StudyError(f"{teacher.folder}: the teacher's training films are not those of the run")
    probability = predict_rows(teacher.load_soup().to(device), own.pixels, rows, device, stop)
    return probability[:, [teacher.config["outputs"].index(name) for name in config["outputs"]]]


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
    except DAMAGED_NPZ as error:
        raise StudyError(f"{path}: damaged ({error}); delete it, and the teacher is asked again") from error
    right = probability.shape == shape and probability.dtype == np.float32 and known == list(checkpoints)
    if not right or not ((probability >= 0) & (probability <= 1)).all():
        raise StudyError(
            f"{path}: does not hold what the run's teacher says; delete it, and the teacher is asked again"
        )
    stored: Floats = probability
    return stored

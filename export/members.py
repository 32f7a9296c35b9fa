"""The members of an ensemble: which runs, which of their checkpoints, averaged or not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xraytransfer.errors import ExportError
from xraytransfer.export.compatible_runs import check_placement, check_same
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.training.checkpoints import Checkpoint
from xraytransfer.study.training.run_folder import Run, load_run

__all__ = ["FUSIONS", "Ensemble", "Member", "Part", "choose_members", "gather_members", "weights_sha256"]

FUSIONS = ("none", "soup")


@dataclass(frozen=True)
class Member:
    """One network of an ensemble.

    Attributes
    ----------
    network : nn.Module
        In evaluation mode, with six outputs in the order of the observations.
    description : dict
        A row of the model file's ``members``.
    """

    network: nn.Module
    description: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """What a run gives to an ensemble.

    Attributes
    ----------
    folder : Path
        The run folder.
    checkpoints, fuse : str
        As `choose_members`.
    """

    folder: Path
    checkpoints: str = "all"
    fuse: str = "none"


@dataclass(frozen=True)
class Ensemble:
    """Members that were trained on the same films, and how.

    Attributes
    ----------
    members : list of Member
        In the order of the runs given, best checkpoint first.
    config : dict
        config.json of the first run, with resolution and cache of the run of the highest resolution; data, split,
        outputs and intensity are the same for all.
    runs : list of Run
        Where the members come from, with their checkpoints chosen.
    """

    members: list[Member]
    config: dict[str, Any]
    runs: list[Run] = field(default_factory=list)

    @property
    def networks(self) -> list[nn.Module]:
        """Return the members' networks."""
        return [member.network for member in self.members]

    @property
    def resolution(self) -> tuple[int, int]:
        """Return rows and columns of the film in the file: the highest resolution of a member."""
        rows, columns = self.config["resolution"]
        return int(rows), int(columns)

    @property
    def resolutions(self) -> list[tuple[int, int]]:
        """Return rows and columns that each member takes."""
        rows_and_columns = [member.description["resolution"] for member in self.members]
        return [(int(rows), int(columns)) for rows, columns in rows_and_columns]


def choose_members(folders: Sequence[Path], checkpoints: str = "all", fuse: str = "none") -> Ensemble:
    """Load the members.

    Parameters
    ----------
    folders : sequence of Path
        Run folders, all trained on the same data, split and intensity recipe.
    checkpoints : str
        ``all`` kept ones, ``best``, or a number: so many of the best, of each run. Steps with commas
        (``560,840``; ``560,`` for one) name checkpoints of a single run.
    fuse : {'none', 'soup'}
        ``soup`` averages the weights of each run's chosen checkpoints to one member.

    Returns
    -------
    Ensemble

    Raises
    ------
    ExportError
        No runs, one that learned from cropped films, one given twice, a run without checkpoints, a thinned run without
        the weights that are asked for, runs that do not fit together, or one that lacks an observation.
    StudyError
        A folder that holds no finished run, or a damaged file. Weights are safetensors: nothing is unpickled.
    """
    if fuse not in FUSIONS:
        raise ExportError(f"unknown fusion {fuse!r}; known: {', '.join(FUSIONS)}")
    if not folders:
        raise ExportError("an ensemble needs at least one run")
    if "," in checkpoints and len(folders) > 1:
        raise ExportError(
            f"--checkpoints {checkpoints}: steps name checkpoints of one run, {len(folders)} were given; "
            f"with several runs say all, best or a number"
        )
    resolved = [folder.resolve() for folder in folders]
    if twice := [str(folder) for folder in folders if resolved.count(folder.resolve()) > 1]:
        raise ExportError(f"{twice[0]}: given twice; its members would count double")
    return gather_members([Part(folder, checkpoints, fuse) for folder in folders])


def gather_members(parts: Sequence[Part]) -> Ensemble:
    """Load members of which each run has its own choice of checkpoints and fusion.

    Parameters
    ----------
    parts : sequence of Part
        At least one; of different runs.

    Returns
    -------
    Ensemble

    Raises
    ------
    ExportError, StudyError
        As `choose_members`.
    """
    runs = [_chosen(load_run(part.folder), part.checkpoints, part.fuse) for part in parts]
    for run in runs:
        check_placement(run)
    for run in runs[1:]:
        check_same(runs[0], run)
    members = [member for run, part in zip(runs, parts, strict=True) for member in _members(run, part.fuse)]
    finest = max(runs, key=lambda run: run.config["resolution"]).config
    films = {key: finest[key] for key in ("resolution", "data")}
    config = {**runs[0].config, **films, "outputs": [row.identifier for row in OBSERVATIONS]}
    return Ensemble(members, config, runs)


def weights_sha256(network: nn.Module) -> str:
    """Return the SHA-256 over a network's weights: names, shapes and numbers, in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        array = value.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _chosen(run: Run, checkpoints: str, fuse: str) -> Run:
    """Return the run with the chosen checkpoints, best first."""
    if not run.checkpoints:
        raise ExportError(f"{run.folder}: the run keeps no checkpoints; train it again")
    _check_weights(run, checkpoints, fuse)
    if "," in checkpoints:
        steps = _steps(checkpoints, run)
        return replace(run, checkpoints=[kept for kept in run.checkpoints if kept.step in steps])
    count = {"all": len(run.checkpoints), "best": 1}.get(checkpoints)
    if count is None:
        if not _is_number(checkpoints) or int(checkpoints) < 1:
            raise ExportError(
                f"--checkpoints {checkpoints!r}: expected all, best, a number from 1, or steps as 560,840"
            )
        count = int(checkpoints)
    if count > len(run.checkpoints):
        raise ExportError(
            f"{run.folder}: {count} checkpoints wanted, {len(run.checkpoints)} are kept, of steps {_kept(run)} "
            f"(one step alone is written {count},)"
        )
    return replace(run, checkpoints=run.checkpoints[:count])


def _check_weights(run: Run, checkpoints: str, fuse: str) -> None:
    """Raise `ExportError` where a thinned run no longer has the weights that the options ask for."""
    keep = run.kept_weights.keep
    if keep == "predictions":
        raise ExportError(f"{run.folder}: thinned to predictions: no weights are left to export; train it again")
    if keep == "soup" and (fuse != "soup" or checkpoints != "all"):
        raise ExportError(
            f"{run.folder}: thinned to soup: its single checkpoints are gone; --fuse soup --checkpoints all exports "
            f"the mean of their weights"
        )


def _steps(checkpoints: str, run: Run) -> list[int]:
    """Return the steps named in ``560,840`` or ``560,``, or raise ExportError with those that the run keeps."""
    names = [name.strip() for name in checkpoints.removesuffix(",").split(",")]
    if not all(map(_is_number, names)):
        raise ExportError(f"--checkpoints {checkpoints!r}: expected steps as 560,840; kept are {_kept(run)}")
    steps = [int(name) for name in names]
    if len(set(steps)) < len(steps):
        raise ExportError(f"--checkpoints {checkpoints!r}: names a step twice")
    kept = [checkpoint.step for checkpoint in run.checkpoints]
    if absent := [str(step) for step in steps if step not in kept]:
        raise ExportError(f"{run.folder}: no checkpoint of step {', '.join(absent)}; kept are {_kept(run)}")
    return steps


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _kept(run: Run) -> str:
    return ", ".join(str(step) for step in sorted(checkpoint.step for checkpoint in run.checkpoints))


def _members(run: Run, fuse: str) -> list[Member]:
    if fuse == "soup" and (len(run.checkpoints) > 1 or run.kept_weights.keep == "soup"):
        network = _six(run.load_soup(), run)
        return [Member(network, _describe(run, network, run.checkpoints, "soup"))]
    networks = [(_six(run.load_network(checkpoint), run), checkpoint) for checkpoint in run.checkpoints]
    return [Member(network, _describe(run, network, [kept], "none")) for network, kept in networks]


def _six(network: nn.Module, run: Run) -> nn.Module:
    """Return the network with the head's rows of our six observations, in our order."""
    trained: list[str] = list(run.config["outputs"])
    identifiers = [row.identifier for row in OBSERVATIONS]
    missing = [name for name in identifiers if name not in trained]
    if missing:
        raise ExportError(f"{run.folder}: was not trained for {', '.join(missing)}; a model file needs all six")
    if trained == identifiers:
        return network
    rows = torch.tensor([trained.index(name) for name in identifiers])
    old = network.get_submodule("head")
    if not isinstance(old, nn.Linear):
        raise ExportError(f"{run.folder}: its head is no linear layer, rows cannot be chosen")
    head = nn.Linear(old.in_features, len(identifiers))
    with torch.no_grad():
        head.weight.copy_(old.weight[rows])
        head.bias.copy_(old.bias[rows])
    network.set_submodule("head", head.eval())
    return network


def _teachers(teacher: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the entries of a run's row that name its teachers."""
    return {} if teacher is None else {"teachers": teacher["runs"], "teacher_share": teacher["share"]}


def _describe(run: Run, network: nn.Module, kept: Sequence[Checkpoint], fusion: str) -> dict[str, Any]:
    row: Mapping[str, Any] = run.config["row"]
    return {
        "architecture": row["name"],
        "timm": row["timm"],
        "family": row["family"],
        "initialisation": run.config["initialisation"],
        "truncation": int(run.config["truncation"]),
        "seed": run.config.get("seed"),
        "resolution": list(run.config["resolution"]),
        "run": run.name,
        **({"half": run.config["half"]} if "half" in run.config else {}),
        **_teachers(run.config.get("teacher")),
        "checkpoint_steps": [checkpoint.step for checkpoint in kept],
        "checkpoint_sha256": [checkpoint.sha256 for checkpoint in kept],
        "fusion": fusion,
        "validation_auroc": kept[0].validation_auroc if fusion == "none" else None,
        "sha256": weights_sha256(network),
    }

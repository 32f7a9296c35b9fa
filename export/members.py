"""The members of an ensemble: which runs, which of their checkpoints, averaged or not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xraytransfer.errors import ExportError
from xraytransfer.export.checkpoint_choice import choose_checkpoints
from xraytransfer.export.compatible_runs import check_member, check_same
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
    runs: list[Run]

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
    runs = []
    for part in parts:
        run = load_run(part.folder)
        check_member(run)
        runs.append(choose_checkpoints(run, part.checkpoints, part.fuse))
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


def _describe(run: Run, network: nn.Module, kept: Sequence[Checkpoint], fusion: str) -> dict[str, Any]:
    row: Mapping[str, Any] = run.config["row"]
    teacher = run.config.get("teacher") or {}
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
        **({"teachers": teacher["runs"], "teacher_share": teacher["share"]} if teacher else {}),
        "checkpoint_steps": [checkpoint.step for checkpoint in kept],
        "checkpoint_sha256": [checkpoint.sha256 for checkpoint in kept],
        "fusion": fusion,
        "validation_auroc": kept[0].validation_auroc if fusion == "none" else None,
        "sha256": weights_sha256(network),
    }

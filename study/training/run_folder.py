"""The folder of a run: its files, and how they are read.

::

    config.json               every setting
    metrics.csv, log.txt      the history of the run
    checkpoints/              the best checkpoints, with index.json; after ``study thin`` thinned.json and, if kept,
                              soup.safetensors
    last/                     the resume state
    predictions/              validation.npz, test.npz; external/ for other films or other labels
    teacher/                  the teachers' probabilities of the training films, if there are teachers
    done.json                 written last; failed.json if the run failed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json, write_json
from xraytransfer.study.data.predictions import Predictions, read_predictions
from xraytransfer.study.networks.architectures import Architecture
from xraytransfer.study.training.kept_weights import KeptWeights, read_kept_weights
from xraytransfer.study.training.presets import Preset

if TYPE_CHECKING:
    from xraytransfer.study.networks.network import Network
    from xraytransfer.study.training.checkpoints import Checkpoint

__all__ = ["Run", "list_runs", "load_run", "write_config"]

LOCATIONS = (
    *(("data", name) for name in ("folder", "mapping", "cache")),
    *(("data", "corrected", name) for name in ("folder", "mapping")),
    ("weights", "path"),
    ("teacher", "folders"),
)
"""Settings that say where files are; a run that is not done takes them over from a new configuration."""
MAY_DIFFER = (
    *LOCATIONS,
    ("data", "dataset"),
    ("weights",),
    ("writer",),
    *(("row", name) for name in ("group", "imagenet_top1", "imagenet_resolution", "source", "note")),
)
"""Settings that may differ when a run is resumed: locations, names and remarks, which are not trained.

What the file of weights holds is compared by `_other_weights`.
"""


@dataclass(frozen=True)
class Run:
    """A run that is done.

    Attributes
    ----------
    folder : Path
        The run folder; its name is the name of the run.
    config : dict
        Content of config.json.
    checkpoints : list of Checkpoint
        Best first.
    done : dict
        Content of done.json.
    """

    folder: Path
    config: dict[str, Any]
    checkpoints: list[Checkpoint]
    done: dict[str, Any]

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def architecture(self) -> Architecture:
        """The architecture that was trained."""
        return Architecture.from_dict(self.config["row"])

    @property
    def kept_weights(self) -> KeptWeights:
        """The weights that the folder still holds: those of all checkpoints, unless the run was thinned."""
        return read_kept_weights(self.folder)

    def load_network(self, checkpoint: Checkpoint) -> Network:
        """Return the network with the weights of a checkpoint, in evaluation mode.

        Raises
        ------
        StudyError
            If the file is absent or damaged, or the run was thinned (`WeightsGoneError`).
        """
        from xraytransfer.study.training.checkpoints import load_checkpoint

        self.kept_weights.require_checkpoints(self.folder)
        network = self.empty_network()
        network.load_state_dict(load_checkpoint(self.folder / "checkpoints", checkpoint))
        return network.eval()

    def empty_network(self) -> Network:
        """Return the network with random weights, in evaluation mode."""
        from xraytransfer.study.networks.network import build_network

        return build_network(
            self.architecture,
            outputs=len(self.config["outputs"]),
            truncation=int(self.config["truncation"]),
            initialisation="random",
        ).eval()

    def load_soup(self) -> Network:
        """Return the network with the mean of the weights of all kept checkpoints, in evaluation mode.

        Raises
        ------
        StudyError
            If a file is absent or damaged, or the run was thinned and has no soup (`WeightsGoneError`).
        """
        from xraytransfer.study.training.checkpoints import load_checkpoint, soup

        weights = self.kept_weights
        if weights.keep == "all":
            state = soup([load_checkpoint(self.folder / "checkpoints", kept) for kept in self.checkpoints])
        else:
            state = weights.load_soup(self.folder, tuple(kept.step for kept in self.checkpoints))
        network = self.empty_network()
        network.load_state_dict(state)
        return network.eval()

    def predictions(self, split: str) -> Predictions:
        """Return the predictions for ``validation`` or ``test``."""
        return read_predictions(self.folder / "predictions" / f"{split}.npz")


def load_run(folder: str | Path) -> Run:
    """Return a run that is done.

    Raises
    ------
    StudyError
        If the folder holds no run, or one that is not done.
    """
    from xraytransfer.study.training.checkpoints import read_index

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise StudyError(f"{folder}: no run (no config.json); the folder of a run is RESULTS/runs/NAME")
    if not (folder / "done.json").is_file():
        raise StudyError(f"{folder}: the run is not done; `xraytransfer study train {folder}` continues it")
    config = read_json(folder / "config.json")
    return Run(folder, config, read_index(folder / "checkpoints"), read_json(folder / "done.json"))


def list_runs(results: Path) -> list[Path]:
    """Return the folders of all runs in a results folder, done or not, sorted by name."""
    return sorted(path.parent for path in (results / "runs").glob("*/config.json"))


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json, or check that the existing one differs in nothing but `MAY_DIFFER`.

    A run that is not done takes over the new locations.

    Raises
    ------
    StudyError
        If the run was started with other settings; the message lists them.
    """
    path = folder / "config.json"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, config)
        return
    stored = read_json(path)
    # settings that did not exist when the run was started count as off
    old = {**stored, "preset": {**Preset("").to_dict(), **stored.get("preset", {})}}
    if "data" in old:  # nor did older versions note which labels a run had
        old["data"] = {"labels_sha256": config.get("data", {}).get("labels_sha256"), **old["data"]}
    if changed := differences(old, config) + _other_weights(stored, config):
        raise StudyError(
            f"{folder}: was started with other settings: {'; '.join(changed)}; take them, or another results folder"
        )
    if not (folder / "done.json").is_file() and _move(stored, config):
        write_json(path, stored)


def _other_weights(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return whether two configurations have other pretrained weights, as `differences` does.

    Not compared where one of them does not know them: an older version's, and weights of timm's hub.
    """
    before, after = (config.get("weights", {}).get("sha256") for config in (old, new))
    known = before is not None and after is not None
    return [f"weights.sha256 was {before}, is {after}"] if known and before != after else []


def _move(config: dict[str, Any], new: Mapping[str, Any]) -> bool:
    """Take over the locations of a configuration that is the same otherwise; return whether any differs."""
    moved = False
    for *parts, name in LOCATIONS:
        here, there = config, new
        for part in parts:
            here, there = here.get(part, {}), there.get(part, {})
        if there.get(name) is not None and there[name] != here.get(name):
            here[name], moved = there[name], True
    return moved


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """Return where two configurations differ, as ``preset.epochs was 3, is 5``, apart from `MAY_DIFFER`."""
    changes: list[str] = []
    for key in dict.fromkeys((*old, *new)):
        setting = (*path, key)
        if setting in MAY_DIFFER:
            continue
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changes += differences(before, after, setting)
        elif before != after:
            changes.append(f"{'.'.join(setting)} was {before}, is {after}")
    return changes

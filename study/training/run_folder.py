"""A run's folder: what is in it, and how to read it.

::

    config.json               every setting
    metrics.csv, log.txt      what happened
    checkpoints/              the best, with index.json; thinned.json where they were deleted, soup.safetensors if kept
    last/                     resume state
    predictions/              validation.npz, test.npz; external/ on other films or by other labels
    teacher/                  what teachers say of the training films, where there are teachers
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

__all__ = ["Run", "list_runs", "load_run", "place_config"]

PLACES = (*(("data", name) for name in ("folder", "mapping", "cache")), ("weights", "path"), ("teacher", "folders"))
"""Where things are: what a resumed run is told of it counts from then on."""
MAY_DIFFER = (
    *PLACES,
    ("weights",),
    ("writer",),
    *(("row", name) for name in ("group", "imagenet_top1", "imagenet_resolution", "source", "note")),
)
"""What may differ on resume: where things are, and what is said of an architecture, not what is trained."""


@dataclass(frozen=True)
class Run:
    """A run that is done.

    Attributes
    ----------
    folder : Path
        Its folder; the folder's name is the run's.
    config : dict
        config.json.
    checkpoints : list of Checkpoint
        Best first.
    done : dict
        done.json.
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
        """The row that was trained."""
        return Architecture.from_dict(self.config["row"])

    @property
    def kept_weights(self) -> KeptWeights:
        """Which weights are there: those of the checkpoints, unless the run was thinned."""
        return read_kept_weights(self.folder)

    def load_network(self, checkpoint: Checkpoint) -> Network:
        """Return the network with a checkpoint's weights, in evaluation mode.

        Raises
        ------
        StudyError
            If the file is absent or damaged, or the run was thinned (`WeightsGoneError`).
        """
        from xraytransfer.study.training.checkpoints import load_tensors

        self.kept_weights.require_checkpoints(self.folder)
        network = self.empty_network()
        network.load_state_dict(load_tensors(self.folder / "checkpoints" / checkpoint.file, checkpoint.sha256))
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
        """Return the network whose weights are the mean of all kept checkpoints', in evaluation mode.

        Raises
        ------
        StudyError
            If a file is absent or damaged, or the run was thinned to less (`WeightsGoneError`).
        """
        from xraytransfer.study.training.checkpoints import load_tensors, soup

        kept = self.kept_weights
        if kept.keep == "all":
            weights = soup([load_tensors(self.folder / "checkpoints" / c.file, c.sha256) for c in self.checkpoints])
        else:
            weights = kept.load_soup(self.folder, tuple(checkpoint.step for checkpoint in self.checkpoints))
        network = self.empty_network()
        network.load_state_dict(weights)
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
        raise StudyError(f"{folder}: no run (no config.json)")
    if not (folder / "done.json").is_file():
        raise StudyError(f"{folder}: the run is not done; run it again, it goes on where it stopped")
    config = read_json(folder / "config.json")
    return Run(folder, config, read_index(folder / "checkpoints"), read_json(folder / "done.json"))


def list_runs(results: Path) -> list[Path]:
    """Return the folders of all runs below a results folder, done or not, by name."""
    return sorted(path.parent for path in (results / "runs").glob("*/config.json"))


def place_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json, or check that the one that is there says the same but for where things are.

    A run that is not done is told the new places.

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
    # settings that came later were not there: they count as off
    old = {**stored, "preset": {**Preset("").to_dict(), **stored.get("preset", {})}}
    if changed := differences(old, config):
        raise StudyError(
            f"{folder}: was started with other settings: {'; '.join(changed)}; take them, or another results folder"
        )
    if not (folder / "done.json").is_file() and _move(stored, config):
        write_json(path, stored)


def _move(config: dict[str, Any], new: Mapping[str, Any]) -> bool:
    """Take the places over from a configuration that says the same otherwise; return whether any differs."""
    moved = False
    for part, name in PLACES:
        place = new.get(part, {}).get(name)
        if place is not None and place != config[part].get(name):
            config[part][name], moved = place, True
    return moved


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """Return what two configurations disagree on, as ``preset.epochs was 3, is 5``; `MAY_DIFFER` left out."""
    found: list[str] = []
    for key in dict.fromkeys((*old, *new)):
        place = (*path, key)
        if place in MAY_DIFFER:
            continue
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, place)
        elif before != after:
            found.append(f"{'.'.join(place)} was {before}, is {after}")
    return found

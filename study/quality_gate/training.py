"""Training of a quality gate.

Conventions
-----------
A quality gate learns from films of training patients, changed and spoiled by `films.FilmMaker`, and from the films of
further sources whose use is ``train`` (`sources`).

Limitations: without further sources the side views are drawn, not real, and the pictures of other things are the few
that were given; ``left_out`` trains without one kind, to see whether the gate refuses what it has never seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json, write_json
from xraytransfer.folder_lock import FolderLock
from xraytransfer.study.data.run_data import RunData, describe_data, load_data
from xraytransfer.study.networks.architectures import find_architecture
from xraytransfer.study.quality_gate.evaluation import BATCH, Pictures, batches, evaluate
from xraytransfer.study.quality_gate.faults import FAULTS
from xraytransfer.study.quality_gate.films import DrawnFilm, FilmMaker, read_others
from xraytransfer.study.quality_gate.network import (
    QualityGateNetwork,
    empty_quality_gate,
    load_quality_gate,
    save_quality_gate,
)
from xraytransfer.study.quality_gate.settings import QualityGateSettings
from xraytransfer.study.quality_gate.sources import FRONTAL, LATERAL, Source, films_of, learned_sha256, read_sources
from xraytransfer.study.runs.grid import Grid
from xraytransfer.study.training.checkpoints import load_resume, pack, save_resume, unpack
from xraytransfer.study.training.interrupts import Interrupted, stoppable
from xraytransfer.usable_cores import cpu_limit

__all__ = ["quality_gate_config", "train_quality_gate"]

FEATURE_FILMS = 4000
"""Number of good films, changed as in training, that the distance is fitted on."""


def quality_gate_config(grid: Grid) -> dict[str, Any]:
    """Build the cache that a quality gate learns from; return data and split as in config.json of a run.

    Of the grid, only data, split, cache, resolution and intensity count.
    """
    side = grid.training().resolution
    table, source, split = describe_data(
        grid.data_source(), grid.division(), (side, side), grid.intensity, workers=cpu_limit()
    )
    return {
        "data": source,
        "split": split,
        "resolution": [side, side],
        "intensity": grid.intensity,
        "outputs": table.outputs("product"),
        "label_policy": "u_zeros",
    }


def train_quality_gate(
    folder: Path,
    config: dict[str, Any],
    others: Path,
    settings: QualityGateSettings,
    *,
    unseen: Path | None = None,
    films: Path | None = None,
    weights: Path | None,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Train a quality gate, or resume its training; return the content of ``judge.json``.

    Parameters
    ----------
    folder : Path
        Folder of the quality gate.
    config : dict
        Data and split, as in config.json of a run.
    others : Path
        Pictures of other things, see `films.read_others`.
    settings : QualityGateSettings
        How it is trained.
    unseen : Path or None
        More pictures of other things, for evaluation only.
    films : Path or None
        Films of further sources, see `sources.read_sources`.
    weights : Path or None
        ImageNet weights, as `network.build_network` takes them.
    log : callable
        Is called with each line for the user.

    Raises
    ------
    StudyError
        If data, pictures or settings do not fit, or the folder holds a quality gate with other settings.
    Interrupted
        On SIGINT or SIGTERM, after the resume state was saved.
    """
    with FolderLock(folder):
        data = load_data(config)
        pictures = read_others(others)
        unseen_pictures = read_others(unseen) if unseen is not None else {}
        if settings.left_out is not None and settings.left_out not in (*FAULTS, *pictures):
            raise StudyError(f"{settings.left_out!r} is none of {', '.join((*FAULTS, *pictures))}")
        sources = read_sources(films)
        _check_films(folder, learned_sha256(sources))
        if not (folder / "judge.json").is_file():
            frontal, lateral = (films_of(sources, "train", view) for view in (FRONTAL, LATERAL))
            known = (data.pixels, data.rows["train"], settings.side, pictures, frontal, lateral)
            gate = _train_network(folder, FilmMaker(*known, settings.left_out), settings, weights, log)
            document = _describe(
                gate, config, data, settings, pictures=pictures, unseen=unseen_pictures, sources=sources
            )
            save_quality_gate(folder, gate, document)
        stored = load_quality_gate(folder)[1]
        if stored["settings"] != asdict(settings):
            raise StudyError(f"{folder}: holds a quality gate of other settings; take another folder")
        return stored


def _check_films(folder: Path, learned: str) -> None:
    """Note which films of further sources are learned from; refuse to go on with others."""
    path = folder / "films.json"
    if not path.is_file():
        write_json(path, {"sha256": learned})
    elif read_json(path)["sha256"] != learned:
        raise StudyError(f"{folder}: has learned from other films of further sources; take another folder")


def _train_network(
    folder: Path,
    maker: FilmMaker,
    settings: QualityGateSettings,
    weights: Path | None,
    log: Callable[[str], None],
) -> QualityGateNetwork:
    """Return the trained network, with its distance fitted."""
    row = find_architecture(settings.architecture)
    torch.manual_seed(settings.seed)
    gate = empty_quality_gate(row, settings.truncation, settings.side, initialisation="pretrained", weights=weights)
    _learn(folder, gate, maker, settings, log)
    gate.eval()
    generator = np.random.default_rng([settings.seed, 1])
    good = np.stack([maker.draw(generator, "upright").film for _ in range(FEATURE_FILMS)])
    with torch.no_grad():
        gate.fit_distance(torch.cat([gate.features(x) for x in batches(good)]))
    return gate


def _learn(
    folder: Path,
    gate: QualityGateNetwork,
    maker: FilmMaker,
    settings: QualityGateSettings,
    log: Callable[[str], None],
) -> None:
    """Train the network, from its resume state if there is one."""
    gate.network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(gate.parameters(), lr=settings.learning_rate, weight_decay=0.05)
    step, loss_sum = 0, 0.0
    if resumed := load_resume(folder / "last"):
        tensors, progress = resumed
        if progress["settings"] != asdict(settings):
            raise StudyError(f"{folder}: was started with other settings; take another folder")
        unpack(tensors, gate, None, optimizer)
        step = progress["step"]
        log(f"resumed at step {step} of {settings.steps}")

    def save() -> None:
        progress = {"step": step, "evaluated": 0, "settings": asdict(settings)}
        save_resume(folder / "last", pack(gate, None, optimizer), progress)

    gate.train()
    with stoppable() as stop:
        while step < settings.steps:
            try:
                stop()
            except Interrupted:
                save()
                log(f"stopped at step {step} of {settings.steps}; run it again to go on")
                raise
            generator = np.random.default_rng([settings.seed, 2, step])
            drawn = [maker.draw(generator) for _ in range(BATCH)]
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
            loss = _loss(gate, drawn)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            step += 1
            loss_sum += float(loss.detach())
            if not math.isfinite(loss_sum):
                raise StudyError(f"the loss is not finite at step {step}; a lower learning rate may help")
            if step % 100 == 0 or step == settings.steps:
                log(f"step {step}/{settings.steps} loss {loss_sum / ((step - 1) % 100 + 1):.4f}")
                loss_sum = 0.0
                save()


def _loss(gate: QualityGateNetwork, drawn: Sequence[DrawnFilm]) -> torch.Tensor:
    """Return the cross-entropy of the kinds, plus that of mirrored films where it is asked."""
    x = torch.from_numpy(np.stack([one.film for one in drawn]))[:, None].float()
    target = torch.from_numpy(np.stack([one.target for one in drawn]))
    mirrored = torch.tensor([one.mirrored for one in drawn])
    kinds, side_of_heart = gate.logits(x.contiguous(memory_format=torch.channels_last))
    asked = ~mirrored.isnan()
    loss = functional.cross_entropy(kinds, target)
    if asked.any():
        loss = loss + functional.binary_cross_entropy_with_logits(side_of_heart[asked], mirrored[asked])
    return loss


def _describe(
    gate: QualityGateNetwork,
    config: dict[str, Any],
    data: RunData,
    settings: QualityGateSettings,
    *,
    pictures: Pictures,
    unseen: Pictures,
    sources: Sequence[Source],
) -> dict[str, Any]:
    """Set the limits and evaluate; return the content of ``judge.json`` but for the checksum."""
    rule, rows = evaluate(gate, data, settings, pictures=pictures, unseen=unseen, sources=sources)
    return {
        "row": find_architecture(settings.architecture).to_dict(),
        "truncation": settings.truncation,
        "side": settings.side,
        "settings": asdict(settings),
        "kinds": list(rule.kinds),
        "minimum_probability": rule.minimum_probability,
        "maximum_distance": rule.maximum_distance,
        "minimum_mirrored_probability": rule.minimum_mirrored_probability,
        "data": config["data"]["name"],
        "split": config["split"],
        "pictures": {kind: len(films) for kind, films in pictures.items()},
        "sources": [
            {
                "name": one.name,
                "use": one.use,
                "view": one.view,
                "patients": len(set(one.patients)),
                "films": len(one.films),
            }
            for one in sources
        ],
        "evaluation": rows,
    }

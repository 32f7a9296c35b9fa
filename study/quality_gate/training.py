"""Training of the judge, its limits, and what it refuses and misses.

Conventions
-----------
It learns from films of training patients, changed and spoiled by `acceptance_films`. Its limits are set on films of
validation patients: together they refuse about `REFUSED` of them. What is reported comes from films of test
patients, and from wrong films made of those. ``missed`` is the share of wrong films that would be scored.

Differences from what a user would wish: side views are drawn, not real, and things from elsewhere are the few
pictures that were given; ``left_out`` trains without one kind to see whether it is refused unseen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from xraytransfer.errors import StudyError
from xraytransfer.folder_lock import FolderLock
from xraytransfer.quality_gate import KINDS, QualityGateLimits
from xraytransfer.resize import resize
from xraytransfer.runtime import cpu_limit
from xraytransfer.study.data.run_data import RunData, describe_data, load_data
from xraytransfer.study.data.split import SALT
from xraytransfer.study.networks.architectures import find_architecture
from xraytransfer.study.quality_gate.faults import FAULTS
from xraytransfer.study.quality_gate.films import FilmMaker, read_others
from xraytransfer.study.quality_gate.network import Judge, empty_judge, load_judge, save_judge
from xraytransfer.study.runs.grid import Grid, data_source
from xraytransfer.study.training.checkpoints import load_resume, save_resume
from xraytransfer.study.training.interrupts import stoppable
from xraytransfer.study.training.resume_state import pack, unpack

__all__ = ["JudgeSettings", "judge_config", "train_judge"]

REFUSED = 0.01
"""Share of good validation films that the two limits may refuse, half of it each."""
EVALUATED = 400
"""Wrong films of each kind that are made to measure what is missed."""
FEATURE_FILMS = 4000
"""Good films, changed as in training, that the distance is fitted on."""
BATCH = 64

Pictures = dict[str, list[NDArray[np.uint8]]]


@dataclass(frozen=True)
class JudgeSettings:
    """How a judge is trained.

    Attributes
    ----------
    architecture, truncation : str, int
        Of its body; as in the study's grid.
    side : int
        Of the pictures it looks at, pixels.
    steps : int
        Of the optimiser, `BATCH` films each.
    learning_rate : float
        Peak; falls to zero as a cosine.
    seed : int
        Decides everything that is drawn.
    left_out : str or None
        A fault or kind of thing that it never sees while it learns.
    """

    architecture: str = "mobilenetv2_100"
    truncation: int = 3
    side: int = 64
    steps: int = 1200
    learning_rate: float = 1e-3
    seed: int = 0
    left_out: str | None = None


def judge_config(
    out: Path,
    *,
    data: str,
    folder: Path,
    mapping: Path | None = None,
    cache: Path | None = None,
    resolution: int = 128,
    intensity: str = "voi",
    salt: str = SALT,
    evaluation_minimum_width: int = 0,
) -> dict[str, Any]:
    """Build the cache that a judge learns from; return data and split as a run's config.json has them."""
    grid = Grid(results=out, data=data, folder=folder, architectures=(), mapping=mapping, cache=cache)
    division = {
        "method": grid.split,
        "fractions": list(grid.fractions),
        "salt": salt,
        "evaluation_minimum_width": evaluation_minimum_width,
    }
    table, source, split = describe_data(
        data_source(grid), division, (resolution, resolution), intensity, workers=cpu_limit()
    )
    return {
        "data": source,
        "split": split,
        "resolution": [resolution, resolution],
        "intensity": intensity,
        "outputs": table.outputs("product"),
        "label_policy": "u_zeros",
    }


def train_judge(
    folder: Path,
    config: dict[str, Any],
    others: Path,
    settings: JudgeSettings,
    *,
    unseen: Path | None = None,
    weights: Path | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train a judge, or go on with it; return what ``judge.json`` says.

    Parameters
    ----------
    folder : Path
        Where it is kept.
    config : dict
        Data and split, as in a run's config.json.
    others : Path
        Pictures of other things, see `acceptance_films.read_others`.
    settings : JudgeSettings
        How.
    unseen : Path or None
        More pictures of other things that are judged only.
    weights : Path or None
        ImageNet weights, as `network.build_network` takes them.
    say : callable
        Takes each line for the user.

    Raises
    ------
    StudyError
        Data, pictures or settings do not fit, or the folder holds a judge of other settings.
    Interrupted
        On SIGINT or SIGTERM, after the state was saved.
    """
    with FolderLock(folder):
        data = load_data(config)
        pictures = read_others(others)
        strangers = read_others(unseen) if unseen is not None else {}
        if settings.left_out is not None and settings.left_out not in (*FAULTS, *pictures):
            raise StudyError(f"{settings.left_out!r} is none of {', '.join((*FAULTS, *pictures))}")
        if (folder / "judge.json").is_file():
            document = load_judge(folder)[1]
            if document["settings"] != asdict(settings):
                raise StudyError(f"{folder}: holds a judge of other settings; take another folder")
            return document
        row = find_architecture(settings.architecture)
        torch.manual_seed(settings.seed)
        judge = empty_judge(row, settings.truncation, settings.side, initialisation="pretrained", weights=weights)
        maker = FilmMaker(data.pixels, data.rows["train"], settings.side, pictures, settings.left_out)
        _learn(folder, judge, maker, settings, say)
        judge.eval()
        generator = np.random.default_rng([settings.seed, 1])
        good = np.stack([maker.draw(generator, "upright")[0] for _ in range(FEATURE_FILMS)])
        with torch.no_grad():
            judge.fit_distance(torch.cat([judge.features(x) for x in _batches(good)]))
        rule = _limits(judge, data, pictures, settings)
        document = {
            "row": row.to_dict(),
            "truncation": settings.truncation,
            "side": settings.side,
            "settings": asdict(settings),
            "kinds": list(rule.kinds),
            "minimum_probability": rule.minimum_probability,
            "maximum_distance": rule.maximum_distance,
            "data": config["data"]["name"],
            "split": config["split"],
            "pictures": {kind: len(films) for kind, films in pictures.items()},
            "evaluation": _evaluate(judge, rule, data, (pictures, strangers), settings),
        }
        save_judge(folder, judge, document)
        return load_judge(folder)[1]


def _learn(folder: Path, judge: Judge, maker: FilmMaker, settings: JudgeSettings, say: Callable[[str], None]) -> None:
    network = judge.network
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=0.05)
    step, loss_sum = 0, 0.0
    if resumed := load_resume(folder / "last"):
        tensors, progress = resumed
        if progress["settings"] != asdict(settings):
            raise StudyError(f"{folder}: was started with other settings; take another folder")
        unpack(tensors, network, None, optimizer)
        step = progress["step"]
        say(f"resumed at step {step} of {settings.steps}")

    def save() -> None:
        progress = {"step": step, "evaluated": 0, "settings": asdict(settings)}
        save_resume(folder / "last", pack(network, None, optimizer), progress)

    network.train()
    with stoppable() as stop:
        while step < settings.steps:
            try:
                stop()
            except KeyboardInterrupt:
                save()
                say(f"stopped at step {step} of {settings.steps}; run it again to go on")
                raise
            generator = np.random.default_rng([settings.seed, 2, step])
            drawn = [maker.draw(generator) for _ in range(BATCH)]
            x = torch.from_numpy(np.stack([film for film, _ in drawn]))[:, None].float()
            target = torch.from_numpy(np.stack([target for _, target in drawn]))
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
            logits = network(x.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, target)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            step += 1
            loss_sum += float(loss.detach())
            if not math.isfinite(loss_sum):
                raise StudyError(f"the loss is not finite at step {step}; a lower learning rate may help")
            if step % 100 == 0 or step == settings.steps:
                say(f"step {step}/{settings.steps} loss {loss_sum / ((step - 1) % 100 + 1):.4f}")
                loss_sum = 0.0
                save()


def _batches(films: NDArray[np.uint8]) -> list[torch.Tensor]:
    return [torch.from_numpy(films[start : start + BATCH])[:, None].float() for start in range(0, len(films), BATCH)]


@torch.no_grad()
def _answers(judge: Judge, films: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return kinds [films, kinds] and distances [films]."""
    answers = [judge(x) for x in _batches(films)]
    return torch.cat([kinds for kinds, _ in answers]).numpy(), torch.cat([away for _, away in answers]).numpy()


def _whole(data: RunData, split: str, side: int) -> NDArray[np.uint8]:
    """Return a split's films as they are, at the judge's size."""
    return np.stack([resize(np.asarray(data.pixels[row]), (side, side)) for row in data.rows[split]])


def _limits(judge: Judge, data: RunData, pictures: Pictures, settings: JudgeSettings) -> QualityGateLimits:
    """Set the limits so that few good validation films are refused, as they are and as another room takes them."""
    maker = FilmMaker(data.pixels, data.rows["validation"], settings.side, pictures)
    generator = np.random.default_rng([settings.seed, 3])
    whole = _whole(data, "validation", settings.side)
    changed = np.stack([maker.draw(generator, "upright")[0] for _ in range(len(whole))])
    fit, away = zip(*(_answers(judge, films) for films in (whole, changed)), strict=True)
    probability = np.concatenate([kinds[:, 0] for kinds in fit])
    # never so low that another kind may be more probable by far, never so high that doubt is refused
    least = float(np.clip(np.quantile(probability, REFUSED / 2), 0.05, 0.5))
    most = float(np.quantile(np.concatenate(away), 1 - REFUSED / 2))
    return QualityGateLimits(tuple(KINDS), round(least, 4), round(most, 4))


def _evaluate(
    judge: Judge,
    rule: QualityGateLimits,
    data: RunData,
    pictures: tuple[Pictures, Pictures],
    settings: JudgeSettings,
) -> list[dict[str, Any]]:
    """Return rows: what was judged, how many films, how many accepted, how many named right.

    `pictures` are those learned from, and those never seen.
    """
    known, strangers = pictures
    side = settings.side
    maker = FilmMaker(data.pixels, data.rows["test"], side, known)
    generator = np.random.default_rng([settings.seed, 4])
    count = EVALUATED
    sets: list[tuple[str, str, NDArray[np.uint8]]] = [("test films as they are", "upright", _whole(data, "test", side))]
    sets += [
        (f"test films, {kind}" if kind != "upright" else "test films, changed", kind,
         np.stack([maker.draw(generator, kind)[0] for _ in range(count)]))
        for kind in KINDS if kind != "other"
    ]  # fmt: skip
    sets += [
        (name, "other", np.stack([resize(maker.faulty(name, generator), (side, side)) for _ in range(count)]))
        for name in maker.faults
    ]
    sets += [
        (f"never seen: {name}", "other", np.stack([resize(film, (side, side)) for film in films]))
        for name, films in strangers.items()
    ]
    rows = []
    for name, kind, films in sets:
        kinds, away = _answers(judge, films)
        judged = [rule.evaluate(k, float(d)) for k, d in zip(kinds, away, strict=True)]
        accepted = sum(one.accepted for one in judged)
        expected = KINDS[kind][0] or None
        named = sum(one.reason == expected for one in judged)
        row: dict[str, Any] = {"what": name, "kind": kind, "films": len(films), "accepted": accepted, "named": named}
        if settings.left_out == name:
            row["left_out"] = True
        rows.append(row)
    return rows

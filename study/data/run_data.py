"""The data of a run: table, split, labels and pixels, in rows of one cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.study.data.cache import FilmCache, Progress, build_cache, cache_folder, cached_films, open_cache
from xraytransfer.study.data.datasets import read_dataset
from xraytransfer.study.data.film_table import FilmTable
from xraytransfer.study.data.labels import apply_policy, parse_policy
from xraytransfer.study.data.missing_films import ALLOWED, count_absent, look_first, missing_films
from xraytransfer.study.data.other_labels import read_other_labels
from xraytransfer.study.data.placement import FilmPixels, placement_of
from xraytransfer.study.data.split import SPLITS, Split, patient_halves, split_films

__all__ = ["RunData", "build_checked_cache", "describe_data", "load_data", "read_table"]


@dataclass(eq=False)
class RunData:
    """The films of a run, as training and evaluation index them.

    Attributes
    ----------
    table : FilmTable
        All films that could be read, in the cache's order.
    pixels : FilmPixels
        uint8, shape (images, rows, columns).
    label : NDArray
        float32, shape (images, outputs): 1, 0 or NaN for masked.
    rows : dict
        Row numbers by split; of ``train``, those of the run's half of the patients if it trains on a half.
    """

    table: FilmTable
    pixels: FilmPixels
    label: NDArray[np.float32]
    rows: dict[str, NDArray[np.intp]]


def read_table(data: Mapping[str, Any]) -> FilmTable:
    """Read the table that the ``data`` part of a configuration names."""
    mapping = data.get("mapping")
    return read_dataset(
        data["name"], Path(data["folder"]), mapping=Path(mapping) if mapping else None, views=data["views"]
    )


def _split(table: FilmTable, cache: FilmCache, options: Mapping[str, Any]) -> Split:
    split = split_films(
        table,
        method=options["method"],
        fractions=options["fractions"],
        salt=options["salt"],
        evaluation_minimum_width=options["evaluation_minimum_width"],
    )
    # films are left out after the split, so that a film that cannot be read moves no other film
    split.of[~cache.done] = ""
    for name in SPLITS:
        rows = split.rows(name)
        split.record[name] = {"images": len(rows), "patients": len(np.unique(table.patient[rows]))}
        if not len(rows):
            raise StudyError(f"{table.name}: no film of {name} could be read; see {cache.folder / 'refused.csv'}")
    return split


def _correct(table: FilmTable, data: Mapping[str, Any], split: Split) -> dict[str, Any]:
    """Correct the labels of training and validation films, in place; return the record, empty without corrections.

    Test films keep the labels of the data set, so that runs with and without corrections have the same test.
    """
    if "corrected" not in data:
        return {}
    places = {name: data["corrected"][name] for name in ("folder", "mapping")}
    labels = read_other_labels(Path(places["folder"]), Path(places["mapping"]), {})
    counts = labels.correct(table, np.flatnonzero(np.isin(split.of, ("train", "validation"))))
    source = {key: value for key, value in labels.source.items() if key not in places}
    return {"corrected": {**places, **source, "sha256": labels.sha256(), **counts}}


def build_checked_cache(
    root: Path,
    table: FilmTable,
    resolution: tuple[int, int],
    intensity: str,
    placement: str = "stretch",
    *,
    workers: int = 1,
    progress: Progress | None = None,
    allow_missing: float = ALLOWED,
    warn: Callable[[str], None] = lambda line: None,
) -> FilmCache:
    """Build the cache, after a first look at the films and a count of those that are missing.

    Parameters
    ----------
    root, table, resolution, intensity, placement, workers, progress
        As `cache.build_cache`.
    allow_missing : float
        Share of films that may be missing or refused, of all and of each official split.
    warn : callable
        Is called with a line that counts what is missing, before the cache is built and, if other films were refused
        then, after it.

    Raises
    ------
    StudyError
        If no film can be read, or more films than allowed are missing.
    """
    available = cached_films(cache_folder(root, table, resolution, intensity, placement), len(table))
    before = missing_films(table, available)
    if before.missing:
        warn(before.line())
    if before.missing < len(table) or available.any():
        before.check(allow_missing)
    look_first(table, intensity, available)
    cache = build_cache(root, table, resolution, intensity, placement, workers=workers, progress=progress, warn=warn)
    after = count_absent(table, cache.done)
    if after.missing > before.missing:
        warn(f"{after.missing:,} of {after.films:,} films cannot be read; {cache.folder / 'refused.csv'} says why")
        after.check(allow_missing)
    return cache


def describe_data(
    data: Mapping[str, Any],
    split: Mapping[str, Any],
    resolution: tuple[int, int],
    intensity: str,
    placement: str = "stretch",
    *,
    workers: int = 1,
    progress: Progress | None = None,
    allow_missing: float = ALLOWED,
    warn: Callable[[str], None] = lambda line: None,
) -> tuple[FilmTable, dict[str, Any], dict[str, Any]]:
    """Build the cache; return the table and the ``data`` and ``split`` parts of config.json.

    Parameters
    ----------
    data : mapping
        ``name``, ``folder``, ``mapping``, ``views``, ``cache`` (the folder of caches); where other labels correct
        those of the data set, ``corrected`` with their ``folder`` and ``mapping``.
    split : mapping
        ``method``, ``fractions``, ``salt``, ``evaluation_minimum_width``.
    resolution, intensity, placement, workers, progress, allow_missing, warn
        As `build_checked_cache`.
    """
    table = read_table(data)
    cache = build_checked_cache(
        Path(data["cache"]), table, resolution, intensity, placement,
        workers=workers, progress=progress, allow_missing=allow_missing, warn=warn,
    )  # fmt: skip
    divided = _split(table, cache, split)
    reasons = dict(zip(*np.unique(list(cache.refused.values()), return_counts=True), strict=True))
    record = {
        **data,
        **({"dataset": table.name} if data["name"] == "csv" else {}),
        "cache_key": cache.key,
        "labels_sha256": table.labels_sha256(),
        "images": len(table),
        "refused": {str(reason): int(count) for reason, count in reasons.items()},
        "notes": table.notes,
        **_correct(table, data, divided),
    }
    return table, record, divided.record


def load_data(config: Mapping[str, Any]) -> RunData:
    """Open the data that a run's configuration names.

    Raises
    ------
    StudyError
        If films or labels changed since the run was planned, or the cache is absent or damaged.
    """
    table = read_table(config["data"])
    height, width = (int(side) for side in config["resolution"])
    folder = cache_folder(
        Path(config["data"]["cache"]), table, (height, width), config["intensity"], placement_of(config)
    )
    cache = open_cache(folder)
    split = _split(table, cache, config["split"])
    if cache.key != config["data"]["cache_key"] or split.record["sha256"] != config["split"]["sha256"]:
        raise StudyError(f"{config['data']['folder']}: the data set is not what it was when the run was planned")
    # a run that an older version planned does not say which labels it had
    if config["data"].get("labels_sha256") not in (None, table.labels_sha256()):
        raise StudyError(f"{config['data']['folder']}: the labels are not what they were when the run was planned")
    counts = {name: split.record[name] for name in SPLITS}
    if counts != {name: config["split"][name] for name in SPLITS}:
        raise StudyError(f"{cache.folder}: other films can be read than when the run was planned")
    corrected = _correct(table, config["data"], split)
    if corrected and corrected["corrected"]["sha256"] != config["data"]["corrected"]["sha256"]:
        raise StudyError(
            f"{config['data']['corrected']['folder']}: the corrected labels are not what they were when the run was "
            f"planned"
        )
    rows = {name: split.rows(name) for name in SPLITS}
    if half := config.get("half"):
        rows["train"] = rows["train"][patient_halves(table.patient[rows["train"]], config["split"]["salt"]) == half]
    outputs = config["outputs"]
    label = apply_policy(table.select(outputs), parse_policy(config["label_policy"], outputs))
    return RunData(table, cache.pixels, label, rows)

"""The choice of an ensemble among finished runs, by validation patients or by films that were set apart for it.

Conventions
-----------
A *candidate* is one network: the best checkpoint of a run, or the mean of the weights of all its kept checkpoints
(soup). Their stored probabilities for the validation films are compared, or, with `ExportOptions.chosen_by`, those of
an external test of the runs, whose labels may be better; nothing is scored again, and nothing of the test patients is
read. A set takes at most one candidate of each run, and its answer is the mean of the probabilities,
as in the model file. Greedy: a set begins with the best candidate, and grows by the one that raises its macro AUROC
the most, as long as one does and the budget allows it.

What chose a set does not judge it. The gain over the best single candidate is therefore estimated by crossing: each
half of the validation patients chooses a set and a single candidate, and the other half compares them. The best
checkpoint of each run was kept by all validation patients, so AUROCs of single candidates remain slightly optimistic.

References
----------
Caruana et al., Ensemble selection from libraries of models, ICML 2004 (without repeated members).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import ExportError
from xraytransfer.export.candidates import read_candidates
from xraytransfer.export.members import Part
from xraytransfer.export.options import ExportOptions
from xraytransfer.export.selection_report import (
    Candidate,
    Choice,
    Compared,
    Step,
    budget_text,
    choice_lines,
    describe_choice,
)
from xraytransfer.plural import counted
from xraytransfer.study.analysis.cost import processor_name
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.stats.auroc import macro_auroc
from xraytransfer.study.stats.bootstrap import (
    Interval,
    bootstrap_difference,
    bootstrap_macro,
    paired_interval,
    resample_patients,
)

__all__ = ["choose_set", "crossed_gain", "select_members"]

REPLICATES = 1000

Log = Callable[[str], None]


def select_members(
    folders: Sequence[Path], options: ExportOptions, log: Log = lambda _: None
) -> tuple[list[Part], dict[str, Any]]:
    """Choose the members of a file, and log the table of candidates.

    Parameters
    ----------
    folders : sequence of Path
        Run folders. Those that are not done or cannot be members are named and left out.
    options : ExportOptions
        With ``best``, ``max_mb`` and ``max_ms``; the precision decides about sizes.
    log : callable
        Takes each line for the user.

    Returns
    -------
    tuple of (list of Part, dict)
        For `xraytransfer.export.members.gather_members`, and the ``selection`` of the file's description.

    Raises
    ------
    ExportError
        No candidate, fewer runs than members wanted, no candidate within the budget, or runs of different data,
        splits, resolutions, recipes or labels.
    """
    films, candidates, left_out = read_candidates(folders, options)
    for name, reason in left_out:
        log(f"left out: {name}: {reason}")
    runs = len({candidate.run.folder for candidate in candidates})
    if options.best is None or options.best > runs:
        raise ExportError(
            f"--best {options.best}: {counted(runs, 'run')} can be members, and a file has one of each at most: say "
            f"--best {runs} or less"
        )
    affordable = _affordable(candidates, options)
    chosen = choose_set(affordable, films.label, options)
    weights = resample_patients(films.patient, REPLICATES, np.random.default_rng(0))
    choice = Choice(
        compared=_compare_candidates(affordable, films.label, weights),
        steps=_compare_steps(chosen, films.label, weights),
        crossed_gain=crossed_gain(affordable, films, options),
        films=len(films.image),
        patients=len(np.unique(films.patient)),
        too_costly=len(candidates) - len(affordable),
        processor=None if options.max_ms is None else processor_name(),
    )
    for line in choice_lines(choice, options):
        log(line)
    parts = [Part(one.run.folder, one.checkpoints, "soup" if one.kind == "soup" else "none") for one in chosen]
    return parts, describe_choice(choice, options)


def choose_set(candidates: Sequence[Candidate], label: NDArray[np.float32], options: ExportOptions) -> list[Candidate]:
    """Return the greedy set, in the order of choice.

    Parameters
    ----------
    candidates : sequence of Candidate
        At least one of them within the budget.
    label : ndarray
        float32, shape (films, 6); the films of the candidates' probabilities.
    options : ExportOptions
        With ``best``, ``max_mb`` and ``max_ms``.
    """
    chosen: list[Candidate] = []
    reached = -np.inf
    while len(chosen) < (options.best or 1):
        used = {candidate.run.folder for candidate in chosen}
        free = [one for one in candidates if one.run.folder not in used and _fits([*chosen, one], options)]
        values = [macro_auroc(label, _mean([*chosen, one])) for one in free]
        if not values or np.isnan(values).all() or np.nanmax(values) <= reached:
            break
        reached = np.nanmax(values)
        chosen.append(free[int(np.nanargmax(values))])
    return chosen


def crossed_gain(candidates: Sequence[Candidate], films: Predictions, options: ExportOptions) -> Interval | None:
    """Return what choosing a set gains over choosing one candidate, on patients that did not choose.

    Each half of the patients chooses both; the other half gives the paired difference of their macro AUROCs. The mean
    of the two differences is returned, with the interval of patients drawn within each half. None where a half lacks
    films with or without every observation.
    """
    patients = np.unique(films.patient)
    generator = np.random.default_rng(0)
    first = np.isin(films.patient, generator.permutation(patients)[: len(patients) // 2])
    values, replicates = [], []
    for chooses in (first, ~first):
        here = [replace(one, probability=one.probability[chooses]) for one in candidates]
        label, judged = films.label[chooses], films.label[~chooses]
        keys = [[one.key for one in choose_set(here, label, replace(options, best=k))] for k in (options.best, 1)]
        if not keys[1]:
            return None
        weights = resample_patients(films.patient[~chooses], REPLICATES, generator)
        (many, many_drawn), (one, one_drawn) = (
            bootstrap_macro(judged, _mean([c for c in candidates if c.key in set_])[~chooses], weights) for set_ in keys
        )
        values.append(many.value - one.value)
        replicates.append(many_drawn - one_drawn)
    if np.isnan(values).any():
        return None
    mean = np.mean(replicates, axis=0)
    return paired_interval(float(np.mean(values)), mean, np.zeros_like(mean))


def _affordable(candidates: Sequence[Candidate], options: ExportOptions) -> list[Candidate]:
    """Return the candidates that are within the budget by themselves, or raise `ExportError`."""
    found = [candidate for candidate in candidates if _fits([candidate], options)]
    if found:
        return found
    smallest = min(candidates, key=lambda one: one.megabytes)
    text = f"the smallest, {smallest.name}, takes about {smallest.megabytes:.1f} MB in {options.precision}"
    if options.max_ms is not None:
        fastest = min(candidates, key=lambda one: one.milliseconds or 0.0)
        text += f"; the fastest, {fastest.name}, takes {fastest.milliseconds:.1f} ms on {processor_name()}"
    raise ExportError(f"{budget_text(options)}: none of {counted(len(candidates), 'candidate')} fits: {text}")


def _fits(members: Sequence[Candidate], options: ExportOptions) -> bool:
    size_fits = options.max_mb is None or sum(one.megabytes for one in members) <= options.max_mb
    time_fits = options.max_ms is None or sum(one.milliseconds or 0.0 for one in members) <= options.max_ms
    return size_fits and time_fits


def _mean(members: Sequence[Candidate]) -> NDArray[np.float32]:
    probability = np.stack([one.probability for one in members])
    mean: NDArray[np.float32] = probability.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _compare_candidates(
    candidates: Sequence[Candidate], label: NDArray[np.float32], weights: NDArray[np.uint16]
) -> list[Compared]:
    """Return AUROC, and paired difference to the best, of each candidate; the best first."""
    macros = [bootstrap_macro(label, one.probability, weights) for one in candidates]
    order = sorted(range(len(candidates)), key=lambda index: -macros[index][0].value)
    top, top_drawn = macros[order[0]]
    return [
        Compared(candidates[i], macros[i][0], paired_interval(macros[i][0].value - top.value, macros[i][1], top_drawn))
        for i in order
    ]


def _compare_steps(chosen: Sequence[Candidate], label: NDArray[np.float32], weights: NDArray[np.uint16]) -> list[Step]:
    """Return for each member the AUROC of the set with it, and what it added, on the patients that chose."""
    sets = [_mean(chosen[: count + 1]) for count in range(len(chosen))]
    added = [None, *(bootstrap_difference(label, with_it, without, weights) for without, with_it in pairwise(sets))]
    return [
        Step(candidate, bootstrap_macro(label, with_it, weights)[0], gain)
        for candidate, with_it, gain in zip(chosen, sets, added, strict=True)
    ]

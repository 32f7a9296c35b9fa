"""What a choice of members found: its lines for the user, and its entry in the file's description."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.export.card.selection import gain_sentence
from xraytransfer.export.options import ExportOptions
from xraytransfer.plural import counted
from xraytransfer.study.stats.bootstrap import Interval
from xraytransfer.study.training.run_folder import Run

__all__ = ["Candidate", "Choice", "Compared", "Step", "budget_text", "choice_lines", "describe_choice"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One network that may become a member.

    Attributes
    ----------
    run : Run
        Where it comes from.
    kind : {'best checkpoint', 'soup'}
        What of the run.
    probability : ndarray
        float32, shape (films, 6): for the films that choose, in the order of `OBSERVATIONS`.
    megabytes : float
        About what it takes in the file, in 10^6 bytes.
    milliseconds : float or None
        Of the network for one film, on one thread of this processor, in float32; None where there is no limit.
    checkpoints : str
        Which of the run's, as `xraytransfer.export.members.Part` writes it.
    validation_auroc : float or None
        Macro AUROC on the validation films, where other films choose; None where they choose themselves.
    """

    run: Run
    kind: str
    probability: NDArray[np.float32]
    megabytes: float
    milliseconds: float | None = None
    checkpoints: str = "all"
    validation_auroc: float | None = None

    @property
    def name(self) -> str:
        """Run and kind, for people."""
        return f"{self.run.name}: {self.kind}"

    @property
    def key(self) -> tuple[Path, str]:
        """Run folder and kind, which no other candidate has."""
        return self.run.folder, self.kind


@dataclass(frozen=True, eq=False)
class Compared:
    """A candidate with its macro AUROC, and its paired difference to the best candidate."""

    candidate: Candidate
    auroc: Interval
    to_best: Interval


@dataclass(frozen=True, eq=False)
class Step:
    """A chosen candidate, the macro AUROC of the set with it, and what it added; None for the first."""

    candidate: Candidate
    auroc: Interval
    added: Interval | None


@dataclass(frozen=True, eq=False)
class Choice:
    """What a choice found.

    Attributes
    ----------
    compared : sequence of Compared
        The candidates within the budget, the best first.
    steps : sequence of Step
        The members, in the order of choice.
    crossed_gain : Interval or None
        Macro AUROC of a chosen set minus that of a chosen single candidate, on patients that chose neither; None where
        the patients are too few.
    films, patients : int
        Of those that choose.
    too_costly : int
        Candidates that are over the budget by themselves.
    processor : str or None
        Where milliseconds were measured; None where they were not.
    """

    compared: Sequence[Compared]
    steps: Sequence[Step]
    crossed_gain: Interval | None
    films: int
    patients: int
    too_costly: int
    processor: str | None


def budget_text(options: ExportOptions) -> str:
    """Return the limits as they were given, such as ``--max-mb 20``; empty without any."""
    limits = (("--max-mb", options.max_mb), ("--max-ms", options.max_ms))
    return " ".join(f"{name} {value:g}" for name, value in limits if value is not None)


def choice_lines(choice: Choice, options: ExportOptions) -> Iterator[str]:
    """Yield the table of candidates, the members, and where the choice is within noise."""
    yield (
        f"{counted(len(choice.compared), 'candidate')}, macro AUROC on {counted(choice.films, 'film')} of "
        f"{counted(choice.patients, 'patient')} ({_films(options)}) [95 %, by patient]"
    )
    if choice.too_costly:
        yield f"{counted(choice.too_costly, 'candidate')} left out: over {budget_text(options)} alone"
    if choice.processor:
        yield f"ms: the network for one film, one thread, float32, on {choice.processor}"
    yield from _candidate_table(choice)
    tied = sum(_is_noise(row.to_best) for row in choice.compared[1:])
    if len(choice.compared) > 1:
        yield f"within noise of the best (the interval of the difference holds 0): {tied} of {len(choice.compared) - 1}"
    yield from _member_table(choice, options)
    yield gain_sentence(_numbers(choice.crossed_gain, "crossed_gain"))


def describe_choice(choice: Choice, options: ExportOptions) -> dict[str, Any]:
    """Return the ``selection`` of a model file's description; numbers that are not defined are None."""
    return {
        "method": "greedy",
        "data": _films(options),
        "candidates": len(choice.compared) + choice.too_costly,
        "within_noise_of_best": sum(_is_noise(row.to_best) for row in choice.compared[1:]),
        "films": choice.films,
        "patients": choice.patients,
        "best": options.best,
        "max_mb": options.max_mb,
        "max_ms": options.max_ms,
        "processor": choice.processor,
        "members": [
            {
                "run": step.candidate.run.name,
                "kind": step.candidate.kind,
                "megabytes": step.candidate.megabytes,
                "milliseconds": step.candidate.milliseconds,
                **_numbers(step.auroc, "auroc" if options.chosen_by else "validation_auroc"),
                **_numbers(step.added, "added"),
            }
            for step in choice.steps
        ],
        **_numbers(choice.crossed_gain, "crossed_gain"),
    }


def _films(options: ExportOptions) -> str:
    """Return which films choose."""
    return f"external test {options.chosen_by}" if options.chosen_by else "validation patients"


def _candidate_table(choice: Choice) -> Iterator[str]:
    width = max(len(row.candidate.name) for row in choice.compared)
    costs = "    MB" + ("      ms" if choice.processor else "")
    if any(row.candidate.validation_auroc is not None for row in choice.compared):
        costs += "  validation"
    yield f"  {'candidate':{width}}  {'macro AUROC':23}  {'minus the best':26}  {costs}"
    for index, row in enumerate(choice.compared):
        difference = f"{_text(row.to_best, '+'):26}" if index else " " * 26
        noise = "  within noise" if index and _is_noise(row.to_best) else ""
        yield f"  {row.candidate.name:{width}}  {_text(row.auroc)}  {difference}  {_cost(row.candidate)}{noise}"


def _member_table(choice: Choice, options: ExportOptions) -> Iterator[str]:
    members = [step.candidate for step in choice.steps]
    cost = f"about {sum(one.megabytes for one in members):.1f} MB"
    if choice.processor:
        cost += f", {sum(one.milliseconds or 0.0 for one in members):.1f} ms"
    yield f"chosen, {counted(len(members), 'member')}, {cost} (on the patients that chose: too good)"
    width = max(len(one.name) for one in members)
    for step in choice.steps:
        added = "" if step.added is None else f"  added {_text(step.added, '+')}"
        noise = "  within noise" if step.added is not None and _is_noise(step.added) else ""
        yield f"  {step.candidate.name:{width}}  {_text(step.auroc)}{added}{noise}"
    if len(members) < (options.best or 0):
        limit = f" within {budget_text(options)}" if budget_text(options) else ""
        yield f"{counted(len(members), 'member')}, not {options.best}: no further candidate raises the AUROC{limit}"


def _numbers(interval: Interval | None, name: str) -> dict[str, float | None]:
    """Return a number and its bounds under their names, None where not defined."""
    if interval is None:
        return {name: None, f"{name}_lower": None, f"{name}_upper": None}
    numbers = {name: interval.value, f"{name}_lower": interval.lower, f"{name}_upper": interval.upper}
    return {key: None if np.isnan(value) else value for key, value in numbers.items()}


def _is_noise(difference: Interval) -> bool:
    """Return whether the interval of a difference holds 0, or is not defined."""
    return not (difference.lower > 0 or difference.upper < 0)


def _text(interval: Interval, sign: str = "") -> str:
    return f"{interval.value:{sign}.4f} [{interval.lower:{sign}.4f}, {interval.upper:{sign}.4f}]"


def _cost(candidate: Candidate) -> str:
    milliseconds = "" if candidate.milliseconds is None else f"{candidate.milliseconds:8.1f}"
    validation = "" if candidate.validation_auroc is None else f"{candidate.validation_auroc:12.4f}"
    return f"{candidate.megabytes:6.1f}{milliseconds}{validation}"

"""What `calibrate` gains on a site's own films: calibration and decisions before and after, on patients it did not see.

    python benchmarks/site_calibration.py MODEL MAPPING FOLDER [--use WORD]

MODEL is a model file or a shipped name. MAPPING and FOLDER are an external test set (docs/export.md), which stands for
the site; --use takes the films of one use alone. The patients are divided into two halves by chance. Each half fits a
copy with `calibrate`, as a hospital would, and the copy and MODEL judge the other half. Each film is so judged once by
a copy that saw nothing of its patient. The copies are thrown away.

Printed for each observation: the share of films with it and the mean probability, which agree in a calibrated model;
the expected calibration error (15 bins of equally many films); the Brier score with the difference and its 95 %
interval, paired, by patient; sensitivity and specificity of the decisions at the model's default operating point.
Without a threshold a decision counts as negative.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import xraytransfer
from xraytransfer.export.site_calibration import calibrate_site
from xraytransfer.prediction import Prediction
from xraytransfer.study.data.external_test_set import IDENTIFIERS, ExternalTestSet, read_external_test_set
from xraytransfer.study.stats.bootstrap import percentile_interval, resample_patients
from xraytransfer.study.stats.calibration_error import brier, expected_calibration_error

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of films: probabilities and decisions, (films, 6)."""

    probability: Floats
    decision: NDArray[np.bool_]


def main() -> None:
    """Fit on each half, judge on the other, and print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("mapping", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--use", help="films of this use alone, such as choose")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    films = read_external_test_set(arguments.mapping, arguments.folder)
    if arguments.use:
        films = films.subset(films.use == arguments.use)
    scored, before = score(arguments.model, films)
    films = films.subset(scored)
    half = halves(films.table.patient, arguments.seed)
    after = Answers(np.empty_like(before.probability), np.empty_like(before.decision))
    for judged in (0, 1):
        rows = np.flatnonzero(half == judged)
        copy = fitted_elsewhere(arguments.model, films.subset(half != judged), films.subset(rows))
        after.probability[rows], after.decision[rows] = copy.probability, copy.decision
        print(f"\nJudged on half {judged + 1}, {sizes(films.subset(rows))}; fitted on the other half:\n")
        print_table(films.subset(rows), part(before, rows), copy)
    print(f"\nBoth halves together, {sizes(films)}:\n")
    print_table(films, before, after)


def score(model: str | Path, films: ExternalTestSet) -> tuple[NDArray[np.intp], Answers]:
    """Return the rows of the films that a model accepts, and its answers for them."""
    results = list(xraytransfer.load(model).predict_many(films.table.path))
    rows = [row for row, result in enumerate(results) if isinstance(result, Prediction)]
    accepted = [result for result in results if isinstance(result, Prediction)]
    print(f"{model}: {len(accepted)} of {len(results)} films accepted")
    probability = np.array([result.probability for result in accepted], np.float64)
    return np.array(rows), Answers(probability, np.array([result.decision for result in accepted], bool))


def halves(patient: NDArray[np.str_], seed: int) -> NDArray[np.intp]:
    """Return 0 or 1 for each film: the half of its patient."""
    patients, index = np.unique(patient, return_inverse=True)
    half = np.random.default_rng(seed).permutation(len(patients)) % 2
    return half[index]


def fitted_elsewhere(model: str, fitting: ExternalTestSet, judging: ExternalTestSet) -> Answers:
    """Calibrate a copy on some films, and return its answers for others."""
    with tempfile.TemporaryDirectory() as folder:
        table, copy = Path(folder) / "site.csv", Path(folder) / "site.onnx"
        with table.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "patient", *IDENTIFIERS])
            for path, patient, label in zip(fitting.table.path, fitting.table.patient, fitting.label, strict=True):
                writer.writerow([path.resolve(), patient, *("" if np.isnan(value) else int(value) for value in label)])
        calibrate_site(model, table, copy, log=print)
        rows, answers = score(copy, judging)
    if len(rows) != len(judging.table):
        raise SystemExit("the copy accepts other films than the model")
    return answers


def part(answers: Answers, rows: NDArray[np.intp]) -> Answers:
    """Return the answers for some films."""
    return Answers(answers.probability[rows], answers.decision[rows])


def sizes(films: ExternalTestSet) -> str:
    """Return how many films and patients there are."""
    return f"{len(films.table)} films of {len(np.unique(films.table.patient))} patients"


def print_table(films: ExternalTestSet, before: Answers, after: Answers) -> None:
    """Print a Markdown table of both, one line for each observation, and their means."""
    print(
        "| observation | films with it | mean probability | calibration error | Brier score | difference | sensitivity "
        "| specificity |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    weights = resample_patients(films.table.patient, 1000, np.random.default_rng(0)).astype(float)
    errors = []
    for k, name in enumerate(IDENTIFIERS):
        label = films.label[:, k].astype(float)
        p, q = before.probability[:, k], after.probability[:, k]
        error = [expected_calibration_error(label, each) for each in (p, q)]
        errors.append(error)
        shares = [rates(label, answers.decision[:, k]) for answers in (before, after)]
        print(
            f"| {name} | {np.nanmean(label):.3f} ({int(np.nansum(label))}) | {p.mean():.3f}, {q.mean():.3f} "
            f"| {error[0]:.3f}, {error[1]:.3f} | {brier(label, p):.3f}, {brier(label, q):.3f} "
            f"| {difference(label, p, q, weights)} | {shares[0][0]:.2f}, {shares[1][0]:.2f} "
            f"| {shares[0][1]:.2f}, {shares[1][1]:.2f} |"
        )
    mean = np.mean(errors, axis=0)
    changed = (before.decision != after.decision).mean()
    print(f"\nMean calibration error {mean[0]:.3f}, {mean[1]:.3f}; {100 * changed:.0f} % of the decisions change.")


def rates(label: Floats, decision: NDArray[np.bool_]) -> tuple[float, float]:
    """Return sensitivity and specificity; NaN where a class is absent."""
    return tuple(
        float((decision[label == value] == bool(value)).mean()) if (label == value).any() else float("nan")
        for value in (1, 0)
    )


def difference(label: Floats, before: Floats, after: Floats, weights: Floats) -> str:
    """Return the Brier score after minus that before, with its interval."""
    known = ~np.isnan(label)
    change = (after[known] - label[known]) ** 2 - (before[known] - label[known]) ** 2
    weight = weights[:, known]
    found = percentile_interval(float(change.mean()), weight @ change / weight.sum(axis=1))
    return f"{found.value:+.3f} [{found.lower:+.3f}, {found.upper:+.3f}]"


if __name__ == "__main__":
    main()

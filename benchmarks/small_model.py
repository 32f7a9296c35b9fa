"""A small model against a large one: AUROC on the validation patients of a run, and time of one film.

    python benchmarks/small_model.py SMALL LARGE RUN [--rounds 7]

SMALL and LARGE are model files or shipped names, RUN is a run folder whose data and split both were trained with.
The difference of macro AUROC is paired, its interval drawn by patient; times are medians of alternating rounds on
one film, with the threads that the product uses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

import xraytransfer
from xraytransfer import model_file
from xraytransfer.export.checks.evaluation import auroc_difference
from xraytransfer.export.scoring import member_probability
from xraytransfer.files import read_json
from xraytransfer.runtime import open_session
from xraytransfer.study.data.predictions import predictions_of
from xraytransfer.study.data.run_data import load_data
from xraytransfer.study.stats.auroc import macro_auroc


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("small")
    parser.add_argument("large")
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    config = read_json(arguments.run / "config.json")
    data = load_data(config)
    rows = data.rows["validation"]
    found = {}
    for name in (arguments.small, arguments.large):
        session, _ = open_session(model_file.read(name)[1], "cpu")
        members = member_probability(session, data.pixels, rows)
        found[name] = predictions_of(
            data.table.subset(rows), config["outputs"], data.label[rows], members, [-1] * members.shape[1]
        )
        size = model_file.describe(name).path.stat().st_size / 1e6
        print(f"{name}: {size:.1f} MB, macro AUROC {macro_auroc(found[name].label, found[name].ensemble()):.4f}")
    small, large = (found[name].ensemble().astype(float) for name in (arguments.small, arguments.large))
    gap = auroc_difference(found[arguments.small], small, large, np.random.default_rng(0))
    print(
        f"difference {gap.value:+.4f} [{gap.lower:+.4f}, {gap.upper:+.4f}] on {len(rows)} validation films of "
        f"{len(np.unique(found[arguments.small].patient))} patients"
    )
    classifiers = {name: xraytransfer.load(name, device="cpu") for name in found}
    radiograph = next(iter(classifiers.values())).read(str(data.table.path[rows[0]]))
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(arguments.rounds):
        for name, classifier in classifiers.items():
            started = time.perf_counter()
            for _ in range(10):
                classifier.predict(radiograph, any_film=True)
            seconds[name].append((time.perf_counter() - started) / 10)
    medians = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name}: {value:.1f} ms a film")
    print(f"small takes {medians[arguments.small] / medians[arguments.large]:.2f} of large's time")


if __name__ == "__main__":
    main()

"""What each precision costs: AUROC on validation patients with its paired interval, export's verdict, size, speed.

    python benchmarks/int8_accuracy.py RUN [RUN ...] [--checkpoints all --fuse soup] [--precision float16-weights int8]

Needed are the finished runs with their weights, and the films that they were trained on: nothing else. Of several
members, int8 is tried for all and for all but each one. For a model of three soups, to see whether two of them can be
int8 (``export --precision int8 --int8-except ARCHITECTURE``), in one command:

    python benchmarks/int8_accuracy.py RESNET LITE0 LITE1 --checkpoints all --fuse soup --precision int8

The difference is bootstrapped by patient, 1,000 replicates, on the same films. Times are processor time on one thread,
medians over rounds in which every file has its turn; for one film and for one film of a batch of 16.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from xraytransfer.export.checks.evaluation import auroc_difference
from xraytransfer.export.checks.release_checks import MARGINS
from xraytransfer.export.graph.int8 import calibration_films
from xraytransfer.export.graph.precision import lower
from xraytransfer.export.graph.to_onnx import build_graph
from xraytransfer.export.members import Ensemble, choose_members
from xraytransfer.export.options import PRECISIONS
from xraytransfer.export.scoring import member_probability, predict_split
from xraytransfer.runtime import open_session
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.data.run_data import RunData, load_data

BATCHES = (1, 16)
ROUNDS = 15


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--checkpoints", default="best", help="as in export")
    parser.add_argument("--fuse", default="none", choices=["none", "soup"])
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS[1:]), choices=PRECISIONS[1:])
    args = parser.parse_args()
    ensemble = choose_members(args.runs, args.checkpoints, args.fuse)
    data = load_data(ensemble.config)
    full = build_graph(ensemble.networks, ensemble.resolution)
    graphs = {"float32": (full, "float32"), **dict(lowered(full, ensemble, data, args.precision))}
    sessions = {name: open_session(graph.SerializeToString(), "cpu", 1)[0] for name, (graph, _) in graphs.items()}
    taken = times(sessions, data.pixels[data.rows["validation"][: max(BATCHES)]])
    reference = predict_split(sessions["float32"], data, "validation", ensemble.config["outputs"])
    print(f"{len(reference.image)} validation films of {len(np.unique(reference.patient))} patients")
    print(" " * 44 + "MB" + "".join(f"{f'ms, {count}':>10}{'x faster':>10}" for count in BATCHES) + "   largest")
    for name, (graph, precision) in graphs.items():
        speed = "".join(
            f"{1000 * taken[name, count]:10.2f}{taken['float32', count] / taken[name, count]:10.2f}"
            for count in BATCHES
        )
        print(f"{name:<40}{graph.ByteSize() / 1e6:6.1f}{speed}", end="")
        if precision != "float32":
            found = predict_split(sessions[name], data, "validation", ensemble.config["outputs"])
            print(loss(found, reference, precision), end="")
        print(flush=True)


def lowered(
    full: onnx.ModelProto, ensemble: Ensemble, data: RunData, precisions: list[str]
) -> Iterator[tuple[str, tuple[onnx.ModelProto, str]]]:
    """Yield a name for people, the graph and its precision; int8 also with each architecture left out."""
    architectures = [member.description["architecture"] for member in ensemble.members]
    films = calibration_films(data)
    for precision in precisions:
        yield precision, (lower(full, precision, films), precision)
        left_out = dict.fromkeys(architectures) if precision == "int8" and len(set(architectures)) > 1 else {}
        for name in left_out:
            indices = [index for index, one in enumerate(architectures) if one == name]
            yield f"int8, except {name}", (lower(full, precision, films, float_members=indices), precision)


def times(sessions: dict[str, ort.InferenceSession], films: np.ndarray) -> dict[tuple[str, int], float]:
    """Return the processor time of one film in seconds, by name and size of the batch."""
    taken: dict[tuple[str, int], list[float]] = {}
    for turn in range(ROUNDS + 1):
        for count in BATCHES:
            for name, session in sessions.items():
                start = time.process_time()
                member_probability(session, films[:count])
                if turn:  # the first time is a warm-up
                    taken.setdefault((name, count), []).append((time.process_time() - start) / count)
    return {key: statistics.median(values) for key, values in taken.items()}


def loss(found: Predictions, reference: Predictions, precision: str) -> str:
    """Return the largest difference of a member's probability, that of the macro AUROC, and export's verdict."""
    ours, theirs = (each.probability.mean(1, dtype=float) for each in (found, reference))
    change = auroc_difference(reference, ours, theirs, np.random.default_rng(0))
    verdict = "passes" if change.lower >= -MARGINS[precision] else "fails"
    return (
        f"{np.abs(found.probability - reference.probability).max():10.3f}  macro AUROC {change.value:+.4f} "
        f"[{change.lower:+.4f}, {change.upper:+.4f}]: {verdict} export's check (-{MARGINS[precision]})"
    )


if __name__ == "__main__":
    main()

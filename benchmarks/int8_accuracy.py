"""What each precision costs: AUROC on validation patients with its paired interval, size and speed.

    python benchmarks/int8_accuracy.py RUN [RUN ...] [--fuse soup] [--precision float16-weights int8]

Films and labels are those of the runs. The difference is bootstrapped by patient, 1,000 replicates, on the same films.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import onnx

from xraytransfer.export.checks.evaluation import auroc_difference
from xraytransfer.export.graph.int8 import calibration_films
from xraytransfer.export.graph.precision import lower
from xraytransfer.export.graph.to_onnx import build_graph
from xraytransfer.export.members import choose_members
from xraytransfer.export.options import ExportOptions
from xraytransfer.export.scoring import member_probability
from xraytransfer.runtime import open_session
from xraytransfer.study.data.predictions import predictions_of
from xraytransfer.study.data.run_data import load_data


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--checkpoints", default="best")
    parser.add_argument("--fuse", default="none", choices=["none", "soup"])
    parser.add_argument("--precision", nargs="+", default=["float16-weights", "float16", "int8"])
    parser.add_argument("--int8-except", nargs="*", default=[], help="architectures left alone, as in export")
    args = parser.parse_args()
    ensemble = choose_members(args.runs, args.checkpoints, args.fuse)
    options = ExportOptions(precision="int8", int8_except=tuple(args.int8_except))
    spared = options.spared([member.description["architecture"] for member in ensemble.members])
    data = load_data(ensemble.config)
    full = build_graph(ensemble.networks, ensemble.resolution)
    films = calibration_films(data)
    rows = data.rows["validation"]

    def evaluate(model: onnx.ModelProto) -> tuple[np.ndarray, float, int]:
        session = open_session(model.SerializeToString(), "cpu")[0]
        one, times = data.pixels[rows[:1]], []
        member_probability(session, one)
        for _ in range(20):
            start = time.perf_counter()
            member_probability(session, one)
            times.append(time.perf_counter() - start)
        return member_probability(session, data.pixels, rows), statistics.median(times), model.ByteSize()

    reference, seconds, size = evaluate(full)
    members = [-1] * reference.shape[1]
    validation = predictions_of(
        data.table.subset(rows), ensemble.config["outputs"], data.label[rows], reference, members
    )
    print(f"{len(rows)} validation films of {len(np.unique(validation.patient))} patients")
    print(
        f"{'precision':<18}{'MB':>7}{'x size':>8}{'ms':>8}{'x faster':>10}{'largest':>9}  macro AUROC difference [95 %]"
    )
    print(f"{'float32':<18}{size / 1e6:7.1f}{1.0:8.2f}{1000 * seconds:8.1f}{1.0:10.2f}")
    for precision in args.precision:
        found, time_taken, bytes_taken = evaluate(lower(full, precision, films, spared=spared))
        difference = auroc_difference(
            validation, found.mean(1, dtype=float), reference.mean(1, dtype=float), np.random.default_rng(0)
        )
        print(
            f"{precision:<18}{bytes_taken / 1e6:7.1f}{bytes_taken / size:8.2f}{1000 * time_taken:8.1f}"
            f"{seconds / time_taken:10.2f}{np.abs(found - reference).max():9.3f}"
            f"  {difference.value:+.4f} [{difference.lower:+.4f}, {difference.upper:+.4f}]"
        )


if __name__ == "__main__":
    main()

"""Every architecture at every truncation: exported, checked against torch, timed.

    python benchmarks/export_all.py [--architecture NAME ...] [--truncation 0 ...] [--side 128]

Random weights. Prints one line each: seconds to export, megabytes, largest difference of a probability and of the
activation map (as a share of its range) on random films, and seconds to open a session.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import onnxruntime
import torch

from xraytransfer.export.parity import TOLERANCES, measure_parity, random_films
from xraytransfer.export.to_onnx import build_graph
from xraytransfer.study.architectures import ARCHITECTURES
from xraytransfer.study.network import build_network


def main() -> None:
    """Measure and print."""
    names = [row.name for row in ARCHITECTURES if row.group == "study"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", nargs="+", default=names, choices=[row.name for row in ARCHITECTURES])
    parser.add_argument("--truncation", type=int, nargs="+", default=[0])
    parser.add_argument("--side", type=int, default=128)
    args = parser.parse_args()
    rows = {row.name: row for row in ARCHITECTURES}
    size = (args.side, args.side)
    failed = []
    print(
        f"{'architecture':<24}{'cut':>4}{'export s':>10}{'MB':>7}{'probability':>13}{'map':>10}{'open s':>8}",
        flush=True,
    )
    for name in args.architecture:
        for truncation in args.truncation:
            torch.manual_seed(0)
            network = build_network(rows[name], truncation=truncation, initialisation="random").eval()
            start = time.perf_counter()
            data = build_graph([network], size).SerializeToString()
            exported = time.perf_counter() - start
            start = time.perf_counter()
            session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
            opened = time.perf_counter() - start
            films = random_films(size, np.random.default_rng(0))
            parity = measure_parity([network], session, [], films, size, tolerance=TOLERANCES["float32"])
            if not parity.passed:
                failed.append(f"{name} truncated by {truncation}")
            print(
                f"{name:<24}{truncation:>4}{exported:10.1f}{len(data) / 1e6:7.1f}{parity.probability:13.1e}"
                f"{parity.activation_map:10.1e}{opened:8.2f}",
                flush=True,
            )
    print("beyond the tolerance: " + (", ".join(failed) or "none"))


if __name__ == "__main__":
    main()

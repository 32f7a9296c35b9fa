"""Every architecture at every truncation: exported, checked against torch, timed.

    python benchmarks/export_all.py [--architecture NAME ...] [--truncation 0 ...] [--side 128] [--int8]

Random weights, with batch norms that fit the films and a head that spreads its logits: as initialised, a deep network
says the same of every film, and then any graph would agree with it. Prints one line each: seconds to export, megabytes,
largest difference of a probability and of the activation map (as a share of its range) on random films, how far the
probabilities of the films lie apart (smallest standard deviation of an observation), and seconds to open a session.

Such networks magnify rounding more than trained ones, so a probability may differ by `TOLERANCE`; a wrong weight or a
wrong order would show as a difference of the films' spread. Films are given resized: what the graph's own resize does
is checked with trained networks, when they are exported.

With `--int8` two columns more: how many times as fast as float32 the int8 graph scores one film (medians, in turn), and
how far its probabilities are from torch's on average. Untrained networks say nothing about what int8 costs in AUROC.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import onnx
import onnxruntime
import torch

from xraytransfer.export.checks.parity import measure_parity, random_films
from xraytransfer.export.graph.int8 import int8_graph
from xraytransfer.export.graph.to_onnx import build_graph
from xraytransfer.export.scoring import member_probability
from xraytransfer.resize import resize
from xraytransfer.runtime import open_session
from xraytransfer.study.networks.architectures import ARCHITECTURES
from xraytransfer.study.networks.network import build_network

TOLERANCE = 1e-3
"""Of a probability; of an activation map as a share of its range ten times as much."""
FILMS = 24
SPREAD = 0.05
"""Standard deviation of each observation's probabilities over the films below which parity would prove nothing."""


def wake(network: torch.nn.Module, pixels: torch.Tensor) -> float:
    """Give batch norms the statistics of these films and the logits a spread of 2; return the probabilities' spread."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over all batches seen
    head = network.get_submodule("head")
    with torch.no_grad():
        network.train()(pixels)
        logits = network.eval()(pixels)
        head.weight.mul_(2 / logits.std(dim=0).mean().clamp(min=1e-12))
        head.bias.zero_()
        head.bias.sub_(network(pixels).mean(dim=0))
        return float(torch.sigmoid(network(pixels)).std(dim=0).min())


def int8(model: onnx.ModelProto, films: list[np.ndarray], expected: np.ndarray) -> tuple[float, float]:
    """Return how many times as fast as float32 int8 scores a film, and its mean difference of a probability."""
    lowered = int8_graph(model, films)
    sessions = [open_session(each.SerializeToString(), "cpu")[0] for each in (model, lowered)]
    times: list[list[float]] = [[], []]
    for film in films:
        for session, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(["probability"], {"image": film[None, None]})
            taken.append(time.perf_counter() - start)
    found = member_probability(sessions[1], np.stack(films))[:, 0]
    slow, fast = (statistics.median(taken) for taken in times)
    return slow / fast, float(np.abs(found - expected).mean())


def main() -> None:
    """Measure and print."""
    names = [row.name for row in ARCHITECTURES if row.group == "study"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", nargs="+", default=names, choices=[row.name for row in ARCHITECTURES])
    parser.add_argument("--truncation", type=int, nargs="+", default=[0])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--int8", action="store_true", help="measure the int8 graph too")
    args = parser.parse_args()
    rows = {row.name: row for row in ARCHITECTURES}
    size = (args.side, args.side)
    failed = []
    print(
        f"{'architecture':<24}{'cut':>4}{'export s':>10}{'MB':>7}{'probability':>13}{'map':>10}{'spread':>8}"
        f"{'open s':>8}" + f"{'int8 x':>8}{'mean':>10}" * args.int8,
        flush=True,
    )
    for name in args.architecture:
        for truncation in args.truncation:
            torch.manual_seed(0)
            network = build_network(rows[name], truncation=truncation, initialisation="random")
            films = [resize(film, size) for film in random_films(size, np.random.default_rng(0), FILMS)]
            spread = wake(network, torch.from_numpy(np.stack(films)[:, None]).float())
            start = time.perf_counter()
            model = build_graph([network], size)
            data = model.SerializeToString()
            exported = time.perf_counter() - start
            start = time.perf_counter()
            session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
            opened = time.perf_counter() - start
            parity = measure_parity([network], session, [], films, size, tolerance=TOLERANCE)
            if not parity.passed or spread < SPREAD:
                failed.append(f"{name} truncated by {truncation}")
            more = ""
            if args.int8:
                with torch.no_grad():
                    expected = torch.sigmoid(network(torch.from_numpy(np.stack(films)[:, None]).float())).numpy()
                faster, difference = int8(model, films, expected)
                more = f"{faster:8.2f}{difference:10.1e}"
            print(
                f"{name:<24}{truncation:>4}{exported:10.1f}{len(data) / 1e6:7.1f}{parity.probability:13.1e}"
                f"{parity.activation_map:10.1e}{spread:8.2f}{opened:8.2f}{more}",
                flush=True,
            )
    print("beyond the tolerance, or without any spread: " + (", ".join(failed) or "none"))


if __name__ == "__main__":
    main()

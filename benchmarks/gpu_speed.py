"""Images a second on a GPU: CUDA and TensorRT in ONNX Runtime against torch eager and torch.compile, and parity.

    pip install '.[export,gpu]' tensorrt
    python benchmarks/gpu_speed.py
    python benchmarks/gpu_speed.py --device cpu --architecture toy_resnet --side 64 --members 2 --batch 1 2

Ensembles of ten have random weights of the true shapes (speed does not depend on the numbers), in float16 on the GPU.
Each way takes a uint8 batch from the memory of the machine and returns probabilities to it. The ways run in turn, in
several rounds, each in a process of its own; the table prints medians and ratios to torch eager. Parity compares each
provider with torch in float32 on made-up films: the largest difference of a member's probability must be within the
tolerance that export allows for the precision. TensorRT first builds an engine for each batch; that takes minutes and
is not timed.

If a way does not run, the table says why, and the exit code is 1. `--device cpu` runs the same code without a GPU, as a
trial of the script only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xraytransfer.errors import XrayTransferError
from xraytransfer.export.checks.parity import TOLERANCES, measure_parity, random_films
from xraytransfer.export.graph.precision import lower
from xraytransfer.export.graph.to_onnx import build_graph
from xraytransfer.runtime import gpu_problem, open_session
from xraytransfer.study.networks.architectures import find_architecture
from xraytransfer.study.networks.network import build_network

WAYS = {"cuda": ("torch", "compile", "cuda", "tensorrt"), "cpu": ("torch", "compile", "cpu")}
PRECISION = {"cuda": "float16", "cpu": "float32"}


class Ensemble(nn.Module):
    """The members' mean probability, as one module to compile."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return probabilities of grey levels."""
        return torch.stack([torch.sigmoid(network(pixels)) for network in self.networks]).mean(0)


def members(args: argparse.Namespace) -> list[nn.Module]:
    """Return networks with different random weights, the same in every process."""
    torch.manual_seed(0)
    row = find_architecture(args.architecture[0])
    return [build_network(row, initialisation="random").eval() for _ in range(args.members)]


def torch_scorer(args: argparse.Namespace, *, compiled: bool) -> Callable[[NDArray[np.uint8]], Any]:
    """Return a function that scores a batch with torch, channels last."""
    dtype = torch.float16 if args.device == "cuda" else torch.float32
    ensemble = Ensemble(members(args)).to(device=args.device, dtype=dtype, memory_format=torch.channels_last)
    forward = torch.compile(ensemble) if compiled else ensemble

    def score(image: NDArray[np.uint8]) -> Any:
        with torch.inference_mode():
            # moved as bytes, then widened: a quarter of the transfer
            pixels = torch.from_numpy(image).to(args.device).to(dtype).contiguous(memory_format=torch.channels_last)
            return forward(pixels).float().cpu().numpy()

    return score


def measure(way: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return images a second for each batch size; for a provider, its name and parity too."""
    row: dict[str, Any] = {}
    if way in ("torch", "compile"):
        score = torch_scorer(args, compiled=way == "compile")
    else:
        session, row["provider"] = open_session(args.graph, way)

        def score(image: NDArray[np.uint8]) -> Any:
            return session.run(["probability"], {"image": image})

        if args.parity:
            size, tolerance = (args.side, args.side), TOLERANCES[PRECISION[args.device]]
            networks = [network.to(args.device) for network in members(args)]
            made = random_films(size, np.random.default_rng(0))
            parity = measure_parity(networks, session, [], made, size, tolerance=tolerance)
            row["parity"] = f"{parity.probability:.1e}" + ("" if parity.passed else " BEYOND THE TOLERANCE")
            row["passed"] = parity.passed
    for batch in args.batch:
        image = np.random.default_rng(0).integers(0, 256, (batch, 1, args.side, args.side), dtype=np.uint8)
        for _ in range(3):  # compiling, choosing algorithms, building engines
            score(image)
        times = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            score(image)
            times.append(time.perf_counter() - start)
        row[str(batch)] = batch / statistics.median(times)
    return row


def measure_apart(way: str, name: str, graph: Path, args: argparse.Namespace, *, parity: bool) -> dict[str, Any]:
    """Measure a way in a process of its own; ``failed`` holds the reason if it does not run."""
    command = [sys.executable, __file__, "--measure", way, "--graph", str(graph), "--architecture", name]
    for key in ("side", "members", "repeats", "device"):
        command += [f"--{key}", str(getattr(args, key))]
    command += ["--batch", *map(str, args.batch), *(["--parity"] if parity else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode == 0:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]}


def table(name: str, args: argparse.Namespace) -> bool:
    """Run every way in turn and print one table; return whether all ran and agree with torch."""
    precision = PRECISION[args.device]
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "merged.onnx"
        whole = build_graph(members(argparse.Namespace(architecture=[name], members=args.members)), (args.side,) * 2)
        graph.write_bytes(lower(whole, precision, []).SerializeToString())
        ways = [way for way in args.way or WAYS[args.device] if way in WAYS[args.device]]
        results: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for index in range(args.rounds):
            for way in ways:
                if not any("failed" in row for row in results[way]):
                    results[way].append(measure_apart(way, name, graph, args, parity=index == 0))
    device = torch.cuda.get_device_name(0) if args.device == "cuda" else "CPU"
    print(f"\n{name}, {args.members} members, {args.side} px, {precision}, {device}, {args.rounds} rounds")
    head = "".join(f"{f'batch {b}, /s':>14}{'x torch':>9}" for b in args.batch)
    print(f"{'way':<10}{head}  parity")
    first = {}
    for way, rows in results.items():
        if "failed" in rows[-1]:
            print(f"{way:<10}does not run: {rows[-1]['failed']}", flush=True)
            continue
        medians = {str(b): statistics.median(row[str(b)] for row in rows) for b in args.batch}
        first = first or medians
        cells = "".join(f"{medians[str(b)]:14.1f}{medians[str(b)] / first[str(b)]:9.2f}" for b in args.batch)
        print(f"{way:<10}{cells}  {rows[0].get('parity', '')} {rows[0].get('provider', '')}", flush=True)
    return all("failed" not in row and row.get("passed", True) for rows in results.values() for row in rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", nargs="+", default=["tf_efficientnet_lite0", "resnet18", "densenet121"])
    parser.add_argument("--way", nargs="+", choices=sorted({way for ways in WAYS.values() for way in ways}))
    parser.add_argument("--device", choices=sorted(WAYS), default="cuda")
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--graph", help=argparse.SUPPRESS)
    parser.add_argument("--parity", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.device == "cuda":
        no_cuda = "" if torch.cuda.is_available() else "this build of torch has no CUDA that works here"
        problem = gpu_problem() or no_cuda
        if problem:
            sys.exit(f"no GPU to measure: {problem} (--device cpu tries the script without one)")
    if not args.measure:
        failed = sum(not table(name, args) for name in args.architecture)
        sys.exit(1 if failed else 0)
    try:
        print(json.dumps(measure(args.measure, args)))
    except XrayTransferError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""An ensemble of ten in one graph, against torch, ten sessions, a soup, int8 and OpenVINO.

    python benchmarks/ensemble_speed.py [--architecture NAME ...] [--side 320] [--members 10] [--batch 1 8]

Random weights of the true shapes: speed does not depend on the numbers. Every way runs in a process of its own, in
turn, several rounds; the table prints medians, ratios to torch eager with channels-last, and each process's largest
memory (read from Linux's /proc). Two threads by default; ten sessions run with thread spinning off, which is their
best setting.
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

WAYS = ("torch", "sessions", "merged", "soup", "int8", "openvino")


def export(name: str, side: int, members: int, folder: Path) -> None:
    """Write the graphs of all ways."""
    import numpy as np
    import torch

    from xraytransfer.export.precision import int8_graph
    from xraytransfer.export.to_onnx import build_graph
    from xraytransfer.study.architectures import find_architecture
    from xraytransfer.study.network import build_network

    torch.manual_seed(0)
    row = find_architecture(name)
    # different weights: OpenVINO computes equal members once
    networks = [build_network(row, initialisation="random").eval() for _ in range(members)]
    one = build_graph(networks[:1], (side, side))
    (folder / "soup.onnx").write_bytes(one.SerializeToString())
    (folder / "merged.onnx").write_bytes(build_graph(networks, (side, side)).SerializeToString())
    films = list(np.random.default_rng(0).integers(0, 256, (8, side, side), dtype=np.uint8))
    (folder / "int8.onnx").write_bytes(int8_graph(one, films).SerializeToString())


def session(path: Path, threads: int) -> Any:
    """Open a graph as the product does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def scorer(way: str, args: argparse.Namespace) -> Callable[[Any], Any]:
    """Return a function that scores a batch."""
    folder = Path(args.folder)
    if way == "torch":
        import torch

        from xraytransfer.study.architectures import find_architecture
        from xraytransfer.study.network import build_network

        torch.set_num_threads(args.threads)
        row = find_architecture(args.architecture[0])
        networks = [
            build_network(row, initialisation="random").eval().to(memory_format=torch.channels_last)
            for _ in range(args.members)
        ]

        def score(image: Any) -> Any:
            with torch.inference_mode():
                x = torch.from_numpy(image).float().contiguous(memory_format=torch.channels_last)
                return torch.stack([torch.sigmoid(network(x)) for network in networks]).mean(0)

        return score
    if way == "openvino":
        import openvino

        hints = {"INFERENCE_NUM_THREADS": args.threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(str(folder / "merged.onnx"), "CPU", hints)
        return lambda image: compiled({"image": image})
    if way == "sessions":
        opened = [session(folder / "soup.onnx", args.threads) for _ in range(args.members)]
        return lambda image: [one.run(["probability"], {"image": image}) for one in opened]
    opened_one = session(folder / f"{way}.onnx", args.threads)
    return lambda image: opened_one.run(["probability"], {"image": image})


def largest_memory() -> float:
    """Return this process's largest resident memory in MB; `ru_maxrss` would count its parent's too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def measure(way: str, args: argparse.Namespace) -> None:
    """Print one JSON line: seconds for each batch size, and memory."""
    import numpy as np

    score = scorer(way, args)
    row: dict[str, float] = {}
    for batch in args.batch:
        image = np.random.default_rng(0).integers(0, 256, (batch, 1, args.side, args.side), dtype=np.uint8)
        score(image)
        times = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            score(image)
            times.append(time.perf_counter() - start)
        row[str(batch)] = statistics.median(times)
    row["megabytes"] = largest_memory()
    print(json.dumps(row))


def table(name: str, args: argparse.Namespace) -> None:
    """Run every way in turn and print one table."""
    with tempfile.TemporaryDirectory() as folder:
        export(name, args.side, args.members, Path(folder))
        found: dict[str, list[dict[str, float]]] = {way: [] for way in args.way}
        for _ in range(args.rounds):
            for way in args.way:
                command = [sys.executable, __file__, "--measure", way, "--folder", folder, "--architecture", name]
                for key in ("side", "members", "threads", "repeats"):
                    command += [f"--{key}", str(getattr(args, key))]
                command += ["--batch", *map(str, args.batch)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found[way].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        way: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for way, rows in found.items()
    }
    print(f"\n{name}, {args.side} px, {args.members} members, {args.threads} threads, {args.rounds} rounds")
    print(f"{'way':<10}" + "".join(f"{f'batch {b}, ms':>14}{'x torch':>9}" for b in args.batch) + f"{'MB':>8}")
    for way, row in medians.items():
        first = medians.get("torch", row)
        cells = "".join(f"{1000 * row[str(b)]:14.1f}{first[str(b)] / row[str(b)]:9.2f}" for b in args.batch)
        print(f"{way:<10}{cells}{row['megabytes']:8.0f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--architecture", nargs="+", default=["tf_efficientnet_lite0", "mobilenetv3_large_100", "resnet18"]
    )
    parser.add_argument("--way", nargs="+", choices=WAYS, default=list(WAYS), help="soup and int8 are of one member")
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, args)
        return
    for name in args.architecture:
        table(name, args)


if __name__ == "__main__":
    main()

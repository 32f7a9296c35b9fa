"""An ensemble of ten in one graph, against torch, ten sessions, a soup, int8 and OpenVINO.

    python benchmarks/ensemble_speed.py [--architecture NAME ...] [--side 320] [--members 10] [--batch 1 8]
    python benchmarks/ensemble_speed.py --model default

Random weights of the true shapes: speed does not depend on the numbers. Every way runs in a process of its own, in
turn, several rounds; the table prints medians, ratios to the first way, and each process's memory after the largest
batch and at its peak (read from Linux's /proc). Two threads by default; ten sessions run with thread spinning off,
which is their best setting.

soup, int8, and openvino-soup are of one member; sessions, merged and merged-int8 are of all. "pair" is the time of one
film where two are scored side by side, one thread each, as `predict_many` does on the CPU. `--graphs FOLDER` keeps the
graphs, so that they can be written before the machine is made quiet; graphs that are there are taken as they are, so
give another folder after the exporter has changed. `--model` measures a model file instead of made-up members.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

WAYS = ("torch", "sessions", "merged", "merged-int8", "soup", "int8", "openvino", "openvino-soup")
OF_A_FILE = ("merged", "openvino")
FILES = {"sessions": "soup", "openvino": "merged", "openvino-soup": "soup"}

Score = Callable[[Any], Any]


def export(name: str, args: argparse.Namespace, folder: Path) -> None:
    """Write the graphs of all ways, unless they are there."""
    import numpy as np
    import torch

    from xraytransfer.export.graph.int8 import int8_graph
    from xraytransfer.export.graph.to_onnx import build_graph
    from xraytransfer.study.networks.architectures import find_architecture
    from xraytransfer.study.networks.network import build_network

    if (folder / "merged-int8.onnx").exists():
        return
    torch.manual_seed(0)
    row, side = find_architecture(name), args.side
    # different weights: OpenVINO computes equal members once
    networks = [build_network(row, initialisation="random").eval() for _ in range(args.members)]
    one = build_graph(networks[:1], (side, side))
    (folder / "soup.onnx").write_bytes(one.SerializeToString())
    merged = build_graph(networks, (side, side))
    (folder / "merged.onnx").write_bytes(merged.SerializeToString())
    films = list(np.random.default_rng(0).integers(0, 256, (8, side, side), dtype=np.uint8))
    (folder / "int8.onnx").write_bytes(int8_graph(one, films).SerializeToString())
    (folder / "merged-int8.onnx").write_bytes(int8_graph(merged, films).SerializeToString())


def session(path: Path, threads: int) -> Any:
    """Open a graph as the product does."""
    from xraytransfer.runtime import open_session

    return open_session(path, "cpu", threads)[0]


def openvino_scorer(path: Path, threads: int, streams: int) -> Score:
    """Return a function that scores with OpenVINO; safe to call from as many threads as there are streams."""
    import queue

    import openvino

    hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": streams}
    compiled = openvino.Core().compile_model(str(path), "CPU", hints)
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(streams):
        free.put(compiled.create_infer_request())

    def score(image: Any) -> Any:
        request = free.get()
        try:
            return request.infer({"image": image})["probability"].copy()
        finally:
            free.put(request)

    return score


def torch_scorer(args: argparse.Namespace) -> Score:
    """Return a function that scores with torch, eager, channels last."""
    import torch

    from xraytransfer.study.networks.architectures import find_architecture
    from xraytransfer.study.networks.network import build_network

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


def scorer(way: str, args: argparse.Namespace, *, pair: bool) -> Score:
    """Return a function that scores a batch, or with `pair` one that two threads call side by side."""
    path = Path(args.graphs) / f"{FILES.get(way, way)}.onnx"
    if way == "torch":
        return torch_scorer(args)
    if way.startswith("openvino"):
        return openvino_scorer(path, args.threads, args.threads if pair else 1)
    threads = 1 if pair else args.threads
    if way == "sessions":
        opened = [session(path, threads) for _ in range(args.members)]
        return lambda image: [one.run(["probability"], {"image": image}) for one in opened]
    opened_one = session(path, threads)
    return lambda image: opened_one.run(["probability"], {"image": image})


def memory() -> dict[str, float]:
    """Return this process's resident memory in MB, now and at its largest; `ru_maxrss` would count its parent's too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(status[name].split()[0]) / 1024 for key, name in (("megabytes", "VmRSS"), ("peak", "VmHWM"))}


def median_time(work: Callable[[], Any], repeats: int, least: float = 3.0) -> float:
    """Return the median seconds of so many calls or more, until they took `least` seconds; one before warms up."""
    work()
    times: list[float] = []
    while len(times) < repeats or sum(times) < least:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(way: str, args: argparse.Namespace) -> None:
    """Print one JSON line: seconds for each batch size, seconds a film side by side, and memory."""
    import numpy as np

    def films(count: int) -> Any:
        return np.random.default_rng(0).integers(0, 256, (count, 1, args.side, args.side), dtype=np.uint8)

    row: dict[str, float] = {}
    score = scorer(way, args, pair=False)
    for batch in args.batch:
        image = films(batch)
        row[str(batch)] = median_time(lambda image=image: score(image), args.repeats)
    row |= memory()
    if way != "torch":  # its threads are set for the whole process
        del score
        narrow, image, count = scorer(way, args, pair=True), films(1), 4 * args.threads
        with ThreadPoolExecutor(args.threads) as pool:
            row["pair"] = median_time(lambda: list(pool.map(narrow, [image] * count)), args.repeats) / count
    print(json.dumps(row))


def table(name: str, args: argparse.Namespace, ways: tuple[str, ...], folder: Path) -> None:
    """Run every way in turn and print one table."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way in ways:
            command = [sys.executable, __file__, "--measure", way, "--graphs", str(folder), "--architecture", name]
            for key in ("side", "members", "threads", "repeats"):
                command += [f"--{key}", str(getattr(args, key))]
            command += ["--batch", *map(str, args.batch)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name} {way}: {done.stdout.splitlines()[-1]}", file=sys.stderr, flush=True)
    medians = {
        way: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for way, rows in found.items()
    }
    print(f"\n{name}, {args.side} px, {args.members} members, {args.threads} threads, {args.rounds} rounds")
    heads = [(str(b), f"batch {b}, ms") for b in args.batch] + [("pair", "pair, ms")]
    print(f"{'way':<14}" + "".join(f"{text:>14}{'x first':>9}" for _, text in heads) + f"{'MB':>8}{'peak':>8}")
    first = next(iter(medians.values()))
    for way, row in medians.items():
        cells = "".join(
            f"{1000 * row[key]:14.1f}{first.get(key, first[str(args.batch[0])]) / row[key]:9.2f}"
            if key in row
            else f"{'':23}"
            for key, _ in heads
        )
        print(f"{way:<14}{cells}{row['megabytes']:8.0f}{row['peak']:8.0f}", flush=True)


def of_a_file(args: argparse.Namespace, folder: Path) -> None:
    """Measure a model file in ONNX Runtime and in OpenVINO."""
    from xraytransfer import model_file

    description, data = model_file.read(args.model)
    (folder / "merged.onnx").write_bytes(data)
    args.side, args.members = description.resolution[0], len(description.members)
    table(description.name, args, tuple(way for way in args.way if way in OF_A_FILE), folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--architecture", nargs="+", default=["tf_efficientnet_lite0", "mobilenetv3_large_100", "resnet18"]
    )
    parser.add_argument("--model", help="a model file or the name of a shipped one, instead of architectures")
    parser.add_argument("--way", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="0 only writes the graphs")
    parser.add_argument(
        "--repeats", type=int, default=5, help="calls of a round at least; more while they take under 3 s"
    )
    parser.add_argument("--graphs", type=Path, help="folder that keeps the graphs; a temporary one where absent")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, args)
        return
    with tempfile.TemporaryDirectory() as temporary:
        if args.model:
            of_a_file(args, Path(temporary))
            return
        for name in args.architecture:
            folder = (args.graphs or Path(temporary)) / name
            folder.mkdir(parents=True, exist_ok=True)
            export(name, args, folder)
            if args.rounds:
                table(name, args, tuple(args.way), folder)


if __name__ == "__main__":
    main()

"""How fast the HTTP server is: against `predict_many`, below and past saturation, against FastAPI with torch.

Run: ``python benchmarks/serve_http.py`` (``--torch`` for the comparison; it needs ``pip install fastapi``).
On a GPU: ``python benchmarks/serve_http.py --device cuda --clients 64 --torch``.

Films are 2500 x 2048, 12 bits in 16, uncompressed: 10 MB each, all different. The server and the clients share the
machine's cores, so the clients' own cost, and what the kernel takes to carry films over loopback, count against the
server. Measurements take turns and a ratio is the median of the turns' ratios, so that other load on the machine falls
on all sides. Each answer is compared with the library's answer for that film.

Targets: at least .75 of `predict_many` at 16 clients, and at twice saturation at least .70 of the rate at saturation.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import re
import statistics
import time
from pathlib import Path

import numpy as np
import psutil
from serve_clients import Load, Target, closed_loop, make_films, open_loop, running
from steady_rate import SteadyRate

from xraytransfer import Classifier, load

PATH = "/v1/predict?any_film=true"  # the films are drawn: a model's quality gate may refuse them, but runs all the same


def library(classifier: Classifier, films: list[bytes], seconds: float) -> SteadyRate:
    """Return `predict_many`'s films a second."""
    steady = SteadyRate(seconds)
    endless = itertools.takewhile(lambda _: steady.goes_on, itertools.cycle(films))
    for _ in classifier.predict_many(endless, any_film=True):
        steady.done()
    return steady


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="model file or name (default: default)")
    parser.add_argument("--device", default="auto", help="as for xraytransfer serve (default: auto)")
    parser.add_argument("--clients", type=int, default=16, help="films sent at once (default 16)")
    parser.add_argument("--films", type=int, default=16, help="different films (default 16)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each measurement (default 5)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one turn (default 6)")
    parser.add_argument("--torch", action="store_true", help="compare with FastAPI and torch, without batching")
    options = parser.parse_args()
    films = make_films(options.films)
    classifier = load(options.model, device=options.device)
    expected = [[float(value) for value in classifier.predict(film, any_film=True).probability] for film in films]
    command = ["-m", "xraytransfer", "serve", "--model", options.model, "--device", options.device, "--port", "0"]
    print(f"{classifier.description.name} on {classifier.provider}; {len(films)} films of {len(films[0]) / 1e6:.1f} MB")
    with running([*command, "--queue-size", str(2 * options.clients)]) as (port, process):
        target = Target(port, PATH, films, expected)
        closed_loop(target, 4, 2)
        peak = compare(classifier, target, process, options)
        print_latency(target, peak, options.seconds)
        print_past_saturation(target, options)
        print_batches(port)
    if options.torch:
        compare_with_torch(command, classifier, films, options)


def compare(classifier: Classifier, target: Target, process: int, options: argparse.Namespace) -> float:
    """Print throughput, and processor time for a film, against `predict_many`; return the server's throughput."""
    server = psutil.Process(process)
    turns, wrong = [], 0
    for _ in range(options.rounds):
        cpu = time.process_time()
        alone = library(classifier, target.films, options.seconds)
        alone_cpu = (time.process_time() - cpu) / alone.films
        cpu, server_cpu = time.process_time(), sum(server.cpu_times()[:2])
        served = closed_loop(target, options.clients, options.seconds)
        films = len(served.latencies)
        costs = (sum(server.cpu_times()[:2]) - server_cpu) / films, (time.process_time() - cpu) / films
        turns.append((alone.rate, alone_cpu, served.rate, *costs))
        wrong += served.wrong
    alone_rate, alone_cpu, peak, server_cpu, client_cpu = (
        statistics.median(column) for column in zip(*turns, strict=True)
    )
    print(f"\n{options.clients} clients, {options.rounds} turns of {options.seconds:g} s")
    print(f"{'':14} {'films/s':>8} {'CPU ms/film':>12} {'of the clients':>15}")
    print(f"{'predict_many':14} {alone_rate:8.1f} {1000 * alone_cpu:12.1f}")
    print(f"{'HTTP':14} {peak:8.1f} {1000 * server_cpu:12.1f} {1000 * client_cpu:15.1f}")
    ratios = [turn[2] / turn[0] for turn in turns]
    print(f"HTTP / predict_many: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    ratio = statistics.median(turn[1] / (turn[3] + turn[4]) for turn in turns)
    print(f"processor time for a film, predict_many / HTTP with its clients: {ratio:.2f}")
    print(f"answers that were another film's: {wrong}")
    return float(peak)


def print_latency(target: Target, peak: float, seconds: float) -> None:
    """Print latency below saturation."""
    print(f"\n{'load':>18} {'films/s':>8} {'p50 ms':>7} {'p99 ms':>7} {'refused':>8}")
    for share in (0.25, 0.5, 0.75):
        load_ = open_loop(target, share * peak, 3 * seconds)
        name = f"{100 * share:.0f} % of {peak:.1f}/s"
        print(f"{name:>18} {load_.rate:8.1f} {quantiles(load_.latencies)} {len(load_.refusals):8d}{wrong(load_)}")


def print_past_saturation(target: Target, options: argparse.Namespace) -> None:
    """Print the rates of requests and of answers at twice saturation, as shares of the rate at saturation."""
    kinds = {"asking first": True, "sending at once": False}
    turns: dict[str, list[tuple[float, Load]]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        peak = closed_loop(target, options.clients, options.seconds).rate
        for kind, ask_first in kinds.items():
            turns[kind].append((peak, open_loop(target, 2 * peak, options.seconds, ask_first=ask_first)))
    print(f"\n{'at twice saturation':>24} {'asked':>6} {'answered':>17} {'refused':>8} {'p50 ms':>7} {'p99 ms':>7}")
    for kind, loads in turns.items():
        refusals = [seconds for _, load_ in loads for seconds in load_.refusals]
        ratios = [load_.rate / peak for peak, load_ in loads]
        answered = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        asked = statistics.median(load_.asked / peak for peak, load_ in loads)
        mistakes = "".join(wrong(load_) for _, load_ in loads)
        print(f"{kind:>24} {asked:6.2f} {answered:>17} {len(refusals):8d} {quantiles(refusals)}{mistakes}")


def quantiles(seconds: list[float]) -> str:
    """Return two columns in milliseconds: the median and the 99th percentile."""
    return " ".join(
        f"{1000 * float(np.quantile(seconds, share)):7.0f}" if seconds else "      -" for share in (0.5, 0.99)
    )


def wrong(load_: Load) -> str:
    """Return a warning about answers that are another film's; empty where there are none."""
    return f"  WRONG {load_.wrong}" if load_.wrong else ""


def print_batches(port: int) -> None:
    """Print how many films each run of the model held, as the server counted them."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    buckets = re.findall(r'^xraytransfer_batch_films_bucket\{le="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    before, parts = 0.0, []
    for limit, runs in buckets:
        if float(runs) > before:
            parts.append(f"up to {float(limit):g}: {float(runs) - before:.0f}")
        before = float(runs)
    print(f"\nruns of the model by films in them: {'; '.join(parts)}")


def compare_with_torch(
    command: list[str], classifier: Classifier, films: list[bytes], options: argparse.Namespace
) -> None:
    """Print throughput against FastAPI and torch with networks of the same architecture, number and resolution."""
    document = classifier.description.document
    device = "cpu" if classifier.provider == "CPUExecutionProvider" else "cuda"
    naive = [str(Path(__file__).with_name("serve_http_torch.py")), "--device", device]
    naive += ["--resolution", str(document["input"]["resolution"][0])]
    naive += ["--members", *(member["architecture"] for member in document["members"])]
    with running([*command, "--queue-size", str(2 * options.clients)]) as (ours, _), running(naive) as (theirs, _):
        mine = Target(ours, PATH, films)
        other = Target(theirs, "/predict", films, multipart=True)
        for target in (mine, other):
            closed_loop(target, 4, 3)
        for clients in (1, options.clients):
            turns = [
                (closed_loop(mine, clients, options.seconds).rate, closed_loop(other, clients, options.seconds).rate)
                for _ in range(options.rounds)
            ]
            ratio = statistics.median(a / b for a, b in turns)
            medians = [statistics.median(turn[i] for turn in turns) for i in (0, 1)]
            print(
                f"\n{clients} clients: xraytransfer {medians[0]:.1f} films/s, FastAPI and torch on {device} "
                f"{medians[1]:.1f}, ratio {ratio:.1f}"
            )


if __name__ == "__main__":
    main()

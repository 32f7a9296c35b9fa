"""How fast the HTTP server is: against `predict_many`, below and past saturation, against FastAPI with torch.

Run: ``python benchmarks/serve_http.py`` (``--torch`` for the comparison; it needs ``pip install fastapi``).
On a GPU: ``python benchmarks/serve_http.py --device cuda --clients 64 --torch``.

Films are 2500 x 2048, 12 bits in 16, uncompressed: 10 MB each, all different. Server and clients share the machine's
cores; the clients' own cost counts against the server. So does what the kernel takes to carry the films over loopback:
`serve_floor.py` measures, in the same turns, what is left of `predict_many` when films come to it that way and nothing
else is done. Rounds of every measurement take turns, and a ratio is the median of the rounds' ratios, so that other
load on the machine falls on all sides; a turn counts from when everything is under way (`steady_rate.py`). Processor
time for a film is printed too, because it depends less on what else runs. Each answer is compared with the library's
answer for that film.
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
from serve_floor import floor
from steady_rate import SteadyRate

from xraytransfer import Classifier, load

PATH = "/v1/predict?any_film=true"  # the films are drawn: a quality gate may refuse them, and works all the same


def library(classifier: Classifier, films: list[bytes], seconds: float) -> SteadyRate:
    """Return `predict_many`'s films a second."""
    steady = SteadyRate(seconds)
    taken = itertools.takewhile(lambda _: steady.goes_on, itertools.cycle(films))
    for _ in classifier.predict_many(taken, any_film=True):
        steady.done()
    return steady


def quantile(values: list[float], share: float) -> str:
    """Return a quantile in milliseconds, as text."""
    return f"{1000 * float(np.quantile(values, share)):.0f}" if values else "-"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="model file or name (default: default)")
    parser.add_argument("--device", default="auto", help="as for xraytransfer serve (default: auto)")
    parser.add_argument("--clients", type=int, default=16, help="films asked for at once (default 16)")
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
    rounds, wrong = [], 0
    for _ in range(options.rounds):
        cpu = time.process_time()
        alone = library(classifier, target.films, options.seconds)
        alone_cpu = (time.process_time() - cpu) / alone.films
        cpu, server_cpu = time.process_time(), sum(server.cpu_times()[:2])
        served = closed_loop(target, options.clients, options.seconds)
        films = len(served.latencies)
        costs = (sum(server.cpu_times()[:2]) - server_cpu) / films, (time.process_time() - cpu) / films
        cpu = time.process_time()
        least, sender_cpu = floor(classifier, target, options.clients, options.seconds)
        least_cpu = (time.process_time() - cpu) / least.films
        rounds.append((alone.rate, alone_cpu, served.rate, *costs, least.rate, least_cpu, sender_cpu))
        wrong += served.wrong
    alone_rate, alone_cpu, peak, server_cpu, client_cpu, least_rate, least_cpu, sender_cpu = (
        statistics.median(column) for column in zip(*rounds, strict=True)
    )
    print(f"\nconcurrency {options.clients}, {options.rounds} turns of {options.seconds:g} s")
    print(f"{'':32} {'films/s':>8} {'CPU ms/film':>12}  and the clients'")
    print(f"{'predict_many':32} {alone_rate:8.1f} {1000 * alone_cpu:12.1f}")
    print(f"{'predict_many, films by loopback':32} {least_rate:8.1f} {1000 * least_cpu:12.1f} {1000 * sender_cpu:8.1f}")
    print(f"{'HTTP':32} {peak:8.1f} {1000 * server_cpu:12.1f} {1000 * client_cpu:8.1f}")
    for name, column in (("predict_many", 0), ("predict_many, films by loopback", 5)):
        ratio = statistics.median(row[2] / row[column] for row in rounds)
        print(f"HTTP / {name}: {ratio:.2f}")
    ratio = statistics.median(row[5] / row[0] for row in rounds)
    print(f"predict_many, films by loopback / predict_many: {ratio:.2f}")
    ratio = statistics.median(row[1] / (row[3] + row[4]) for row in rounds)
    print(f"processor time for a film, predict_many / HTTP and its clients: {ratio:.2f}")
    print(f"answers that were another film's: {wrong}")
    return float(peak)


def print_latency(target: Target, peak: float, seconds: float) -> None:
    """Print latency below saturation."""
    print(f"\n{'load':>18} {'films/s':>8} {'p50 ms':>7} {'p99 ms':>7} {'refused':>8}")
    for share in (0.25, 0.5, 0.75):
        load_ = open_loop(target, share * peak, 3 * seconds)
        name = f"{100 * share:.0f} % of {peak:.1f}/s"
        print(f"{name:>18} {load_.rate:8.1f} {latencies(load_.latencies)} {len(load_.refusals):8d}{wrong(load_)}")


def print_past_saturation(target: Target, options: argparse.Namespace) -> None:
    """Print throughput and refusals at twice what saturates.

    How much was asked and how much of it was answered, each as a share of the throughput at saturation.
    """
    kinds = {"asking first": True, "sending at once": False}
    ratios: dict[str, list[float]] = {kind: [] for kind in kinds}
    asked: dict[str, list[float]] = {kind: [] for kind in kinds}
    loads: dict[str, list[Load]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        peak = closed_loop(target, options.clients, options.seconds).rate
        for kind, ask_first in kinds.items():
            load_ = open_loop(target, 2 * peak, options.seconds, ask_first=ask_first)
            ratios[kind].append(load_.rate / peak)
            asked[kind].append(load_.asked / peak)
            loads[kind].append(load_)
    print(f"\n{'at twice saturation':>24} {'asked':>6} {'answered':>17} {'refused':>8} {'p50 ms':>7} {'p99 ms':>7}")
    for kind in kinds:
        refusals = [seconds for load_ in loads[kind] for seconds in load_.refusals]
        answered = f"{statistics.median(ratios[kind]):.2f} ({min(ratios[kind]):.2f}-{max(ratios[kind]):.2f})"
        columns = f"{statistics.median(asked[kind]):6.2f} {answered:>17} {len(refusals):8d} {latencies(refusals)}"
        print(f"{kind:>24} {columns}{''.join(map(wrong, loads[kind]))}")


def latencies(seconds: list[float]) -> str:
    """Return two columns: the median and the 99th percentile."""
    return f"{quantile(seconds, 0.5):>7} {quantile(seconds, 0.99):>7}"


def wrong(load_: Load) -> str:
    """Return what to say of answers that are another film's."""
    return f"  WRONG {load_.wrong}" if load_.wrong else ""


def print_batches(port: int) -> None:
    """Print how many films each run of the model held, as the server counted them."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.findall(r'^xraytransfer_batch_films_bucket\{le="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    before, parts = 0.0, []
    for limit, runs in found:
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
                f"\nconcurrency {clients}: xraytransfer {medians[0]:.1f} films/s, FastAPI and torch on {device} "
                f"{medians[1]:.1f}, ratio {ratio:.1f}"
            )


if __name__ == "__main__":
    main()

"""How fast the DICOM side is against HTTP: the same film, one server, from the first byte to the last result.

Run: ``python benchmarks/serve_dicom.py`` (``--film FILE`` for another film; needs DCMTK's storescu and storescp).

One server takes films by both ways. Over HTTP, clients post the film one after the other. Over DICOM, storescu
processes send it, each time under a new SOP Instance UID, and the clock stops when storescp has taken the last result.
The ways take turns and a ratio is the median of the turns' ratios, so that other load on the machine falls on all of
them. Processor time is the server's, for a film.

Target: DICOM with structured reports at least .7 of HTTP's ``/v1/predict``.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from serve_clients import Target, closed_loop, running

from xraytransfer.cli.film_list import sample_film


def main() -> None:
    """Print films a second of each way, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="model file or name (default: default)")
    parser.add_argument("--device", default="auto", help="as for xraytransfer serve (default: auto)")
    parser.add_argument("--film", help="DICOM film that the model scores (default: the package's sample)")
    parser.add_argument("--clients", type=int, default=4, help="films, and associations, sent at once (default 4)")
    parser.add_argument("--films", type=int, default=48, help="films of one turn by DICOM (default 48)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way (default 5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one turn by HTTP (default 5)")
    parser.add_argument("--captures", action="store_true", help="send secondary captures, too")
    options = parser.parse_args()
    film = Path(options.film or sample_film())
    port = free_port()
    command = ["-m", "xraytransfer", "serve", "--model", options.model, "--device", options.device, "--port", "0"]
    command += ["--allow-any-ae", "--dicom-port", str(port), *([] if options.captures else ["--no-sc"])]
    with tempfile.TemporaryDirectory() as spool, archive() as sink:
        command += ["--dicom-spool", spool, "--send-to", f"ARCHIVE@127.0.0.1:{sink}"]
        with running(command) as (http, process):
            compare(film, http, Receiver(port, Path(spool) / "files"), psutil.Process(process), options)


@dataclass(frozen=True)
class Receiver:
    """The server's DICOM side.

    Attributes
    ----------
    port : int
    files : Path
        The spool's folder of files.
    """

    port: int
    files: Path


def compare(film: Path, http: int, dicom: Receiver, server: psutil.Process, options: argparse.Namespace) -> None:
    """Let the ways take turns and print what came of them."""
    targets = {path: Target(http, path, [film.read_bytes()]) for path in ("/v1/predict", "/v1/sr")}
    turns: list[dict[str, tuple[float, float]]] = []
    for number in range(options.rounds + 1):
        turn = {path: by_http(target, server, options) for path, target in targets.items()}
        turn["DICOM"] = by_dicom(film, http, dicom, server, options)
        if number:  # the first turn warms up
            turns.append(turn)
    what = "structured reports and secondary captures" if options.captures else "structured reports"
    print(f"{film.name}, {film.stat().st_size / 1e6:.1f} MB, {options.clients} at once, {options.rounds} turns; {what}")
    print(f"{'':14} {'films/s':>8} {'CPU ms/film':>12} {'DICOM: rate':>20} {'processor time':>18}")
    for way in turns[0]:
        rate, cpu = (statistics.median(turn[way][column] for turn in turns) for column in (0, 1))
        rates = [turn["DICOM"][0] / turn[way][0] for turn in turns]
        costs = [turn[way][1] / turn["DICOM"][1] for turn in turns]
        print(f"{way:14} {rate:8.1f} {1000 * cpu:12.1f} {spread(rates):>20} {spread(costs):>18}")


def spread(ratios: list[float]) -> str:
    """Return the median and the range."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def by_http(target: Target, server: psutil.Process, options: argparse.Namespace) -> tuple[float, float]:
    """Return films a second, and the server's processor seconds for a film."""
    cpu = processor_time(server)
    load = closed_loop(target, options.clients, options.seconds)
    if load.refusals:
        raise SystemExit("the server refused the film over HTTP: give one that the model scores with --film")
    return load.rate, (processor_time(server) - cpu) / len(load.latencies)


def by_dicom(
    film: Path, http: int, dicom: Receiver, server: psutil.Process, options: argparse.Namespace
) -> tuple[float, float]:
    """Send films and wait until the spool's folder of files is empty; return as `by_http` does."""
    each = -(-options.films // options.clients)
    before = films_sent(http)
    cpu, started = processor_time(server), time.monotonic()
    command = ["storescu", "-pdu", "131072", "-xe", "-aec", "XRAYTRANSFER", "+II", "--repeat", str(each)]
    senders = [subprocess.Popen([*command, "127.0.0.1", str(dicom.port), str(film)]) for _ in range(options.clients)]
    codes = [sender.wait() for sender in senders]  # of all: none is left behind
    if any(codes):
        raise SystemExit("storescu failed")
    while any(dicom.files.iterdir()):  # asking for the metrics would cost the server processor time
        time.sleep(0.02)
    seconds, cpu = time.monotonic() - started, processor_time(server) - cpu
    films = each * options.clients
    sent = films_sent(http) - before
    if sent != films:
        raise SystemExit(f"{sent:g} of {films} films came to their end")
    return films / seconds, cpu / films


def processor_time(server: psutil.Process) -> float:
    """Return the seconds of processor time that the server has used."""
    return sum(server.cpu_times()[:2])


def films_sent(port: int) -> float:
    """Return how many films were sent with all their results."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return sum(map(float, re.findall(r'^xraytransfer_dicom_films_total\{state="sent"\} (\S+)$', text, re.MULTILINE)))


@contextlib.contextmanager
def archive() -> Iterator[int]:
    """Run a storescp that takes everything and keeps nothing; yield its port."""
    port = free_port()
    with subprocess.Popen(["storescp", "--ignore", "--fork", "-pdu", "131072", str(port)]) as process:
        try:
            yield port
        finally:
            process.terminate()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()

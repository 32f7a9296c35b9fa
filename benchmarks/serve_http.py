"""How fast the HTTP server is: against `predict_many`, below and past saturation, against FastAPI with torch.

Run: ``python benchmarks/serve_http.py`` (``--torch`` for the comparison; it needs ``pip install fastapi``).

Films are 2500 x 2048, 12 bits in 16, uncompressed: 10 MB each, all different. Server and clients share the machine's
cores; the clients' own cost counts against the server. Rounds of every measurement take turns, and a ratio is the
median of the rounds' ratios, so that other load on the machine falls on both sides; processor time for a film is
printed too, because it depends less on what else runs. Each answer is compared with
the library's answer for that film.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import itertools
import json
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from xraytransfer import Classifier, load

ROWS, COLUMNS = 2500, 2048
BOUNDARY = "film-boundary"


@dataclass
class Load:
    """What a load of requests met."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    wrong: int = 0

    @property
    def rate(self) -> float:
        """Films answered a second."""
        return len(self.latencies) / self.seconds


@dataclass(frozen=True)
class Target:
    """A server, how to ask it, and what it should answer."""

    port: int
    path: str
    films: list[bytes]
    expected: list[list[float]] | None
    multipart: bool = False

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection of its own."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask_first(self, number: int) -> tuple[int, bool]:
        """Send a film after "100 Continue", as clients of busy servers do; a refusal costs no upload."""
        film = self.films[number]
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
        head += f"Content-Length: {len(film)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), 120) as client, client.makefile("rb") as answers:
            client.sendall(head.encode())
            status = int(answers.readline().split()[1])
            if status != 100:
                return status, True
            client.sendall(film)
            answer = answers.read().partition(b"\r\n")[2]
            status = int(answer.split()[1])
            return status, status != 200 or self._is_right(json.loads(answer.partition(b"\r\n\r\n")[2]), number)

    def ask(self, connection: http.client.HTTPConnection, number: int) -> tuple[int, bool]:
        """Send a film; return the status and whether the answer is that film's."""
        body, kind = self.films[number], "application/dicom"
        if self.multipart:
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
            body = b"".join([head.encode(), body, f"\r\n--{BOUNDARY}--\r\n".encode()])
            kind = f"multipart/form-data; boundary={BOUNDARY}"
        connection.request("POST", self.path, body, {"Content-Type": kind})
        response = connection.getresponse()
        answer = json.loads(response.read())
        return response.status, response.status != 200 or self._is_right(answer, number)

    def _is_right(self, answer: dict[str, Any], number: int) -> bool:
        if self.expected is None:
            return True
        found = [row["probability"] for row in answer["observations"]]
        return bool(np.allclose(found, self.expected[number], atol=1e-5))


def make_films(count: int) -> list[bytes]:
    """Return DICOM files that differ from each other everywhere."""
    return [_make_film(np.random.default_rng(seed)) for seed in range(count)]


def _make_film(rng: np.random.Generator) -> bytes:
    coarse = Image.fromarray(rng.random((9, 7), np.float32)).resize((COLUMNS, ROWS), Image.Resampling.BICUBIC)
    pixels = np.clip(np.asarray(coarse) * 3500 + rng.normal(0, 20, (ROWS, COLUMNS)), 0, 4095).astype(np.uint16)
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID = ComputedRadiographyImageStorage
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID = generate_uid()
    film.Modality, film.BodyPartExamined, film.ViewPosition = "CR", "CHEST", "PA"
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Rows, film.Columns, film.BitsAllocated, film.BitsStored = ROWS, COLUMNS, 16, 12
    film.HighBit, film.PixelRepresentation = 11, 0
    film.WindowCenter, film.WindowWidth = 2048, 3600
    film.PixelData = pixels.tobytes()
    file = io.BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[tuple[int, int]]:
    """Start a server that says where it listens; yield its port and process id; stop it."""
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True) as process:
        try:
            line = next((line for line in process.stderr or () if re.search(r"127\.0\.0\.1:\d+", line)), "")
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found is None:
                raise SystemExit(f"the server did not start: {' '.join(command)}")
            yield int(found[1]), process.pid
        finally:
            process.terminate()


def closed_loop(target: Target, clients: int, seconds: float) -> Load:
    """Ask from `clients` threads, each one film after the other."""
    result, lock, end = Load(), threading.Lock(), time.monotonic() + seconds
    numbers = itertools.count()

    def client() -> None:
        connection = target.connect()
        while (started := time.monotonic()) < end:
            status, right = target.ask(connection, next(numbers) % len(target.films))
            with lock:
                (result.latencies if status == 200 else result.refusals).append(time.monotonic() - started)
                result.wrong += not right
        connection.close()

    started = time.monotonic()
    _run([client] * clients)
    result.seconds = time.monotonic() - started
    return result


def open_loop(target: Target, rate: float, seconds: float) -> Load:
    """Ask `rate` times a second, whether or not answers have come; latency counts from when a film was due."""
    result, lock = Load(), threading.Lock()
    begin = time.monotonic() + 0.2
    due = iter([begin + i / rate for i in range(int(rate * seconds))])

    def client() -> None:
        while True:
            with lock:
                moment = next(due, None)
            if moment is None:
                break
            time.sleep(max(0.0, moment - time.monotonic()))
            status, right = target.ask_first(int(moment * 1000) % len(target.films))
            with lock:
                (result.latencies if status == 200 else result.refusals).append(time.monotonic() - moment)
                result.wrong += not right

    _run([client] * 96)
    result.seconds = time.monotonic() - begin
    return result


def _run(clients: list) -> None:
    threads = [threading.Thread(target=client) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def library(classifier: Classifier, films: list[bytes], seconds: float) -> float:
    """Return `predict_many`'s films a second."""
    started, count = time.monotonic(), 0
    endless = itertools.cycle(films)
    for _ in classifier.predict_many(itertools.takewhile(lambda _: time.monotonic() - started < seconds, endless)):
        count += 1
    return count / (time.monotonic() - started)


def quantile(values: list[float], share: float) -> str:
    """Return a quantile in milliseconds, as text."""
    return f"{1000 * float(np.quantile(values, share)):.0f}" if values else "-"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="model file or name (default: default)")
    parser.add_argument("--device", default="auto", help="as for xraytransfer serve (default: auto)")
    parser.add_argument("--films", type=int, default=16, help="different films (default 16)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each measurement (default 5)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one turn (default 6)")
    parser.add_argument("--torch", action="store_true", help="compare with FastAPI and torch, without batching")
    options = parser.parse_args()
    films = make_films(options.films)
    classifier = load(options.model, device=options.device)
    expected = [[float(value) for value in classifier.predict(film).probability] for film in films]
    command = ["-m", "xraytransfer", "serve", "--model", options.model, "--device", options.device, "--port", "0"]
    print(f"{classifier.description.name} on {classifier.provider}; {len(films)} films of {len(films[0]) / 1e6:.1f} MB")
    with running([*command, "--queue-size", "32"]) as (port, process):
        target = Target(port, "/v1/predict", films, expected)
        closed_loop(target, 4, 2)
        peak = compare(classifier, target, process, options)
        print_latency(target, peak, options.seconds)
    if options.torch:
        compare_with_torch(command, classifier, films, options)


def compare(classifier: Classifier, target: Target, process: int, options: argparse.Namespace) -> float:
    """Print throughput, and processor time for a film, against `predict_many`; return the server's throughput."""
    server = psutil.Process(process)
    rounds = []
    for _ in range(options.rounds):
        began, cpu = time.monotonic(), time.process_time()
        alone = library(classifier, target.films, options.seconds)
        library_cpu = (time.process_time() - cpu) / (alone * (time.monotonic() - began))
        cpu, server_cpu = time.process_time(), sum(server.cpu_times()[:2])
        served = closed_loop(target, 16, options.seconds)
        films = len(served.latencies)
        costs = (sum(server.cpu_times()[:2]) - server_cpu) / films, (time.process_time() - cpu) / films
        rounds.append((alone, served.rate, served.wrong, library_cpu, *costs))
    alone, peak, _, library_cpu, server_cpu, client_cpu = (
        statistics.median(column) for column in zip(*rounds, strict=True)
    )
    print(f"\nconcurrency 16, {options.rounds} turns of {options.seconds:g} s")
    print(f"{'':14} {'films/s':>8} {'CPU ms/film':>12}")
    print(f"{'predict_many':14} {alone:8.1f} {1000 * library_cpu:12.1f}")
    print(f"{'HTTP':14} {peak:8.1f} {1000 * server_cpu:12.1f}   and the clients {1000 * client_cpu:.1f}")
    ratio = statistics.median(row[1] / row[0] for row in rounds)
    cpu_ratio = statistics.median(row[3] / (row[4] + row[5]) for row in rounds)
    print(f"{'ratio':14} {ratio:8.2f} {cpu_ratio:12.2f}   clients included")
    print(f"answers that were another film's: {sum(row[2] for row in rounds)}")
    return float(peak)


def print_latency(target: Target, peak: float, seconds: float) -> None:
    """Print latency below saturation, and throughput and refusals past it."""
    print(f"\n{'load':>22} {'films/s':>8} {'p50 ms':>7} {'p99 ms':>7} {'refused':>8} {'p50 ms':>7} {'p99 ms':>7}")
    for share in (0.25, 0.5, 0.75, 2.0):
        load_ = open_loop(target, share * peak, 3 * seconds)
        row(f"{100 * share:.0f} % of {peak:.1f}/s", load_)


def row(name: str, load_: Load) -> None:
    """Print one line."""
    answered = [quantile(load_.latencies, 0.5), quantile(load_.latencies, 0.99)]
    refused = [quantile(load_.refusals, 0.5), quantile(load_.refusals, 0.99)]
    print(
        f"{name:>22} {load_.rate:8.1f} {answered[0]:>7} {answered[1]:>7} {len(load_.refusals):8d} "
        f"{refused[0]:>7} {refused[1]:>7}" + (f"  WRONG {load_.wrong}" if load_.wrong else "")
    )


def compare_with_torch(
    command: list[str], classifier: Classifier, films: list[bytes], options: argparse.Namespace
) -> None:
    """Print throughput against FastAPI and torch with networks of the same architecture, number and resolution."""
    document = classifier.description.document
    naive = str(Path(__file__).with_name("serve_http_torch.py"))
    members = [member["architecture"] for member in document["members"]]
    size = str(document["input"]["resolution"][0])
    with running([*command]) as (ours, _), running([naive, "--resolution", size, "--members", *members]) as (theirs, _):
        mine = Target(ours, "/v1/predict", films, None)
        other = Target(theirs, "/predict", films, None, multipart=True)
        for target in (mine, other):
            closed_loop(target, 4, 3)
        for clients in (1, 16):
            turns = [
                (closed_loop(mine, clients, options.seconds).rate, closed_loop(other, clients, options.seconds).rate)
                for _ in range(options.rounds)
            ]
            ratio = statistics.median(a / b for a, b in turns)
            medians = [statistics.median(turn[i] for turn in turns) for i in (0, 1)]
            print(
                f"\nconcurrency {clients}: xraytransfer {medians[0]:.1f} films/s, FastAPI and torch "
                f"{medians[1]:.1f}, ratio {ratio:.1f}"
            )


if __name__ == "__main__":
    main()

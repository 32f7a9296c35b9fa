"""Whether the HTTP server loses, crosses or leaks anything under a long load at saturation.

Run: ``python benchmarks/serve_soak.py --minutes 10``

Sixteen clients send films of all kinds without pause: whole ones, each answer compared with the library's for that
film; many in one request; damaged ones; and clients that leave half-way. Resident memory is read every ten seconds;
it is flat if the median of the last third is within a tenth of the median of the second third (the first fills
pools and caches).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import json
import random
import socket
import statistics
import threading
import time

import psutil
from serve_clients import Client, Target, make_films, running

from xraytransfer import load

BOUNDARY = "soak"
PATH = "/v1/predict?any_film=true"  # the films are drawn: a model's quality gate may refuse them


class Soak:
    """Clients that share what they count."""

    def __init__(self, target: Target, end: float) -> None:
        self.target = target
        self.end = end
        self.counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._films = threading.local()  # each thread's connection for whole films

    def client(self, seed: int) -> None:
        """Send until the end."""
        rng = random.Random(seed)
        kinds = [self._whole] * 16 + [self._many, self._damaged, self._leave]
        with contextlib.closing(Client(self.target)) as films:
            self._films.connection = films
            while time.monotonic() < self.end:
                try:
                    outcome = rng.choice(kinds)(rng)
                except (OSError, http.client.HTTPException) as error:
                    outcome = f"LOST: {type(error).__name__}"
                    films.close()
                with self._lock:
                    self.counts[outcome] += 1

    def _post(self, body: bytes, kind: str) -> tuple[int, bytes]:
        """Send a body over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.target.port, timeout=120)
        with contextlib.closing(connection):
            connection.request("POST", PATH, body, {"Content-Type": kind})
            response = connection.getresponse()
            return response.status, response.read()

    def _whole(self, rng: random.Random) -> str:
        number = rng.randrange(len(self.target.films))
        status, answer = self._films.connection.ask(number)
        if status == 200:
            return "right" if self.target.is_right(number, answer) else "WRONG"
        return "refused, busy" if status == 503 else f"status {status}"

    def _many(self, rng: random.Random) -> str:
        numbers = [rng.randrange(len(self.target.films)) for _ in range(3)]
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'.encode()
        body = b"".join(head + self.target.films[i] + b"\r\n" for i in numbers) + f"--{BOUNDARY}--\r\n".encode()
        status, answer = self._post(body, f"multipart/form-data; boundary={BOUNDARY}")
        if status != 200:
            return "many: refused, busy" if status == 503 else f"many: status {status}"
        for number, result in zip(numbers, json.loads(answer)["results"], strict=True):
            if not result["ok"]:
                return f"many: {result['reason']}"
            if not self.target.is_right(number, json.dumps(result).encode()):
                return "WRONG"
        return "many: right"

    def _damaged(self, rng: random.Random) -> str:
        film = self.target.films[rng.randrange(len(self.target.films))]
        status, _ = self._post(film[: -rng.randrange(1, 1000)], "application/dicom")
        return "damaged: refused, busy" if status == 503 else f"damaged: status {status}"

    def _leave(self, rng: random.Random) -> str:
        film = self.target.films[0]
        with socket.create_connection(("127.0.0.1", self.target.port)) as client, contextlib.suppress(OSError):
            head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
            client.sendall(f"{head}Content-Length: {len(film)}\r\n\r\n".encode() + film[: rng.randrange(len(film) + 1)])
        return "left"


def main() -> None:
    """Run the soak and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="model file or name (default: default)")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--films", type=int, default=12, help="different films (default 12)")
    options = parser.parse_args()
    films = make_films(options.films)
    classifier = load(options.model, device="cpu")
    expected = [[float(value) for value in classifier.predict(film, any_film=True).probability] for film in films]
    command = ["-m", "xraytransfer", "serve", "--model", options.model, "--port", "0", "--queue-size", "24"]
    with running(command) as (port, process):
        soak = Soak(Target(port, PATH, films, expected), time.monotonic() + 60 * options.minutes)
        clients = [threading.Thread(target=soak.client, args=(seed,)) for seed in range(16)]
        for client in clients:
            client.start()
        memory = []
        while time.monotonic() < soak.end:
            time.sleep(min(10.0, max(0.1, soak.end - time.monotonic())))
            memory.append(psutil.Process(process).memory_info().rss / 2**20)
        for client in clients:
            client.join()
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
    for outcome, count in sorted(soak.counts.items()):
        print(f"{outcome:24} {count}")
    for name in ("xraytransfer_queue_films", "xraytransfer_held_bytes"):
        print(next(line for line in text.splitlines() if line.startswith(name)), "at the end")
    third = max(1, len(memory) // 3)
    before, after = statistics.median(memory[third : 2 * third] or memory), statistics.median(memory[-third:])
    print(
        f"resident memory, MiB: {before:.0f} in the second third, {after:.0f} in the last: ratio {after / before:.2f}"
    )
    failed = soak.counts["WRONG"] or any("status 5" in outcome or "LOST" in outcome for outcome in soak.counts)
    print("FAILED" if failed or after > 1.1 * before else "passed")


if __name__ == "__main__":
    main()

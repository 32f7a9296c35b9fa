"""Films, and clients that send them to a server for `serve_http.py` and `serve_soak.py`.

The clients share the machine with the server that is measured, so they cost as little as can be: a film is sent by
the kernel from a file in memory (``sendfile``), and answers are compared with the library's when the clock has
stopped.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
from steady_rate import SteadyRate

ROWS, COLUMNS = 2500, 2048
BOUNDARY = "film-boundary"
_IDLE_S = 5.0  # the server ends a connection on which nothing happens for ten
OPEN_CLIENTS = 96  # of `open_loop`: more than the server has places


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


class Target:
    """A server, how to ask it, and what it should answer.

    Parameters
    ----------
    port : int
    path : str
    films : list of bytes
    expected : list of list of float, or None
        Each film's probabilities; None: answers are not compared.
    multipart : bool
        Whether a film is sent as the only part of a form.
    """

    def __init__(
        self,
        port: int,
        path: str,
        films: list[bytes],
        expected: list[list[float]] | None = None,
        *,
        multipart: bool = False,
    ) -> None:
        self.port, self.films, self._expected = port, films, expected
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' if multipart else ""
        tail = f"\r\n--{BOUNDARY}--\r\n" if multipart else ""
        self.bodies = [_in_memory(head.encode() + film + tail.encode()) for film in films]
        kind = f"multipart/form-data; boundary={BOUNDARY}" if multipart else "application/dicom"
        self.head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"

    def is_right(self, number: int, answer: bytes) -> bool:
        """Return whether an answer is this film's."""
        if self._expected is None:
            return True
        found = [row["probability"] for row in json.loads(answer)["observations"]]
        return bool(np.allclose(found, self._expected[number], atol=1e-5))


def _in_memory(data: bytes) -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the target; its pages stay in memory
    file.write(data)
    file.flush()
    return file


class Client:
    """One connection after the other.

    Parameters
    ----------
    target : Target
    keep : bool
        Send films over one connection, while it is not idle for long. False: each over its own.
    ask_first : bool
        Send a film after "100 Continue" only, as clients of busy servers do.
    """

    def __init__(self, target: Target, *, keep: bool = True, ask_first: bool = False) -> None:
        self._target, self._keep, self._ask_first = target, keep, ask_first
        self._connection: socket.socket | None = None
        self._used = 0.0

    def ask(self, number: int) -> tuple[int, bytes]:
        """Send a film; return the status and the answer."""
        body = self._target.bodies[number]
        size = os.fstat(body.fileno()).st_size
        if time.monotonic() - self._used > _IDLE_S:
            self.close()
        if self._connection is None:
            self._connection = socket.create_connection(("127.0.0.1", self._target.port))
        head = f"{self._target.head}Content-Length: {size}\r\n"
        head += "" if self._keep else "Connection: close\r\n"
        head += "Expect: 100-continue\r\n" if self._ask_first else ""
        self._connection.sendall(f"{head}\r\n".encode())
        if not self._ask_first or self._may_send(self._connection):
            send_file(self._connection, body, size)
        answer = self._answer(self._connection)
        self._used = time.monotonic()
        if not self._keep:
            self.close()
        return answer

    @staticmethod
    def _may_send(connection: socket.socket) -> bool:
        """Wait for "100 Continue" and take it; false if the answer comes instead."""
        wanted = b"HTTP/1.1 100 Continue\r\n\r\n"
        if connection.recv(len(wanted), socket.MSG_PEEK | socket.MSG_WAITALL) != wanted:
            return False
        connection.recv(len(wanted))
        return True

    @staticmethod
    def _answer(connection: socket.socket) -> tuple[int, bytes]:
        """Read an answer; by hand, for http.client takes half a millisecond for it."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionError("the server ended the connection before its answer")
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        found = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        if found is None:
            raise ConnectionError(f"an answer without a length: {head!r}")
        while len(body) < int(found[1]):
            body += connection.recv(65536)
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def send_file(connection: socket.socket, file: BinaryIO, size: int) -> None:
    """Have the kernel send a file: its bytes are copied once, into the receiver's memory."""
    sent = 0
    while sent < size:
        sent += os.sendfile(connection.fileno(), file.fileno(), sent, size - sent)


@dataclass
class Load:
    """What requests met.

    Films answered a second, and those answered or refused; seconds of each answer and each refusal; answers that are
    wrong.
    """

    rate: float = 0.0
    asked: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    wrong: int = 0

    def note(self, number: int, answer: tuple[int, bytes], seconds: float) -> None:
        """Take note of an answer; called by one thread at a time."""
        status, body = answer
        (self.latencies if status == 200 else self.refusals).append(seconds)
        if status == 200:
            self.answers.append((number, body))

    def settle(self, target: Target, rate: float) -> Load:
        """Compare the answers, after the clock has stopped."""
        self.rate = rate
        self.wrong = sum(not target.is_right(number, body) for number, body in self.answers)
        self.answers.clear()
        return self


def closed_loop(target: Target, clients: int, seconds: float) -> Load:
    """Ask from `clients` threads, each one film after the other."""
    result, lock, steady = Load(), threading.Lock(), SteadyRate(seconds)
    numbers = itertools.count()

    def client() -> None:
        with contextlib.closing(Client(target)) as connection:
            while steady.goes_on:
                started, number = time.monotonic(), next(numbers) % len(target.films)
                answer = connection.ask(number)
                with lock:
                    result.note(number, answer, time.monotonic() - started)
                    if answer[0] == 200:
                        steady.done()

    in_threads(client, clients)
    return result.settle(target, steady.rate)


def open_loop(target: Target, rate: float, seconds: float, *, ask_first: bool = False) -> Load:
    """Ask `rate` times a second, whether or not answers have come; latency counts from when a film was due."""
    result, lock = Load(), threading.Lock()
    steady, asked = SteadyRate(seconds), SteadyRate(seconds)
    begin = time.monotonic() + 0.2
    due = itertools.count()

    def client() -> None:
        with contextlib.closing(Client(target, keep=False, ask_first=ask_first)) as connection:
            while True:
                with lock:
                    turn = next(due)
                moment, number = begin + turn / rate, turn % len(target.films)
                if not steady.takes(moment):
                    break
                time.sleep(max(0.0, moment - time.monotonic()))
                answer = connection.ask(number)
                with lock:
                    result.note(number, answer, time.monotonic() - moment)
                    asked.done()
                    if answer[0] == 200:
                        steady.done()

    in_threads(client, OPEN_CLIENTS)
    result.asked = asked.rate
    return result.settle(target, steady.rate)


def in_threads(work: Callable[[], None], count: int) -> None:
    """Do something in so many threads at once."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[tuple[int, int]]:
    """Start a server that says where it listens; yield its port and process id; stop it."""
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True) as process:
        try:
            line = next((line for line in process.stderr or () if re.search(r"//127\.0\.0\.1:\d+", line)), "")
            found = re.search(r"//127\.0\.0\.1:(\d+)", line)
            if found is None:
                raise SystemExit(f"the server did not start: {' '.join(command)}")
            yield int(found[1]), process.pid
        finally:
            process.terminate()

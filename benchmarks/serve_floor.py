"""The least that any server costs on the cores that its clients share: `predict_many` on films that came by loopback.

Connections of another process send films as fast as they are taken. One thread receives each into memory of its own
with blocking calls, `predict_many` scores it, its connection gets a kilobyte back and sends the next. There is no HTTP,
no event loop, no queue, no limit and no answer that says anything.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import socket
import threading
from collections import deque
from collections.abc import Iterator

import numpy as np
import psutil
from serve_clients import Target, send_file
from steady_rate import SteadyRate

from xraytransfer import Classifier

ANSWER = bytes(1024)


def floor(classifier: Classifier, target: Target, clients: int, seconds: float) -> tuple[SteadyRate, float]:
    """Return films a second, and the senders' processor seconds for a film."""
    with socket.create_server(("127.0.0.1", 0), backlog=clients) as listener, contextlib.ExitStack() as stack:
        context = multiprocessing.get_context("fork")  # the films' files are open in this process
        sender = context.Process(target=_send, args=(target, listener.getsockname()[1], clients))
        sender.start()
        connections = [stack.enter_context(listener.accept()[0]) for _ in range(clients)]
        cost = psutil.Process(sender.pid)
        asked: deque[socket.socket] = deque()
        before, steady = sum(cost.cpu_times()[:2]), SteadyRate(seconds)
        for _ in classifier.predict_many(_received(connections, asked, steady), any_film=True):
            asked.popleft().sendall(ANSWER)
            steady.done()
        spent = sum(cost.cpu_times()[:2]) - before
        for connection in connections:
            connection.close()
        sender.join()
    return steady, spent / steady.films


def _received(
    connections: list[socket.socket], asked: deque[socket.socket], steady: SteadyRate
) -> Iterator[memoryview]:
    for connection in itertools.cycle(connections):
        if not steady.goes_on:
            return
        size = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
        film = np.empty(size, np.uint8).data
        if connection.recv_into(film, size, socket.MSG_WAITALL) < size:
            return
        asked.append(connection)
        yield film.toreadonly()


def _send(target: Target, port: int, clients: int) -> None:
    """Send films over so many connections until they are closed."""
    numbers = itertools.count()

    def client() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection, contextlib.suppress(OSError):
            while True:
                number = next(numbers) % len(target.films)
                size = len(target.films[number])
                connection.sendall(size.to_bytes(8, "big"))
                send_file(connection, target.bodies[number], size)
                if not connection.recv(len(ANSWER), socket.MSG_WAITALL):
                    return

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

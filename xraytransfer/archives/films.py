"""The films of a manifest: fetched from their stores in threads, and compared with what the manifest says of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, TypeAlias

from xraytransfer.archives.stores import Entry, fetch_errors, is_local, open_store
from xraytransfer.errors import RadiographError
from xraytransfer.ordered_threads import in_order
from xraytransfer.radiograph import MAX_PIXELS

__all__ = ["Fetcher", "fetch_all"]

Fetcher: TypeAlias = Callable[[str], bytes]
"""Returns the bytes of the film at an address; whatever it raises refuses that film."""

MAX_BYTES = 4 * MAX_PIXELS + (64 << 20)
"""Larger files are refused by the reader; they are not fetched."""


class _FetchedFilm(io.BytesIO):
    """A film in memory, named by its address."""

    def __init__(self, data: bytes, address: str) -> None:
        super().__init__(data)
        self.name = address


class _RefusedFilm(io.RawIOBase):
    """A film that was not fetched; reading it raises the error that says why."""

    def __init__(self, address: str, error: RadiographError) -> None:
        super().__init__()
        self.name = address
        self._error = error

    def read(self, size: int = -1, /) -> bytes:
        raise self._error


def fetch_all(entries: Iterable[Entry], readers: int, fetchers: dict[str, Fetcher]) -> Iterator[str | BinaryIO]:
    """Yield what `Classifier.predict_many` takes for each film, in order.

    Parameters
    ----------
    entries : iterable of Entry
        Rows of a manifest.
    readers : int
        Threads that fetch films; at most twice as many films are in memory.
    fetchers : dict
        Scheme -> function that fetches a film, for schemes that fsspec does not know.

    Yields
    ------
    str or binary file
        A path of this machine, or a film in memory. Where a film cannot be fetched, or is another one than the
        manifest lists, reading the file raises the `RadiographError`.
    """

    def fetch(entry: Entry) -> str | BinaryIO:
        try:
            with fetch_errors():
                return _fetch(entry, fetchers)
        except RadiographError as error:
            return _RefusedFilm(entry.address, error)  # type: ignore[return-value]  # read and name are all it needs

    return in_order(fetch, entries, readers, ahead=2 * readers)


def _fetch(entry: Entry, fetchers: dict[str, Fetcher]) -> str | BinaryIO:
    fetcher = fetchers.get(entry.address.partition("://")[0])
    if fetcher is not None:
        return _FetchedFilm(fetcher(entry.address), entry.address)
    store = open_store(entry.address)
    now = store.info()
    for what, listed, found in (("size", entry.size, now.size), ("version", entry.version, now.version)):
        if listed is not None and listed != found:
            raise RadiographError("changed", f"its {what} is {found}, the manifest says {listed}; list the films again")
    if (now.size or 0) > MAX_BYTES:
        raise RadiographError("too-large", f"{now.size:,} bytes, larger than {MAX_BYTES:,}")
    return store.path if is_local(entry.address) else _FetchedFilm(store.read_bytes(), entry.address)

"""Films of a whole DICOMweb service, for manifests: the schemes ``dicomweb+https`` and ``dicomweb+http``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xraytransfer.archives.films import Fetcher
    from xraytransfer.archives.listing import Lister, Position
    from xraytransfer.archives.stores import Entry

__all__ = ["fetchers", "listers"]

_PREFIX = "dicomweb+"
_SCHEMES = (f"{_PREFIX}https", f"{_PREFIX}http")


def listers(token: str | None) -> dict[str, Lister]:
    """Return the functions that list the films of a service, by scheme; `token` is sent as a bearer token."""

    def list_service(source: str, after: Position) -> Iterator[tuple[Position, list[Entry]]]:
        from xraytransfer.archives.stores import Entry
        from xraytransfer.serve.dicom.archive import films_of_service

        for examinations, addresses in films_of_service(source.removeprefix(_PREFIX), token, after or 0):
            yield examinations, [Entry(_PREFIX + address, None, None) for address in addresses]

    return dict.fromkeys(_SCHEMES, list_service)


def fetchers(token: str | None) -> dict[str, Fetcher]:
    """Return the functions that fetch a film of a service, by scheme."""

    def fetch(address: str) -> bytes:
        from xraytransfer.serve.dicom.archive import fetch_film

        return fetch_film(address.removeprefix(_PREFIX), token)

    return dict.fromkeys(_SCHEMES, fetch)

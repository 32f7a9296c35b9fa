"""Films of a whole DICOMweb service, for manifests: the schemes ``dicomweb+https`` and ``dicomweb+http``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xraytransfer.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

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

        for examinations, addresses in _services().films_of_service(source.removeprefix(_PREFIX), token, after or 0):
            yield examinations, [Entry(_PREFIX + address, None, None) for address in addresses]

    return dict.fromkeys(_SCHEMES, list_service)


def fetchers(token: str | None) -> dict[str, Fetcher]:
    """Return the functions that fetch a film of a service, by scheme."""

    def fetch(address: str) -> bytes:
        film: bytes = _services().fetch_film(address.removeprefix(_PREFIX), token)
        return film

    return dict.fromkeys(_SCHEMES, fetch)


def _services() -> ModuleType:
    """Return the module that speaks DICOMweb; where a package of it is absent, say that the extra ``serve`` has it."""
    try:
        from xraytransfer.serve.dicom import archive
    except ModuleNotFoundError as error:
        raise MissingExtraError("serve", (error.name or "").partition(".")[0]) from error
    return archive

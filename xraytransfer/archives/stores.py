"""Stores: folders and buckets that hold films, manifests and parts, reached through fsspec.

Conventions
-----------
An address is a path of this machine, or a URL of a scheme that fsspec knows, such as ``s3://bucket/folder/film.dcm``.
The libraries behind fsspec raise exceptions of many kinds that share no base class. This module turns each of them
into an error of ours, so that one store that fails does not end the work on all others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xraytransfer.errors import MissingExtraError, OutputError, RadiographError, XrayTransferError
from xraytransfer.files import write_with

__all__ = ["Entry", "Store", "absolute", "fetch_errors", "is_local", "open_store", "version_of"]

_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


@dataclass(frozen=True)
class Entry:
    """One file or folder in a store.

    Attributes
    ----------
    address : str
        Address of the entry; `open_store` takes it.
    size : int or None
        Bytes; None where the store does not tell.
    version : str or None
        What changes when the content changes: the ETag or generation that the store gives, or the time of the last
        change in nanoseconds; None where the store tells neither.
    is_folder : bool
    """

    address: str
    size: int | None
    version: str | None
    is_folder: bool = False


def is_local(address: str) -> bool:
    """Return whether an address is a path of this machine."""
    return "://" not in address or address.startswith(("file://", "local://"))


def version_of(info: dict[str, Any]) -> str | None:
    """Return the version of a file from fsspec's description of it; None where the store gives none.

    Stores name it differently: ``ETag`` (S3), ``etag`` (Azure), ``generation`` (Google), ``mtime`` (local disks).
    """
    for key in ("ETag", "etag", "generation", "mtime_ns", "mtime", "LastModified", "last_modified", "updated"):
        if info.get(key) is not None:
            return str(info[key]).strip('"')
    return None


@dataclass(frozen=True)
class Store:
    """A place in a store: a file or a folder.

    Attributes
    ----------
    address : str
        The address as it was given.
    file_system : fsspec.AbstractFileSystem
    path : str
        The place within the file system.
    """

    address: str
    file_system: Any
    path: str

    def entries(self) -> list[Entry]:
        """Return what lies directly in this folder, sorted by address; an empty list where there is no such folder.

        Links to folders are left out, as `predict` does, so that no walk is endless.
        """
        try:
            rows = self.file_system.ls(self.path, detail=True, refresh=True)
        except TypeError:  # file systems without a cache of listings know no refresh
            rows = self.file_system.ls(self.path, detail=True)
        except FileNotFoundError:
            return []
        return sorted((self._entry(row) for row in rows if self._is_inside(row)), key=lambda entry: entry.address)

    def _is_inside(self, row: dict[str, Any]) -> bool:
        """Return whether a row is neither a link to a folder nor a mark of the folder itself.

        Some buckets hold such a mark as an empty object.
        """
        if row.get("islink") and os.path.isdir(row["name"]):
            return False
        return str(row["name"]).rstrip("/") != self.path.rstrip("/")

    def _entry(self, row: dict[str, Any]) -> Entry:
        if is_local(self.address):
            return _local_entry(str(row["name"]))
        address = f"{self.address.partition('://')[0]}://{row['name']}"
        return Entry(address, row.get("size"), version_of(row), row["type"] == "directory")

    def info(self) -> Entry:
        """Return size and version of this file.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        """
        if is_local(self.address):
            return _local_entry_of(self.address, os.stat(self.path))
        self.file_system.invalidate_cache(self.path)
        row = self.file_system.info(self.path)
        return Entry(self.address, row.get("size"), version_of(row), row["type"] == "directory")

    def exists(self) -> bool:
        """Return whether there is such a file now, whatever was listed before."""
        with store_errors(self.address):
            try:
                self.info()
            except FileNotFoundError:
                return False
        return True

    def read_bytes(self) -> bytes:
        """Return the whole content of this file."""
        data: bytes = self.file_system.cat_file(self.path)
        return data

    def write_bytes(self, data: bytes) -> None:
        """Write this file whole or not at all: by a temporary file that is renamed, or by one request to the store.

        Raises
        ------
        OutputError
            The store does not take it.
        """
        with store_errors(self.address):
            if is_local(self.address):
                write_with(Path(self.path), lambda temporary: temporary.write_bytes(data))
            else:
                self.file_system.pipe_file(self.path, data)

    def delete(self) -> None:
        """Delete this file; nothing happens where there is none."""
        with store_errors(self.address):
            try:
                self.file_system.rm_file(self.path)
            except FileNotFoundError:
                return

    def below(self, name: str) -> Store:
        """Return a place in this folder."""
        return Store(f"{self.address.rstrip('/')}/{name}", self.file_system, f"{self.path.rstrip('/')}/{name}")

    def open(self) -> Any:
        """Open this file for reading, as a binary file object in which positions can be sought."""
        with store_errors(self.address):
            return self.file_system.open(self.path, "rb")


def _local_entry(address: str) -> Entry:
    """Return a file or folder of this machine; without size and version where it is gone, or a link that leads nowhere.

    A film is read through a link, so size and version are those of the file that the link leads to.
    """
    try:
        return _local_entry_of(address, os.stat(address))
    except OSError:
        return Entry(address, None, None)


def _local_entry_of(address: str, status: os.stat_result) -> Entry:
    return Entry(address, status.st_size, str(status.st_mtime_ns), stat.S_ISDIR(status.st_mode))


def absolute(address: str) -> str:
    """Return a path in a form that holds in any working directory; addresses of stores stay as they are."""
    return address if "://" in address else os.path.abspath(address)


def open_store(address: str) -> Store:
    """Return the place that an address names; nothing is read yet.

    Raises
    ------
    MissingExtraError
        The library for the address's scheme is not installed.
    XrayTransferError
        The scheme is unknown, or the address is none.
    """
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtraError("parquet", "fsspec") from error
    scheme = address.partition("://")[0]
    if "://" not in address:  # for fsspec, :: in a path would join two addresses
        return Store(address, fsspec.filesystem("file"), os.path.abspath(address))
    try:
        file_system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise MissingExtraError("remote", _PACKAGES.get(scheme, scheme)) from error
    except Exception as error:  # each library has its own kind for an address that it cannot use
        raise XrayTransferError(f"{address}: no address of a store ({_one_line(error)})") from error
    return Store(address, file_system, path)


@contextmanager
def store_errors(address: str) -> Iterator[None]:
    """Turn whatever a store's library raises into an `OutputError` that names the address."""
    try:
        yield
    except XrayTransferError:
        raise
    except Exception as error:
        raise OutputError(f"{address}: the store refuses or does not answer: {_one_line(error)}") from error


@contextmanager
def fetch_errors() -> Iterator[None]:
    """Turn whatever fetching a film raises into a `RadiographError` whose reason is one that may pass."""
    try:
        yield
    except RadiographError:
        raise
    except FileNotFoundError:
        raise RadiographError("not-found", "no such file") from None
    except PermissionError:
        raise RadiographError("unreadable", "the store denies reading it") from None
    except Exception as error:
        raise RadiographError("unavailable", f"the store does not give it ({type(error).__name__})") from error


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]

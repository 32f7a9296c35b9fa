"""Fixtures: a folder of drawn films, its manifest, an archive that is scored by a toy model, and an S3 on loopback."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xraytransfer.archives.listing import list_films
from xraytransfer.archives.manifest import open_manifest
from xraytransfer.archives.shards import Archive, ShardOptions, open_archive
from xraytransfer.archives.stores import open_store
from xraytransfer.classifier import Classifier, load


def draw_films(folder: Path, number: int) -> None:
    """Write drawn pictures into a folder and two folders below it."""
    rng = np.random.default_rng(number)
    for i in range(number):
        path = folder / ("", "a", "b")[i % 3] / f"film-{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (80, 64), dtype=np.uint8)).save(path)


@pytest.fixture(scope="session")
def toy_classifier(toy_model: Path) -> Classifier:
    """Return a toy model, ready to score."""
    return load(toy_model, device="cpu", threads=1)


@pytest.fixture(autouse=True)
def packages() -> None:
    """Skip every test of this folder where a package is absent, and say which."""
    for name in ("pyarrow", "s3fs"):
        pytest.importorskip(name, reason="pip install 'xraytransfer[remote]'")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try films again at once."""
    monkeypatch.setattr("xraytransfer.archives.shards.FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Return a folder of 20 films."""
    draw_films(tmp_path / "films", 20)
    return tmp_path / "films"


@pytest.fixture
def manifest(films: Path, tmp_path: Path) -> Path:
    """Return the manifest of the 20 films."""
    list_films([str(films)], tmp_path / "films.manifest")
    return tmp_path / "films.manifest"


@pytest.fixture
def make_archive(toy_classifier: Classifier, manifest: Path, tmp_path: Path) -> Callable[..., Archive]:
    """Return a function that opens an archive of three shards; its arguments replace the archive's attributes."""

    def make(folder: str = str(tmp_path / "scores"), manifest: Path = manifest, **changes: Any) -> Archive:
        archive = Archive(
            open_manifest(str(manifest)),
            open_store(folder),
            3,
            toy_classifier,
            ShardOptions(),
            readers=2,
            retries=1,
        )
        archive = dataclasses.replace(archive, **changes)
        open_archive(archive)
        return archive

    return make


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of an empty bucket of an S3 service on loopback."""
    server_module = pytest.importorskip("moto.server", reason="pip install 'moto[server,s3]'")
    import requests
    import s3fs

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    requests.post(f"http://{host}:{port}/moto-api/reset", timeout=10).raise_for_status()
    s3fs.S3FileSystem().mkdir("films")
    yield "s3://films"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()

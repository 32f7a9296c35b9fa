"""Google's and Azure's stores, by emulators on loopback, and a DICOMweb service: films listed, scored, collected."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from peers import free_port, need, wait_for
from xraytransfer.archives.collection import collect
from xraytransfer.archives.listing import list_films
from xraytransfer.archives.manifest import open_manifest
from xraytransfer.archives.shards import Archive

ROOT = Path(__file__).resolve().parents[2]
AZURITE = ROOT / "tests" / "node_peers" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
# the emulator's own account, which its documentation publishes
AZURE_ACCOUNT = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
)

pytestmark = [
    pytest.mark.peer,
    # the clients of both stores leave their sessions to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def _google(port: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    program = Path(sys.executable).with_name("gcp-storage-emulator")
    # read when gcsfs is imported; else it also asks by gRPC, which the emulator does not speak
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    pytest.importorskip("gcsfs", reason="pip install 'xraytransfer[remote]'")
    if not program.is_file():
        pytest.skip("the emulator of Google's storage is not installed: pip install gcp-storage-emulator")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    return [str(program), "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]


def _azure(port: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pytest.importorskip("adlfs", reason="pip install 'xraytransfer[remote]'")
    if not AZURITE.is_file() or shutil.which("node") is None:
        pytest.skip("Azurite is not here: npm ci --ignore-scripts in tests/node_peers/")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", AZURE_ACCOUNT.format(port=port))
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    return ["node", str(AZURITE), *options]


@pytest.fixture(params=["gs", "az"])
def container(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[str, fsspec.AbstractFileSystem]]:
    """Return the address of an empty bucket or container, and its file system."""
    port = free_port()
    command = {"gs": _google, "az": _azure}[request.param](port, monkeypatch)
    with (tmp_path / "log").open("wb") as log:
        emulator = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    file_system = fsspec.filesystem(request.param, skip_instance_cache=True, **_OPTIONS[request.param])
    try:
        wait_for(lambda: _made(file_system), 60)
        yield f"{request.param}://films", file_system
    finally:
        emulator.terminate()
        emulator.wait(30)


_OPTIONS: dict[str, dict[str, str]] = {"gs": {"token": "anon", "project": "test"}, "az": {}}


def _made(file_system: fsspec.AbstractFileSystem) -> bool:
    """Make the bucket; return False while the emulator does not answer yet."""
    try:
        file_system.mkdir("films")
    except Exception:  # noqa: BLE001 - each client raises its own
        return False
    return True


def test_films_and_parts(
    container: tuple[str, fsspec.AbstractFileSystem],
    make_archive: Callable[..., Archive],
    films: Path,
    tmp_path: Path,
):
    address, file_system = container
    for path in films.rglob("*.png"):
        file_system.pipe_file(f"films/in/{path.relative_to(films)}", path.read_bytes())
    list_films([f"{address}/in"], tmp_path / "store.manifest")
    rows = list(open_manifest(str(tmp_path / "store.manifest")).read())
    assert {row.address for row in rows} == {f"{address}/in/{path.relative_to(films)}" for path in films.rglob("*.png")}
    assert all(row.size and row.version for row in rows)
    archive = make_archive(f"{address}/scores", manifest=tmp_path / "store.manifest")
    for shard in (1, 2, 3):
        assert archive.score(shard).state == "done"
    assert archive.score(2).state == "there"
    assert collect(archive.folder, tmp_path / "all.parquet", manifest=archive.manifest) == {"ok": 20}


def test_dicomweb_service(sample_film: Callable[[str], Path], toy_model: Path, tmp_path: Path):
    need("Orthanc", "storescu")
    pytest.importorskip("dicomweb_client", reason="pip install 'xraytransfer[serve]'")
    from pydicom.data import get_testdata_file

    from orthanc import WEB_PLUGINS, Orthanc

    if not WEB_PLUGINS[0].is_file():
        pytest.skip("Orthanc's DICOMweb plugin is not installed: apt-get install orthanc-dicomweb")
    orthanc = Orthanc(tmp_path / "orthanc")
    orthanc.start()
    try:
        for film in (sample_film("RG1_UNCR"), sample_film("RG3_UNCR"), get_testdata_file("CT_small.dcm")):
            subprocess.run(["storescu", "-aec", "ORTHANC", "127.0.0.1", str(orthanc.port), film], check=True)
        source = f"dicomweb+http://127.0.0.1:{orthanc.web_port}/dicom-web"
        program = [sys.executable, "-m", "xraytransfer"]
        manifest, scores, output = tmp_path / "films.manifest", tmp_path / "scores", tmp_path / "all.csv"
        subprocess.run([*program, "manifest", source, "-o", manifest], check=True)
        assert open_manifest(str(manifest)).rows == 2  # the CT image is none
        options = ["--model", toy_model, "--device", "cpu", "--manifest", manifest, "-o", scores, "--retries", "0"]
        subprocess.run([*program, "predict", *options], check=True)
        subprocess.run([*program, "collect", scores, "-o", output, "--manifest", manifest], check=True)
        assert [output.read_text().count(f'"{status}"') for status in ("ok", "not-a-radiograph")] == [1, 1]
    finally:
        orthanc.stop()
    again = subprocess.run(
        [*program, "predict", *options, "-o", tmp_path / "down"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert "2 films were not given by their store" in again.stderr

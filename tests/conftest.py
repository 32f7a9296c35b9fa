"""Fixtures: where tests find real films, and the smallest true model file."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of public films beside the checkout, or skip the test and say so."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real films (../shared/data) is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def sample_film() -> Callable[[str], Path]:
    """Return a function from a name such as ``RG1_UNCR`` to the film's path in the package pydicom-data."""
    return _sample_film


def _sample_film(name: str) -> Path:
    spec = importlib.util.find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package pydicom-data is not installed: pip install 'xraytransfer[sample]'")
    for root in spec.submodule_search_locations:
        path = Path(root) / "data" / f"{name}.dcm"
        if path.is_file():
            return path
    pytest.skip(f"pydicom-data holds no file {name}.dcm")


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small model file that fulfils the whole contract: two members of one convolution each."""
    path = tmp_path_factory.mktemp("model") / "toy.onnx"
    write_toy_model(path)
    return path


@pytest.fixture(scope="session")
def gated_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a toy model file with a quality gate that takes bright films for inverted ones."""
    path = tmp_path_factory.mktemp("gated-model") / "gated.onnx"
    write_toy_model(path, quality_gate=True)
    return path


@pytest.fixture(scope="session")
def toy_model_writer() -> Callable[..., None]:
    """Return `write_toy_model`, for tests that need a changed or broken model file."""
    return write_toy_model


def write_toy_model(
    path: Path,
    *,
    resolution: int = 32,
    outputs: tuple[str, ...] | None = None,
    quality_gate: bool = False,
    **changes: Any,
) -> None:
    """Write a toy model file; `changes` replace entries of its metadata, `outputs` names the graph's.

    A toy `quality_gate` calls bright films inverted; a film's distance, and its
    probability of being mirrored, is its mean grey level, 0 to 1.
    """
    onnx = pytest.importorskip("onnx")
    from xraytransfer.model_file import METADATA_KEY, graph_sha256

    model = _toy_graph(onnx, resolution, outputs, quality_gate)
    metadata = toy_metadata(resolution)
    if quality_gate:
        from xraytransfer.quality_gate import KINDS

        metadata["schema_version"] = 2
        metadata["acceptance"] = {"kinds": list(KINDS), "minimum_probability": 0.5, "maximum_distance": 0.9}
    metadata["graph_sha256"] = graph_sha256(model.SerializeToString())
    metadata.update(changes)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(metadata)
    path.write_bytes(model.SerializeToString())


def toy_metadata(resolution: int) -> dict[str, Any]:
    """Return metadata of schema version 1 for the toy model."""
    from xraytransfer.observations import OBSERVATIONS

    return {
        "schema_version": 1,
        "name": "toy",
        "version": "1",
        "created": "2026-01-01T00:00:00Z",
        "writer": "tests",
        "observations": [{"identifier": row.identifier, "name": row.name} for row in OBSERVATIONS],
        "input": {"resolution": [resolution, resolution], "intensity": "voi"},
        "members": [{"architecture": "toy", "sha256": "0" * 64}] * 2,
        "metrics": [],
        "operating_points": [
            {"name": "youden", "observation": row.identifier, "threshold": 0.4 + 0.02 * i}
            for i, row in enumerate(OBSERVATIONS)
        ],
        "default_operating_point": "youden",
        "precision": "float32",
        "licence": "Apache-2.0",
    }


def _toy_graph(onnx: Any, resolution: int, outputs: tuple[str, ...] | None, quality_gate: bool) -> Any:
    rng = np.random.default_rng(7)
    helper, numpy_helper, kind = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    constants = {
        "sizes": np.array([resolution, resolution], np.int64),
        "scale": np.array(1 / 255, np.float32),
        "one": np.array([1], np.int64),
        "spatial": np.array([2, 3], np.int64),
    }
    for member in "ab":
        constants[f"weight_{member}"] = rng.normal(0, 0.5, (6, 1, 3, 3)).astype(np.float32)
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["float"], to=kind.FLOAT),
        node("Resize", ["float", "", "", "sizes"], ["small"], mode="linear", antialias=1, axes=[2, 3]),
        node("Mul", ["small", "scale"], ["input"]),
    ]
    for member in "ab":
        nodes += [
            node("Conv", ["input", f"weight_{member}"], [f"map_{member}"]),
            node("ReduceMean", [f"map_{member}", "spatial"], [f"logit_{member}"], keepdims=0),
            node("Sigmoid", [f"logit_{member}"], [f"flat_{member}"]),
            node("Unsqueeze", [f"flat_{member}", "one"], [f"probability_{member}"]),
        ]
    nodes += [
        node("Concat", ["probability_a", "probability_b"], ["member_probability"], axis=1),
        node("Mean", ["flat_a", "flat_b"], ["probability"]),
        node("Mean", ["map_a", "map_b"], ["activation_map"]),
    ]
    if quality_gate:
        constants["kind_weight"] = np.array([[-40, 0, 0, 0, 40, 0]], np.float32)
        constants["kind_bias"] = np.array([20, -50, -50, -50, -20, -50], np.float32)
        nodes += [
            node("ReduceMean", ["input", "spatial"], ["grey"], keepdims=0),
            node("MatMul", ["grey", "kind_weight"], ["kind_slope"]),
            node("Add", ["kind_slope", "kind_bias"], ["kind_logit"]),
            node("Softmax", ["kind_logit"], ["film_kind"], axis=1),
            node("Squeeze", ["grey", "one"], ["film_distance"]),
            node("Identity", ["film_distance"], ["film_mirrored"]),
        ]
    shapes = {
        "probability": ["batch", 6],
        "member_probability": ["batch", 2, 6],
        "activation_map": ["batch", 6, resolution - 2, resolution - 2],
        **({"film_kind": ["batch", 6], "film_distance": ["batch"], "film_mirrored": ["batch"]} if quality_gate else {}),
    }
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", kind.UINT8, ["batch", 1, "height", "width"])],
        [helper.make_tensor_value_info(name, kind.FLOAT, shapes[name]) for name in outputs or shapes],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="session")
def dicom_film() -> Callable[..., bytes]:
    """Return `write_dicom_film`."""
    return write_dicom_film


def write_dicom_film(
    stored: np.ndarray, *, syntax: str = "1.2.840.10008.1.2.1", stream: bytes | None = None, **attributes: Any
) -> bytes:
    """Return a chest film as a DICOM file.

    `stored` are the words; `stream` is their codestream where the transfer syntax is a compressed one. Further
    attributes are set by keyword; None leaves one out.
    """
    import io

    from pydicom import config
    from pydicom.datadict import dictionary_VR
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    bits = 8 * stored.itemsize
    values = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "SOPInstanceUID": "1.2.3",
        "Modality": "CR",
        "PatientName": "Doe^Jane",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": int(attributes.get("BitsStored") or bits) - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        **attributes,
    }
    dataset = Dataset()
    for keyword, value in values.items():
        if value is not None:
            # Not checked: tests write what no valid file holds, too.
            dataset.add(DataElement(keyword, dictionary_VR(keyword)[:2], value, validation_mode=config.IGNORE))
    order = ">" if syntax == "1.2.840.10008.1.2.2" else "<"
    plain = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = plain + b"\0" * (len(plain) % 2) if stream is None else encapsulate([stream])
    dataset["PixelData"].VR = "OW" if stream is None else "OB"
    dataset["PixelData"].is_undefined_length = stream is not None
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1")
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def one_thread() -> None:
    """Let torch use one thread: the same sums in the same order everywhere, and nothing beside it is slowed."""
    pytest.importorskip("torch").set_num_threads(1)


@pytest.fixture(scope="session")
def made_up_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 300 made-up films of 150 patients in NIH's layout; copy it before changing it."""
    folder = tmp_path_factory.mktemp("films")
    _write_films(folder)
    return folder


def _write_films(folder: Path) -> None:
    """Write films in NIH's layout: noise, brighter in one quarter where there is an effusion."""
    from PIL import Image

    rng = np.random.default_rng(3)
    names = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion")
    (folder / "images").mkdir(parents=True)
    lines = ["Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position"]
    for index in range(300):
        found = [name for name in names if rng.random() < 0.3]
        pixels = rng.normal(90, 30, (96, 80))
        for quarter, name in enumerate(names[:4]):
            rows, columns = divmod(quarter, 2)
            pixels[rows * 48 :, columns * 40 :] += 40 * (name in found)
        image = f"{index // 2:08d}_{index % 2:03d}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / image)
        view, sex = ("PA", "AP")[index % 3 == 0], "MF"[index // 2 % 2]
        lines.append(f"{image},{'|'.join(found) or 'No Finding'},{index // 2},{20 + index % 70},{sex},{view}")
    (folder / "Data_Entry.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def locks_that_hold_nothing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which every lock succeeds and keeps nobody out, as on other network disks."""
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("no-op")
    (folder / "flock.c").write_text("int flock(int fd, int op) { (void)fd; (void)op; return 0; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "flock.so", folder / "flock.c"], check=True)
    return {**os.environ, "LD_PRELOAD": str(folder / "flock.so")}

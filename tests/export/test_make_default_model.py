"""The command behind the shipped model, whole: from drawn films and random weights to two files that verify.

The networks and the options are those of the shipped model; films and steps are few. The files know nothing: what is
tested is that every step finds what the one before it made.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from safetensors.torch import save_file  # noqa: E402

from xraytransfer.model_file import describe  # noqa: E402
from xraytransfer.study.phantoms.drawing import SIGNS, Anatomy, draw_frontal, draw_lateral  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(sys.platform == "win32", reason="a bash script"),
    pytest.mark.skipif(
        not os.environ.get("XRAYTRANSFER_REHEARSE"),
        reason="takes many minutes: XRAYTRANSFER_REHEARSE=1 pytest tests/export/test_make_default_model.py",
    ),
]

ROOT = Path(__file__).parents[2]
FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "No Finding", "Pleural Effusion")
PATIENTS = 110
READERS = 3
Row = dict[str, object]


def draw_patient(number: int, path: Path) -> dict[str, int]:
    """Draw one film and return what it shows: 1 or 0 for each of `FINDINGS`."""
    generator = np.random.default_rng([7, number])
    severity = {sign: float(generator.uniform(0.4, 1)) for sign in SIGNS if generator.random() < 0.3}
    film = draw_frontal(Anatomy.draw(generator), severity, generator, size=128)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(film).save(path)
    shown = {name: int(name.lower().replace(" ", "_") in severity) for name in FINDINGS}
    return {**shown, "No Finding": int(not severity)}


def person(number: int) -> Row:
    position = {"Patient ID": number, "Patient Age": 20 + number % 70, "View Position": ("PA", "AP")[number % 2]}
    return {**position, "Patient Sex": "MF"[number // 2 % 2], "Source Width": 1024}


def write_table(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_sample(folder: Path) -> None:
    """Write films to learn from, one of each patient."""
    rows = []
    for number in range(1, PATIENTS + 1):
        image = f"{number:08d}_000.png"
        shown = draw_patient(number, folder / "images" / image)
        words = [{"Pleural Effusion": "Effusion"}.get(name, name) for name in FINDINGS if shown[name]]
        rows.append({"Image Index": image, "Finding Labels": "|".join(words), **person(number), **shown})
    write_table(folder / "Data_Entry.csv", rows)


def write_expert(folder: Path) -> None:
    """Write films of strangers with labels, readers and boxes, and a table of films to learn from that are normal."""
    labels, readers, boxes = [], [], []
    generator = np.random.default_rng(8)
    for number in range(9000, 9060):
        image = f"{number:08d}_000.jpg"
        shown = draw_patient(number, folder / "images" / image)
        mined = {f"{name} by NIH": value ^ int(generator.random() < 0.2) for name, value in shown.items()}
        use = ("choose", "judge")[number % 2]
        labels.append(
            {"Image Index": image, **person(number), "Patient In nih-sample": 0, **shown, **mined, "Use": use}
        )
        for reader in range(READERS):
            answers = {name: value ^ int(generator.random() < 0.2) for name, value in shown.items()}
            readers.append({"Image Index": image, "Reader": f"reader {reader + 1}", **answers})
        if shown["Cardiomegaly"]:
            box = {"x": 300, "y": 400, "w": 400, "h": 400}
            boxes.append({"Image Index": image, "Finding Label": "Cardiomegaly", **box})
    normal = [{"Image Index": f"{number:08d}_000.png", "RSNA Normal": 1} for number in range(1, PATIENTS, 9)]
    for name, rows in (("Expert_Labels", labels), ("Readers", readers), ("boxes", boxes), ("extra_labels", normal)):
        write_table(folder / f"{name}.csv", rows)


def write_others(folder: Path) -> None:
    """Write pictures of other things, and films of further sources, as scripts/collect_other_pictures does."""
    generator = np.random.default_rng(9)
    for use, kinds in (("given", ("photograph", "texture")), ("unseen", ("sky",))):
        for kind in kinds:
            (folder / use / kind).mkdir(parents=True)
            for index in range(3):
                noise = generator.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(noise).resize((160, 160)).save(folder / use / kind / f"{index}.png")
    sources = {"train/projected-lateral/ct": 2, "limits/frontal/elsewhere": 8, "judge/frontal/elsewhere": 4}
    for first, (source, patients) in enumerate({**sources, "judge/lateral/laterals": 4}.items()):
        for patient in range(patients):
            draw = draw_lateral if "lateral" in source.split("/")[1] else draw_frontal
            drawn = np.random.default_rng([10, first, patient])
            path = folder / "films" / source / str(100 * first + patient) / "1.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(draw(Anatomy.draw(drawn), {}, drawn, size=128)).save(path)


def write_weights(folder: Path) -> None:
    """Write random weights in timm's layout."""
    folder.mkdir()
    torch.manual_seed(0)
    for name in ("resnet50", "tf_efficientnet_lite0", "mobilenetv2_100"):
        save_file(timm.create_model(name).state_dict(), folder / f"{name}.safetensors")


def outcome_of(command: Sequence[str | Path], environment: dict[str, str]) -> str:
    """Run a command and return its output; the test fails with it where the command fails."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Return a folder with everything that the command takes, and an environment with this xraytransfer in its PATH."""
    folder = tmp_path_factory.mktemp("made")
    write_sample(folder / "data" / "nih-sample")
    write_expert(folder / "data" / "nih-expert")
    write_others(folder / "others")
    write_weights(folder / "weights")
    command = folder / "bin" / "xraytransfer"
    command.parent.mkdir()
    command.write_text(f'#!/usr/bin/env bash\nexec "{sys.executable}" -m xraytransfer "$@"\n')
    command.chmod(0o755)
    search = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    path = os.pathsep.join([str(command.parent), os.environ["PATH"]])
    return folder, {**os.environ, "PATH": path, "PYTHONPATH": search, "REHEARSAL": "1"}


def check_file(folder: Path, path: Path, name: str, environment: dict[str, str]) -> None:
    """Check that a model file is whole, that its numbers can be computed again, and that it scores films."""
    for ending in (".md", ".html", ".test.csv", ".external-nih-expert.csv"):
        assert path.with_suffix(ending).stat().st_size > 0
    document = describe(path).document
    assert (document["name"], document["version"]) == (name, "4")
    sample, expert = folder / "data" / "nih-sample", folder / "data" / "nih-expert"
    external = ["--external", ROOT / "docs" / "study-nih-sample" / "nih-expert.json", expert]
    verified = outcome_of(["xraytransfer", "models", "verify", path, "--metrics", sample, *external], environment)
    for found in ("answers are right", "17 films scored again", "nih-expert: 60 films scored again"):
        assert found in verified
    for films in (expert / "images" / "00009000_000.jpg", sample / "images"):
        outcome_of(["xraytransfer", "predict", films, "--model", path, "--any-film"], environment)


def test_from_nothing_to_two_files_that_verify(place: tuple[Path, dict[str, str]]) -> None:
    folder, environment = place
    words = [folder / name for name in ("data", "weights", "others", "results", "model.onnx")]
    outcome_of([ROOT / "scripts" / "make_default_model", *words], environment)
    check_file(folder, folder / "model.onnx", "default", environment)
    check_file(folder, folder / "model-small.onnx", "default-small", environment)
    assert list((folder / "results" / "members").glob("*.safetensors"))

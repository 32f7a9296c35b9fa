"""A quality gate in an exported file, robustness, and the numbers of the card computed again."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest

timm = pytest.importorskip("timm")
pytest.importorskip("onnxscript")

import torch  # noqa: E402
from click.testing import CliRunner  # noqa: E402

import xraytransfer  # noqa: E402
from xraytransfer.classifier import Classifier  # noqa: E402
from xraytransfer.cli.models import models  # noqa: E402
from xraytransfer.errors import ExportError, ModelFileError  # noqa: E402
from xraytransfer.export import trials  # noqa: E402
from xraytransfer.export.checks import flip_widths  # noqa: E402
from xraytransfer.export.checks.metrics_check import verify_metrics  # noqa: E402
from xraytransfer.export.checks.predictions_file import predictions_path, read_test_predictions  # noqa: E402
from xraytransfer.export.checks.quality_gate_parity import quality_gate_parity  # noqa: E402
from xraytransfer.export.checks.release_checks import ReleaseChecks  # noqa: E402
from xraytransfer.export.checks.robustness import VARIANTS, measure_robustness  # noqa: E402
from xraytransfer.export.exporter import export_runs  # noqa: E402
from xraytransfer.export.options import ExportOptions  # noqa: E402
from xraytransfer.export.triton import config_text  # noqa: E402
from xraytransfer.files import read_json  # noqa: E402
from xraytransfer.model_file import describe, read  # noqa: E402
from xraytransfer.model_metadata import schema  # noqa: E402
from xraytransfer.quality_gate import KINDS  # noqa: E402
from xraytransfer.resize import resize  # noqa: E402
from xraytransfer.study.networks.architectures import find_architecture  # noqa: E402
from xraytransfer.study.quality_gate.network import empty_quality_gate, load_quality_gate, save_quality_gate  # noqa: E402

pytestmark = pytest.mark.usefixtures("remembered_traces")


@pytest.fixture(scope="module")
def gate_folder(toy_runs, tmp_path_factory):
    """Return a quality gate's folder, of the runs' split: random weights, limits that let most films through."""
    folder = tmp_path_factory.mktemp("judge")
    torch.manual_seed(4)
    row = find_architecture("toy_resnet")
    judge = empty_quality_gate(row, 1, 48).train()
    with torch.no_grad():
        judge.network(torch.rand(64, 1, 48, 48) * 255)  # batch statistics that fit
        judge.eval()
        judge.fit_distance(judge.features(torch.rand(200, 1, 48, 48) * 255))
    rows = [{"what": "test films as they are", "kind": "upright", "films": 90, "accepted": 89, "named": 89}]
    document = {"row": row.to_dict(), "truncation": 1, "side": 48, "kinds": list(KINDS), "minimum_probability": 0.0}
    document |= {"minimum_mirrored_probability": 0.9}
    document |= {"maximum_distance": 1e6, "split": read_json(toy_runs[0] / "config.json")["split"], "evaluation": rows}
    save_quality_gate(folder, judge, document)
    return folder


@pytest.fixture(scope="module")
def exported(toy_runs, gate_folder, tmp_path_factory, remembered_traces):
    path = tmp_path_factory.mktemp("gated") / "gated.onnx"
    few = tuple(variant for variant in VARIANTS if variant.name in ("dicom-8", "rotated"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "VARIANTS", few)
        patch.setattr(trials, "FILMS", 30)
        patch.setattr(flip_widths, "FEWEST", 1)  # of 30 films few decisions flip
        options = ExportOptions(device="cpu", quality_gate=gate_folder, robustness=True, precision="float16-weights")
        export_runs(toy_runs[:1], path, options, lambda _: None)
    return path


def test_the_file_answers_as_the_trained_quality_gate_does(exported, gate_folder, toy_runs):
    classifier = xraytransfer.load(exported, device="cpu")
    judge, _ = load_quality_gate(gate_folder)
    film = toy_runs[0].parents[1] / "films" / "images" / "00000001_000.png"
    found = classifier.predict(film).acceptance
    small = resize(classifier.read(film).pixels, (64, 64))
    small = resize(small, (48, 48))
    with torch.no_grad():
        kinds, distance, mirrored = judge(torch.from_numpy(small[None, None].copy()).float())
    np.testing.assert_allclose(list(found.kind_probability.values()), kinds[0].numpy(), atol=0.02)
    assert found.distance == pytest.approx(float(distance[0]), rel=0.02)
    assert found.mirrored_probability == pytest.approx(float(mirrored[0]), abs=0.02)
    assert describe(exported).document["parity"]["judge"]["max_abs_difference"] <= 0.02


def test_the_description_fulfils_the_schema_and_holds_no_more_than_readers_need(exported):
    jsonschema = pytest.importorskip("jsonschema")
    document = read(exported, verify=True)[0].document
    jsonschema.validate(document, schema())
    assert document["schema_version"] == 3
    assert document["acceptance"]["kinds"] == list(KINDS)
    assert "split" not in document["acceptance"]


def test_the_cards_say_what_is_accepted_and_what_moves_the_answers(exported):
    card = exported.with_suffix(".md").read_text()
    assert "| test films as they are |  |  | 90 | 89 (98.9 %) |" in card
    assert "Side views may pass: none were at hand" in card
    assert "left and right may be exchanged" in card
    assert "turned by 5 degrees" in card
    assert "Robustness" in exported.with_suffix(".html").read_text()


def test_thresholds_have_flip_widths_and_results_say_what_is_near(exported, toy_runs):
    description = describe(exported)
    widths = description.flip_widths()
    assert any(widths)
    assert "flip width" in exported.with_suffix(".md").read_text()
    classifier = Classifier(exported, device="cpu")
    films = sorted((toy_runs[0].parents[1] / "films" / "images").glob("*.png"))[:20]
    for result in classifier.predict_many(films, any_film=True):
        distance = np.abs(result.probability - np.array(description.thresholds()))
        assert result.near_threshold == tuple(
            None if width is None else near <= width for near, width in zip(distance, widths, strict=True)
        )


def test_a_film_stored_otherwise_is_answered_alike(exported):
    rows = {row["variant"]: row for row in describe(exported).document["robustness"]}
    assert list(rows) == ["as-is", "dicom-8", "rotated"]
    assert rows["dicom-8"]["largest_change"] == 0
    assert rows["dicom-8"]["auroc_difference"] == 0
    assert rows["rotated"]["largest_change"] > 0
    assert rows["dicom-8"]["relative_change"] == 0 < rows["rotated"]["relative_change"]
    assert rows["as-is"]["refused"] == 0


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_variant_is_a_film_that_can_be_read(exported, variant):
    classifier = xraytransfer.load(exported, device="cpu")
    film = np.random.default_rng(0).integers(0, 256, (96, 80), dtype=np.uint8)
    read_again = classifier.read(variant.make(film, np.random.default_rng(1)))
    if variant.name == "half-size":
        assert read_again.pixels.shape == (48, 40)
    elif variant.name == "cropped":
        assert read_again.pixels.shape == (94, 78)
    else:
        assert read_again.pixels.shape == film.shape
    if variant.name in ("dicom-12", "dicom-16", "monochrome1", "rounded"):
        assert np.abs(read_again.pixels.astype(int) - film).max() <= 1


def test_a_quality_gate_of_another_split_is_refused(toy_runs, gate_folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(gate_folder, other)
    judge, document = load_quality_gate(other)
    save_quality_gate(other, judge, {**document, "split": {**document["split"], "sha256": "0" * 64}})
    with pytest.raises(ExportError, match="another division of patients"):
        export_runs(toy_runs[:1], tmp_path / "x.onnx", ExportOptions(device="cpu", quality_gate=other), lambda _: None)
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize(("output", "change"), [(0, np.nan), (1, np.nan), (1, 1.1), (2, np.nan)])
def test_a_graph_whose_quality_gate_answers_otherwise_is_refused(output, change):
    """Each output is compared, and NaN is no agreement."""
    torch.manual_seed(4)
    judge = empty_quality_gate(find_architecture("toy_resnet"), 1, 48).eval()
    with torch.no_grad():
        judge.fit_distance(judge.features(torch.rand(200, 1, 48, 48) * 255))

    class Session:
        """A graph that answers as the network does, but for one output that is multiplied by a number."""

        def __init__(self, factor):
            self._factor = factor

        def run(self, names, feeds):
            small = resize(resize(feeds["image"][0, 0], (64, 64)), (48, 48))
            answers = judge(torch.from_numpy(small[None, None].copy()).float())
            return [a.numpy() * (self._factor if i == output else 1) for i, a in enumerate(answers)]

    films = [np.random.default_rng(i).integers(0, 256, (90, 80), dtype=np.uint8) for i in range(2)]
    gates = [ReleaseChecks(force, lambda _: None) for force in (False, True)]
    assert quality_gate_parity(judge, Session(1), films, (64, 64), gates[0])["passed"]
    with pytest.raises(ExportError, match="quality gate in the graph does not answer as the trained one"):
        quality_gate_parity(judge, Session(change), films, (64, 64), gates[0])
    assert not quality_gate_parity(judge, Session(change), films, (64, 64), gates[1])["passed"]


def test_films_of_one_file_name_are_told_apart_by_their_folders(exported, toy_runs, tmp_path):
    """In CheXpert every film is called view1_frontal.jpg."""
    path, films = tmp_path / "copy.onnx", tmp_path / "films"
    shutil.copy(exported, path)
    lines = predictions_path(exported).read_text().splitlines()
    images = toy_runs[0].parents[1] / "films" / "images"
    for number, line in enumerate(lines[1:], 1):
        name, rest = line.split(",", 1)
        (films / f"patient{number}").mkdir(parents=True)
        shutil.copy(next(images.rglob(name)), films / f"patient{number}" / "view1.png")
        lines[number] = f"patient{number}/view1.png,{rest}"
    predictions_path(path).write_text("\n".join(lines) + "\n")
    said: list[str] = []
    verify_metrics(path, films, device="cpu", log=said.append)
    assert "scored again" in said[1]


def test_stored_predictions_give_the_numbers_of_the_card(exported, toy_runs, tmp_path):
    said: list[str] = []
    verify_metrics(exported, toy_runs[0].parents[1] / "films", device="cpu", log=said.append)
    assert "numbers of the card follow" in said[0]
    assert "scored again" in said[1]
    films, calibrated = read_test_predictions(predictions_path(exported), describe(exported).observations)
    assert calibrated.shape == films.label.shape
    assert not set(films.patient) & {""}


def test_changed_predictions_and_other_films_are_noticed(exported, toy_runs, tmp_path):
    for suffix in (".onnx", ".test.csv"):
        shutil.copy(exported.with_suffix(suffix), tmp_path / f"copy{suffix}")
    path = tmp_path / "copy.test.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(ModelFileError, match="cannot be computed from"):
        verify_metrics(tmp_path / "copy.onnx", device="cpu")
    with pytest.raises(ModelFileError, match="test films are not there"):
        verify_metrics(exported, tmp_path, device="cpu")
    path.write_text("image,patient\n1,2\n")
    with pytest.raises(ExportError, match="not a file of test predictions"):
        verify_metrics(tmp_path / "copy.onnx", device="cpu")
    path.unlink()
    with pytest.raises(ExportError, match="without its test predictions"):
        verify_metrics(tmp_path / "copy.onnx", device="cpu")


def test_the_command_verifies_metrics_with_and_without_films(exported, toy_runs):
    stored = CliRunner().invoke(models, ["verify", str(exported), "--device", "cpu", "--metrics"])
    assert stored.exit_code == 0, stored.output
    assert "numbers of the card follow" in stored.output
    films = str(toy_runs[0].parents[1] / "films")
    again = CliRunner().invoke(models, ["verify", str(exported), "--device", "cpu", "--metrics", films])
    assert "films scored again" in again.output
    absent = CliRunner().invoke(models, ["verify", str(exported), "--metrics", films + "/nowhere"])
    assert absent.exit_code == 2


def test_triton_is_told_of_the_quality_gates_answers(exported):
    text = config_text(describe(exported))
    assert '"film_kind" data_type: TYPE_FP32 dims: [ 6 ]' in text
    assert '"film_distance"' in text
    assert '"film_mirrored" data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] }' in text


def test_a_film_that_cannot_be_read_ends_the_measurement(exported, tmp_path):
    films, _ = read_test_predictions(predictions_path(exported), describe(exported).observations)
    (tmp_path / "no.png").write_text("no picture")
    classifier = xraytransfer.load(exported, device="cpu")
    with pytest.raises(ExportError, match="a film of the data set is refused"):
        measure_robustness(classifier, [tmp_path / "no.png"], films.subset(np.arange(1)))


def test_a_cards_numbers_are_computed_again_without_torch_onnx_or_scipy():
    code = "import sys, xraytransfer.export.checks.metrics_check\n"
    code += "print([name for name in ('torch', 'onnx', 'scipy', 'timm', 'matplotlib') if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "[]"

"""Cards and Triton repositories: functions of the file's description, whole and safe."""

from __future__ import annotations

import html.parser
import json

import numpy as np
import pytest
from click.testing import CliRunner

from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.errors import ExportError
from xraytransfer.export.card.card import markdown_card, sections
from xraytransfer.export.card.files import html_card, write_cards
from xraytransfer.export.card.plots import reliability_svg, roc_svg
from xraytransfer.export.checks.robustness import SMALL_CHANGES
from xraytransfer.export.cli import export
from xraytransfer.export.operating_points import operating_points
from xraytransfer.export.triton import config_text, write_repository
from xraytransfer.model_file import describe

CURVE = {"probability": [0.1, 0.3], "observed": [0.12, 0.28], "lower": [0.05, 0.2], "upper": [0.2, 0.4]}
NOTHING = {key: [] for key in CURVE}


@pytest.fixture
def document(toy_model):
    metric = {"data": "test patients", "subset": "PA", "observation": "edema", "metric": "auroc", "patients": 40}
    return {
        **describe(toy_model).document,
        "graph_sha256": "ab" * 32,
        "metrics": [
            {**metric, "value": 0.81, "lower": 0.7, "upper": 0.9, "n": 50, "positives": 7},
            {**metric, "observation": "macro", "value": None, "lower": None, "upper": None, "n": 50, "positives": None},
        ],
        "calibration": {
            "method": "platt",
            "data": "validation patients",
            "expected_calibration_error": {"none": 0.05, "platt": 0.01},
            "reliability": {
                "data": "test patients",
                "edema": {"calibrated": CURVE, "uncalibrated": CURVE},
                "no_finding": {"calibrated": NOTHING, "uncalibrated": NOTHING},
            },
        },
        "roc": {
            "data": "test patients",
            "edema": {
                "false_positive": [0, 0.2, 1],
                "true_positive": [0, 0.7, 1],
                "auroc": 0.75,
                "n": 50,
                "positives": 7,
            },
        },
        "parity": {"films": 38, "real_films": 32, "max_abs_difference": 1e-7, "tolerance": 1e-4, "passed": False},
    }


def test_markdown_says_what_the_file_knows_and_what_it_does_not(document):
    text = markdown_card(document)
    for phrase in (RESEARCH_NOTICE, "0.810 [0.700, 0.900]", "undefined", "ab" * 32, "Apache-2.0", "platt", "forced"):
        assert phrase in text
    assert "policy unknown" in text


def test_the_card_names_the_small_changes_of_the_flip_widths(document):
    points = [{**point, "flip_width": 0.02} for point in document["operating_points"]]
    text = markdown_card({**document, "operating_points": points})
    assert all(change.what in text for change in SMALL_CHANGES)
    assert "small changes" not in markdown_card(document), "a file without flip widths"


def test_the_card_says_on_which_films_thresholds_were_found(document):
    points = [{**point, "data": "validation patients"} for point in document["operating_points"]]
    assert "found on the films named under calibration" in markdown_card({**document, "operating_points": points})
    site = [{**point, "data": "site.csv: 90 films"} for point in points]
    text = markdown_card({**document, "operating_points": site})
    assert "found on site.csv: 90 films; they" in text
    text = markdown_card({**document, "operating_points": [*site[:2], *points[2:]]})
    assert "found on site.csv: 90 films, for Atelectasis, Cardiomegaly; validation patients, for Consolidation" in text


def test_the_card_of_a_copy_says_with_which_calibration_robustness_was_measured(document):
    row = {"variant": "as-is", "what": "the film as it is", "films": 9, "macro_auroc": 0.8, "refused": 0}
    said = "Measured with the calibration and the thresholds of the model that this copy was made from."
    assert said not in markdown_card({**document, "robustness": [row]})
    assert said in markdown_card({**document, "robustness": [row], "calibrated_from": {"name": "x"}})


def test_a_forced_quality_gate_is_told(document):
    parity = {**document["parity"], "passed": True, "judge": {"films": 3, "passed": False}}
    assert "parity check of its quality gate failed" in markdown_card({**document, "parity": parity})


def test_the_card_says_whose_labels_corrected_the_films_and_who_learned_half(document):
    corrected = {
        "data": "readers",
        "films_corrected": 12,
        "labels_changed": {"edema": 3},
        "attribution": "Read by two.",
    }
    members = [{"run": "small", "resolution": [48, 64], "half": "A"}, {"run": "large"}]
    text = markdown_card({**document, "training": {"corrected_labels": corrected}, "members": members})
    assert "Labels of 12 training and validation films were corrected by readers (labels changed: edema 3)" in text
    assert "Read by two." in text
    assert "48 x 64 | small (half A of the training patients)" in text
    rows, columns = document["input"]["resolution"]
    assert f"{rows} x {columns} | large |" in text


def test_every_table_is_rectangular(document):
    for section in sections(document):
        assert {len(row) for row in section.rows} <= {len(section.head)}


def test_html_is_one_page_that_loads_nothing_and_escapes(document):
    text = html_card({**document, "name": "<script>alert(1)</script>"})
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert text.count("<svg") == 2
    assert "Edema: AUROC 0.750, 7 of 50 films" in text
    assert '<span class="interval">[0.700, 0.900]</span>' in text
    assert 'role="img"' in text
    for loading in ("src=", "href=", "url(", "@import"):
        assert loading not in text
    html.parser.HTMLParser().feed(text)


def test_cards_of_a_bare_model_file(toy_model):
    written = write_cards(toy_model)
    assert [path.suffix for path in written] == [".md", ".html"]
    assert "None were measured" in written[0].read_text()


def test_plot_of_certain_and_of_rare_observations():
    assert ">1<" in reliability_svg({"calibrated": {key: [1.0] for key in CURVE}}, "all")
    rare = {key: [0.01] for key in CURVE}
    assert ">0.1<" in reliability_svg({"calibrated": rare}, "rare")


def test_plots_are_the_same_every_time_and_leave_the_settings_alone():
    from matplotlib import rcParams

    before = dict(rcParams)
    perfect = {"false_positive": [0, 0, 1], "true_positive": [0, 1, 1]}
    svg = roc_svg(perfect, "perfect <>")
    assert svg == roc_svg(perfect, "perfect <>")
    assert svg.count("stroke: #2b6cb0") == 1
    assert "<title>perfect &lt;&gt;</title>" in svg
    assert " id=" not in svg  # several stand on one page
    assert dict(rcParams) == before


def test_published_numbers_and_the_owner_of_the_films(document):
    for text in (markdown_card(document), html_card(document)):
        assert "Published numbers" not in text
    nih = {**document, "training": {"data": "nih"}}
    text = markdown_card(nih)
    assert "NIH Clinical Center" in text
    assert "For scale, not for comparison" in text
    assert "| CheXNet | 0.8094 | 0.9248 | 0.7901 | 0.8878 |  | 0.8638 |" in text
    assert "Mean AUROC of 14 findings: DenseNet-121 0.787 (ChestMNIST at 64 px" in text
    assert "Published numbers on this data set</h2>" in html_card(nih)


def test_operating_points_do_what_they_say():
    rng = np.random.default_rng(0)
    p = rng.random((500, 2))
    label = (rng.random((500, 2)) < p).astype(float)
    label[:, 1] = 0
    rows = operating_points(label, p, ["edema", "atelectasis"])
    by_name = {(row["name"], row["observation"]): row for row in rows}
    for share in (80, 90, 95):
        row = by_name[f"sensitivity-{share}", "edema"]
        called = p[:, 0] >= row["threshold"]
        assert row["sensitivity"] == pytest.approx(called[label[:, 0] == 1].mean())
        assert row["sensitivity"] >= share / 100
        low, high = row["sensitivity_interval"]
        assert low <= row["sensitivity"] <= high
    assert by_name["youden", "atelectasis"]["threshold"] is None
    json.dumps(rows, allow_nan=False)


def test_triton_configuration_by_tritons_own_schema(toy_model, tmp_path):
    pytest.importorskip("grpc")
    from google.protobuf import text_format

    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    folder = write_repository(toy_model, tmp_path)
    config = text_format.Parse((folder / "config.pbtxt").read_text(), schema.ModelConfig())
    assert (config.name, config.platform) == ("toy", "onnxruntime_onnx")
    assert (config.input[0].name, list(config.input[0].dims)) == ("image", [1, -1, -1])
    assert config.input[0].data_type == schema.DataType.TYPE_UINT8
    assert {row.name: list(row.dims) for row in config.output} == {
        "probability": [6],
        "member_probability": [2, 6],
        "activation_map": [6, -1, -1],
    }
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16, 32]
    assert (folder / "1" / "model.onnx").read_bytes() == toy_model.read_bytes()
    assert (folder / "observations.txt").read_text().splitlines()[0] == "atelectasis"


def test_triton_names_are_folders(toy_model_writer, tmp_path):
    toy_model_writer(tmp_path / "odd.onnx", name="../up")
    with pytest.raises(ExportError, match="cannot name a Triton model"):
        write_repository(tmp_path / "odd.onnx", tmp_path)
    arguments = [str(tmp_path), "-o", str(tmp_path / "e.onnx"), "--name", "a/b", "--triton", str(tmp_path)]
    done = CliRunner().invoke(export, arguments)  # before the runs are read and scored
    assert done.exit_code == 2
    assert "cannot name a Triton model" in done.output
    assert 'name: "toy"' in config_text(describe_toy(toy_model_writer, tmp_path))


def describe_toy(writer, folder):
    writer(folder / "toy.onnx")
    return describe(folder / "toy.onnx")

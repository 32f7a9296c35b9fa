"""The report: one file, figures inside, honest about what is absent."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from xraytransfer.errors import OutputError, StudyError
from xraytransfer.study.analysis.table import Column, Table, interval_row
from xraytransfer.study.cli import study
from xraytransfer.study.phantoms.dataset import FOLDER
from xraytransfer.study.report.report import write_report

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, write_study_run: Write) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for number_, family in enumerate(("Alpha", "Beta"), start=1):
        for initialisation in ("pretrained", "random"):
            write_study_run(
                folder, f"{family.lower()}1", family=family, initialisation=initialisation, parameters=number_ * 1000
            )
    write_study_run(folder, "alpha1", truncation=1, parameters=500, skill=0.4)
    (write_study_run(folder, "gamma1") / "done.json").unlink()
    return folder


@pytest.fixture(scope="module")
def page(results: Path) -> Path:
    return write_report(results, replicates=50, measure=False)


def test_one_file_with_everything_inside(page: Path) -> None:
    text_ = page.read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]{0,30})', text_)
    assert len(sources) == 8
    assert all(source.startswith("data:image/") for source in sources)
    assert "<script" not in text_
    assert not re.findall(r'(?:href|src)="(?:https?:)?//', text_)
    anchors = re.findall(r'<a href="#([^"]+)"', text_)
    assert anchors
    assert all(f'<section id="{anchor}"' in text_ for anchor in anchors)


def test_films_that_are_missing_are_said_before_everything_else(tmp_path: Path, write_study_run: Write) -> None:
    for initialisation in ("pretrained", "random"):
        data = {"name": "nih", "folder": "elsewhere", "images": 1000, "refused": {"not-found": 40}}
        write_study_run(tmp_path, "alpha1", initialisation=initialisation, data=data)
    text = (write_report(tmp_path, replicates=20, measure=False).parent / "report.md").read_text(encoding="utf-8")
    said = text.index("40 of 1,000 films of nih are left out: 40 not-found.")
    assert said < text.index("## In short")


def test_says_what_is_absent(page: Path) -> None:
    text_ = page.read_text(encoding="utf-8")
    assert "gamma1-pretrained-t0-s0" in text_
    assert "not finished" in text_
    assert "cannot be answered from these runs" in text_
    assert "One seed per cell" in text_
    assert "Not drawn" in text_
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text_).lower().replace("finnan", "")


def test_names_no_path(page: Path, results: Path) -> None:
    for path in (page, page.with_name("report.md")):
        assert str(results) not in path.read_text(encoding="utf-8")


def test_markdown_links_figures_that_exist(page: Path) -> None:
    markdown = page.with_name("report.md").read_text(encoding="utf-8")
    links = re.findall(r"!\[[^]]*\]\(([^)]+)\)", markdown)
    assert len(links) == 8
    assert all((page.parent / link).is_file() for link in links)


def test_csv_files_hold_whole_numbers(page: Path) -> None:
    with (page.parent / "tables" / "architectures.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert len(rows[0]["value"]) > 10
    assert rows[0]["seed_sd"] == ""  # one seed: no number, rather than a zero


def test_phantoms_and_undefined_observations_are_called_so(tmp_path: Path, write_study_run: Write) -> None:
    data = {"name": "chexpert", "folder": f"somewhere/{FOLDER}", "refused": {"corrupt": 2}}
    write_study_run(tmp_path, data=data, positives=0.004, films=250)
    text_ = write_report(tmp_path, replicates=20, measure=False).read_text(encoding="utf-8")
    assert "SYNTHETIC" in text_
    assert "2 films could not be read" in text_
    assert "AUROC is not defined for" in text_


def test_command_writes_the_same_bytes(results: Path, page: Path, tmp_path: Path) -> None:
    command = ["report", "--results", str(results), "--out", str(tmp_path), "--replicates", "50", "--no-measure"]
    outcome = CliRunner().invoke(study, command)
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.strip().endswith("report.html")
    assert (tmp_path / "report.html").read_bytes() == page.read_bytes()


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no finished run"):
        write_report(tmp_path, measure=False)


def test_no_observation_with_both_classes(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, positives=0.0)
    with pytest.raises(StudyError, match="no observation has both classes among the 240 test films"):
        write_report(tmp_path, replicates=20, measure=False)


def test_claims_come_first_and_only_sourced_ones(page: Path) -> None:
    markdown = page.with_name("report.md").read_text(encoding="utf-8")
    assert markdown.index("Each claim of the paper") < markdown.index("Films and runs")
    assert markdown.index("How small can a network be") < markdown.index("## Appendix")
    with (page.parent / "tables" / "claims.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert {row["verdict"] for row in rows} <= {"agrees", "disagrees", "cannot be told"}
    assert all(row["published"] and row["why"] for row in rows)
    with (page.parent / "tables" / "differences.csv").open(newline="", encoding="utf-8") as file:
        different = {row["what"]: row for row in csv.DictReader(file)}
    assert different["Films"]["here"] == "NIH ChestX-ray14"
    assert "Bootstrap draws" in different


def test_what_an_earlier_report_left_is_named(results: Path, page: Path, tmp_path: Path) -> None:
    command = ["report", "--results", str(results), "--out", str(tmp_path), "--replicates", "50", "--no-measure"]
    for folder in ("figures", "tables"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "old.csv").write_text("of other runs")
    said = CliRunner().invoke(study, command).output
    assert "figures/old.csv, tables/old.csv: not of this report; an earlier one wrote them, or you did" in said
    assert (tmp_path / "tables" / "old.csv").read_text() == "of other runs"


def test_output_that_cannot_be_written(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(results, tmp_path / "file", replicates=20, measure=False)


def test_table_forms(tmp_path: Path) -> None:
    from xraytransfer.study.stats.bootstrap import Interval

    row = {"name": "a|b<c", **interval_row(Interval(-0.0123, -0.02, 0.0, 100, 0)), "p": 0.0002, "absent": float("nan")}
    columns = (
        Column("Name", "name", "words"),
        Column("Value", "", "interval", signed=True),
        "p",
        Column("Absent", "absent", "number"),
    )
    table = Table("name", "Title", columns, [row], "A note.")
    assert "| a\\|b<c | \N{MINUS SIGN}0.012 (\N{MINUS SIGN}0.020 to +0.000) | <.001 | \N{EN DASH} |" in table.markdown()
    assert "a|b&lt;c" in table.html()
    path = table.write_csv(tmp_path)
    assert path.read_text() == "name,value,lower,upper,p,absent\na|b<c,-0.0123,-0.02,0.0,0.0002,\n"


def test_every_markdown_table_has_as_many_cells_in_each_row(page: Path) -> None:
    blocks = page.with_name("report.md").read_text(encoding="utf-8").split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("| ")]
    assert len(tables) > 5
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, lines[0]


def test_sizes_of_files_are_those_of_the_weights(page: Path) -> None:
    with (page.parent / "tables" / "smallest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        sizes = [float(row[f"megabytes_{precision}"]) for precision in ("float32", "float16", "int8")]
        assert sizes == pytest.approx([int(row["parameters"]) * count / 1e6 for count in (4, 2, 1)])

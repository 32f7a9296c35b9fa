"""What the card says of the quality gate: by source, with intervals, and of side views what is known."""

from __future__ import annotations

import pytest

from xraytransfer.export.card.films import quality_gate_section

LIMITS = {"kinds": ["upright", "other"], "minimum_probability": 0.4, "maximum_distance": 1.5}


def lateral(what: str, origin: str, count: tuple[int, int], **more) -> dict:
    """Return a row of side views, of which `count` were accepted: (accepted, films)."""
    accepted, films = count
    row = {"what": what, "kind": "other", "origin": origin, "films": films, "accepted": accepted}
    return row | {"named": films - accepted, "lower": 0.01, "upper": 0.4} | more


def section(*rows: dict, **limits: float):
    return quality_gate_section({"acceptance": {**LIMITS, **limits, "evaluation": list(rows)}})


def test_side_views_are_given_real_projected_and_drawn_apart():
    made = section(
        lateral("clinic", "real", (1, 4), view="lateral", patients=3),
        lateral("CT at 60 degrees", "projected", (2, 6), view="projected-lateral", patients=6),
        lateral("CT at 90 degrees", "projected", (0, 6), view="projected-lateral", patients=6),
        lateral("drawn-lateral", "drawn", (3, 400)),
    )
    text = " ".join(made.paragraphs)
    assert "Side views may pass: 1 of 4 real side views of 3 patients passed" in text
    assert "2 of 12 side views projected from CTs of 6 patients passed; 3 of 400 drawn side views passed" in text
    assert "fewer than 30 patients" in text


def test_with_enough_patients_the_rate_stands_without_a_warning():
    text = " ".join(section(lateral("clinic", "real", (1, 40), view="lateral", patients=30)).paragraphs)
    assert "Side views: 1 of 40 real side views of 30 patients passed." in text
    assert "may pass" not in text


def test_a_row_has_its_origin_patients_and_interval_and_a_turned_one_no_right_answer():
    frontal = {"what": "Hannover", "kind": "upright", "origin": "real", "patients": 50, "films": 126, "accepted": 125}
    frontal |= {"named": 125, "lower": 0.93, "upper": 0.999, "mirrored": 2}
    turned = lateral("CT at 30 degrees", "projected", (4, 6), view="projected-turned", patients=6)
    rows = section(frontal, turned).rows
    assert rows[0] == ["Hannover", "real", "50", "126", "125 (99.2 %) [93.0, 99.9]", "", "2"]
    assert rows[1][5:] == ["", ""]


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [({}, "A mirrored film is not noticed."), ({"minimum_mirrored_probability": 0.9}, "with a note that left and")],
)
def test_the_card_says_whether_mirrored_films_are_noticed(limits, sentence):
    assert sentence in " ".join(section(**limits).paragraphs)


def test_rows_of_older_files_have_fewer_cells():
    old = {"what": "test films as they are", "kind": "upright", "films": 10, "accepted": 9, "named": 9}
    assert section(old).rows == [["test films as they are", "", "", "10", "9 (90.0 %)", "", ""]]

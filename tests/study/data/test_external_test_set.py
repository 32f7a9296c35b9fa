"""External test sets: what is read of the tables that a mapping file names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.data.external_test_set import IDENTIFIERS, read_external_test_set

EDEMA = IDENTIFIERS.index("edema")


def panel(folder: Path, **changes: Any) -> Path:
    """Write two films, each with a row by each of two people, and the mapping file that chooses the first."""
    rows = [
        f"{film}.png,{film},{who},{int(who == 'A')},{use}" for film in "12" for who, use in (("A", "judge"), ("B", ""))
    ]
    (folder / "films.csv").write_text("\n".join(["file,pid,who,ed,use", *rows]))
    plan = {
        "name": "panel", "table": "films.csv", "image": "file", "patient": "pid", "labels": {"edema": "ed"},
        "use": "use", "rows": {"who": "A"}, **changes,
    }  # fmt: skip
    (folder / "map.json").write_text(json.dumps(plan))
    return folder / "map.json"


def test_labels_and_uses_are_of_the_rows_that_the_mapping_selects(tmp_path: Path):
    films = read_external_test_set(panel(tmp_path), tmp_path)
    assert list(films.table.image) == ["1.png", "2.png"]
    assert list(films.use) == ["judge", "judge"]
    np.testing.assert_array_equal(films.label[:, EDEMA], films.table.label[:, 0])
    assert films.label[0, EDEMA] == 1


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["1.png,anna,1", "1.png,anna,0"], "anna answered twice for 1.png"),
        (["3.png,anna,1"], "none of its rows is about a film of panel"),
    ],
)
def test_answers_of_readers_that_cannot_be_told(tmp_path: Path, said: list[str], message: str):
    (tmp_path / "readers.csv").write_text("\n".join(["file,who,ed", *said]))
    readers = {"table": "readers.csv", "image": "file", "reader": "who", "labels": {"edema": "ed"}}
    with pytest.raises(StudyError, match=message):
        read_external_test_set(panel(tmp_path, readers=readers), tmp_path)

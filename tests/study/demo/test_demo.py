"""The demo in its smallest form: phantoms, pretraining, runs, report."""

from __future__ import annotations

from pathlib import Path

import pytest

from xraytransfer.study.demo.demo import ARCHITECTURES, run_demo


@pytest.mark.slow
@pytest.mark.timeout(1200)  # seconds; far more than it needs, for machines that do much else
def test_whole_study_on_phantoms(tmp_path: Path) -> None:
    lines: list[str] = []
    small = {
        "patients": 60,
        "epochs": 1,
        "shapes": 64,
        "seeds": (0,),
        "architectures": ARCHITECTURES[:1],
        "replicates": 50,
    }
    page = run_demo(tmp_path, slots=2, log=lines.append, **small)
    text = page.read_text(encoding="utf-8")
    assert "SYNTHETIC" in text
    assert "toy_resnet" in text
    assert "accuracy on drawn shapes" in text
    assert "What is true of these drawn films" in text
    assert (page.parent / "figures" / "activation-maps.png").is_file()
    assert len(list((tmp_path / "runs").glob("*/done.json"))) == 4  # pretrained, random, two cuts
    # a second call finds everything done
    lines.clear()
    run_demo(tmp_path, slots=2, log=lines.append, **small)
    assert any("4 runs, 4 done" in line for line in lines)

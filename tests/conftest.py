"""Fixtures: where tests find real films (the data folder beside the checkout, the package pydicom-data)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

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
        for suffix in ("", ".dcm"):
            path = Path(root) / "data" / f"{name}{suffix}"
            if path.is_file():
                return path
    pytest.skip(f"pydicom-data holds no file {name}")

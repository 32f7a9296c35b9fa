"""Settings that runs must share to be compared, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xraytransfer.study.training.presets import Preset

__all__ = ["other_network", "settings_difference", "shared_settings"]

_VARIED = ("architecture", "timm", "family", "row", "initialisation", "truncation", "seed", "weights", "writer")
"""Settings that a grid varies, or that name places on disk."""


_NOT_COMPARED = ("folder", "cache", "mapping", "labels_sha256", "dataset")
"""Entries of ``data`` that are names or places, or that older versions did not write."""

NETWORK = ("timm", "body", "mean", "std", "variant")
"""Entries of the row of an architecture that decide what is trained."""


def shared_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that comparable runs share."""
    settings = {key: value for key, value in config.items() if key not in _VARIED}
    # a setting that did not exist yet when a run was trained counts as switched off
    settings["preset"] = {**Preset("").to_dict(), **config.get("preset", {})}
    data = {key: value for key, value in config.get("data", {}).items() if key not in _NOT_COMPARED}
    if teacher := config.get("teacher"):
        settings["teacher"] = {key: value for key, value in teacher.items() if key != "folders"}
    if corrected := data.get("corrected"):
        data["corrected"] = {key: value for key, value in corrected.items() if key not in ("folder", "mapping")}
    return {**settings, "data": data}


def settings_difference(one: Mapping[str, Any], two: Mapping[str, Any], within: str = "") -> str:
    """Name the shared settings in which two configurations differ; ``labels or films`` where they differ in none."""
    first, second = (shared_settings(one), shared_settings(two)) if not within else (dict(one), dict(two))
    names = []
    for key in sorted(set(first) | set(second)):
        before, after = first.get(key), second.get(key)
        if isinstance(before, dict) and isinstance(after, dict) and not within:
            names += [
                part for part in settings_difference(before, after, f"{key}.").split(", ") if part != "labels or films"
            ]
        elif before != after:
            names.append(f"{within}{key}")
    return ", ".join(names) or "labels or films"


def other_network(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    """Return in what two configurations of one architecture train different networks: the row, or the first weights.

    Entries that one of them does not have are not compared, because older versions wrote fewer.
    """
    first, second = one.get("row", {}), two.get("row", {})
    differing = [key for key in NETWORK if key in first and key in second and first[key] != second[key]]
    before, after = (config.get("weights", {}).get("sha256") for config in (one, two))
    known = before is not None and after is not None
    return [*differing, *(["pretrained weights"] if known and before != after else [])]

"""Uncertainty policies: how labels that were read from reports become training targets.

Raw labels are 1 (positive), 0 (negative), -1 (uncertain), and NaN (not mentioned). An *uncertainty policy* turns
them into targets: ``u_zeros``, ``u_ones``, or ``u_ignore`` (NaN: masked out of loss and metrics). In every policy an
observation that is not mentioned is negative, as in the code of the paper's lab (``fillna(0)``).

References
----------
Irvin et al., CheXpert, AAAI 2019. The code of the lab: stanfordmlgroup/MoCo-CXR.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError

__all__ = ["POLICIES", "apply_policy", "parse_policy", "read_policy"]

POLICIES: dict[str, float] = {"u_zeros": 0.0, "u_ones": 1.0, "u_ignore": float("nan")}
"""The target of an uncertain label in each policy."""


def parse_policy(policy: str, observations: Sequence[str]) -> list[str]:
    """Return the policy of each observation.

    Parameters
    ----------
    policy : str
        One of `POLICIES`, or a default with exceptions: ``u_zeros,atelectasis=u_ones,edema=u_ones``.
    observations : sequence of str
        Identifiers, in order.

    Raises
    ------
    StudyError
        If a policy or an observation is unknown.
    """
    default, exceptions = read_policy(policy)
    if unknown := sorted(set(exceptions) - set(observations)):
        raise StudyError(f"label policy {policy!r}: {', '.join(unknown)} is not trained; {', '.join(observations)} are")
    return [exceptions.get(name, default) for name in observations]


def read_policy(policy: str) -> tuple[str, dict[str, str]]:
    """Return the default policy, and the exceptions by observation.

    Raises
    ------
    StudyError
        If a policy is unknown. Observations are not checked here, because the data set decides which exist.
    """
    default = "u_zeros"
    exceptions: dict[str, str] = {}
    for part in policy.split(","):
        name, equals, value = part.strip().partition("=")
        if (value if equals else name) not in POLICIES:
            raise StudyError(f"label policy {policy!r}: {part!r} names none of {', '.join(POLICIES)}")
        if equals:
            exceptions[name] = value
        else:
            default = name
    return default, exceptions


def apply_policy(raw: NDArray[np.float32], policies: Sequence[str]) -> NDArray[np.float32]:
    """Return targets from raw labels.

    Parameters
    ----------
    raw : NDArray
        float32, shape (images, observations): 1, 0, -1 for uncertain, NaN for not mentioned.
    policies : sequence of str
        One of `POLICIES` for each observation.

    Returns
    -------
    NDArray
        float32, same shape: 1, 0, or NaN for masked.
    """
    target = np.nan_to_num(raw, nan=0.0).astype(np.float32)
    for column, policy in enumerate(policies):
        target[raw[:, column] == -1, column] = POLICIES[policy]
    return target

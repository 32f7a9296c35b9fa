from __future__ import annotations

import numpy as np
import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.data.labels import apply_policy, parse_policy

NAN = float("nan")


@pytest.mark.parametrize(("policy", "uncertain"), [("u_zeros", 0.0), ("u_ones", 1.0), ("u_ignore", NAN)])
def test_uncertain_follows_the_policy_and_blank_is_negative(policy: str, uncertain: float):
    raw = np.array([[1], [0], [-1], [NAN]], np.float32)
    target = apply_policy(raw, parse_policy(policy, ["edema"]))
    np.testing.assert_array_equal(target[:, 0], np.array([1, 0, uncertain, 0], np.float32))
    assert target.dtype == np.float32
    assert raw[2, 0] == -1, "the raw labels stay"


def test_each_observation_may_have_its_own():
    policies = parse_policy("u_ones, edema=u_ignore,atelectasis=u_zeros", ["atelectasis", "cardiomegaly", "edema"])
    assert policies == ["u_zeros", "u_ones", "u_ignore"]
    target = apply_policy(np.full((1, 3), -1, np.float32), policies)
    np.testing.assert_array_equal(target, np.array([[0, 1, NAN]], np.float32))


@pytest.mark.parametrize(
    ("policy", "message"),
    [("u_maybe", "names none of"), ("edema=x", "names none of"), ("hernia=u_ones", "hernia is not trained")],
)
def test_unknown_words_are_refused(policy: str, message: str):
    with pytest.raises(StudyError, match=message):
        parse_policy(policy, ["edema"])

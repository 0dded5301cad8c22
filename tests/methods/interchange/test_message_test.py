"""What a test of written messages says of itself."""

import numpy as np
import pytest

from mechbp.methods.interchange.message_test import ANOTHER_SOURCE, PLACEBO, MessageTest


def shares(*edits):
    """A test whose n-th edit leaves n quarters of the unedited divergence."""
    kl = {"nothing": np.ones(8), "whole vector": np.zeros(8)}
    kl |= {name: np.full(8, quarter / 4) for quarter, name in enumerate(edits)}
    return MessageTest("blocks.0.hook_resid_post", kl, kl, kl)


def test_controls_are_named_apart_from_edits():
    summary = shares("means", "means" + PLACEBO, "means" + ANOTHER_SOURCE).summary()
    assert summary.splitlines()[-1] == f"controls: means{PLACEBO} 0.75; means{ANOTHER_SOURCE} 0.5"
    assert "n = 8 pairs; KL(exact || model) unedited 1 nats" in summary and "\nmeans: 1" in summary


def test_none_is_said_where_there_is_no_control():
    assert shares("means").summary().splitlines()[-1] == "controls: none"


@pytest.mark.parametrize(("name", "control"), [("means", False), ("whole vector", False), ("means" + PLACEBO, True)])
def test_a_control_is_known_by_its_name(name, control):
    assert shares(name).is_control(name) is control

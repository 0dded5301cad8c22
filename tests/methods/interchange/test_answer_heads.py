"""A user's reading is wrapped once, and named by the call that was given it."""

import pytest
import torch

from mechbp.errors import InputError
from mechbp.methods.interchange.answer_heads import checked_reading, softmax_reading

LOGITS = torch.zeros(2, 3)


def test_a_reading_is_wrapped_once():
    once = checked_reading("outer", lambda logits: logits.log_softmax(-1))
    assert checked_reading("inner", once) is once
    assert checked_reading("inner", softmax_reading) is softmax_reading
    torch.testing.assert_close(once(LOGITS).exp().sum(-1), torch.ones(2))


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        (lambda logits: logits, "must return log-probabilities; those of the first pairs sum to 3"),
        (lambda logits: logits[0], r"must return log-probabilities \[2, q\], got \[3\]"),
        (lambda logits: 1 / 0, r"failed on logits \[2, 3\]: ZeroDivisionError"),
    ],
)
def test_what_is_no_reading_is_refused_in_the_name_of_who_was_given_it(reading, told):
    with pytest.raises(InputError, match=f"^outer: reading {told}"):
        checked_reading("inner", checked_reading("outer", reading))(LOGITS)


def test_a_reading_is_a_function():
    with pytest.raises(InputError, match="outer: reading must map logits"):
        checked_reading("outer", 3)

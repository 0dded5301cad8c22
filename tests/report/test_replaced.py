"""The log of replaced runs: read strictly, sorted by day, handed to the pages that use a run."""

from pathlib import Path

import pytest

from mechbp.errors import InputError
from mechbp.report.replaced import FILE, replaced_runs, used_by

ENTRY = """
[[replaced]]
run = "{run}"
date = {date}
commit = "0123456789ab"
changed = "larger batches"
why = "too far from the optimum"
measured = "KL 0.01 nats"
"""


def log(folder, text):
    path = folder / "replaced.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_entries_are_sorted_and_picked_by_run(tmp_path):
    path = log(tmp_path, ENTRY.format(run="b", date="2026-02-01") + ENTRY.format(run="a", date="2026-01-01"))
    found = replaced_runs(path)
    assert [(entry.run, entry.date) for entry in found] == [("a", "2026-01-01"), ("b", "2026-02-01")]
    assert used_by(found, ["b", "c"]) == (found[1].to_dict(),)
    assert used_by(found, []) == ()


def test_no_log_means_no_replaced_run(tmp_path):
    assert replaced_runs(tmp_path / "replaced.toml") == ()


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("why", "wy", "replaced[0]: unknown key 'wy'; did you mean 'why'?"),
        ('commit = "0123456789ab"\n', "", "replaced[0]: key 'commit' is missing"),
        ("date = 2026-02-01", 'date = "2026-02-01"', "replaced[0].date must be a day"),
        ('"KL 0.01 nats"', "0.01", "replaced[0].measured must be a text"),
        ("[[replaced]]", "[replaced]", "expected a list of tables"),
        ("[[replaced]]", "[[replacd]]", "unknown key 'replacd'; did you mean 'replaced'?"),
        ("[[replaced]]", "[[replaced", "cannot be read"),
    ],
)
def test_refusals_name_what_is_wrong(tmp_path, old, new, message):
    with pytest.raises(InputError) as caught:
        replaced_runs(log(tmp_path, ENTRY.format(run="a", date="2026-02-01").replace(old, new)))
    assert message in str(caught.value) and "replaced.toml" in str(caught.value)


def test_the_log_of_this_repository_names_runs_that_are_here():
    root = Path(__file__).resolve().parents[2] / "checkpoints"
    found = replaced_runs(root / FILE)
    assert {"mess3-x50-a60-l4", "mess3-x15-a60", "tree-mlm-d5"} <= {entry.run for entry in found}
    assert all((root / entry.run / "run.toml").is_file() for entry in found)

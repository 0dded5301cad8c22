"""What `--help` says: whole summaries, every argument and option described, and one word for one kind of value."""

import re
import sys

import pytest

from mechbp import cli

COMMANDS = ["new", "report", "train", "sweep", "measure", "verify", "judge", "list", "export"]
WORDS = {"RUN", "PAGE", "FOLDER", "N", "DEVICE", "ADDRESS", "TABLE.KEY=VALUE", "TABLE.KEY=VALUES", "METHOD,…", "<loky|dask>", ""}
"""What may stand for a value; nothing stands behind a flag."""


@pytest.fixture
def told(monkeypatch, capsys):
    """The help of a command on a terminal of 80 columns."""

    def ask(*words):
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(sys, "argv", ["mechbp", *words, "--help"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 0
        return capsys.readouterr().out

    return ask


def entries(text, heading):
    """The lines below a heading: what stands left, and what it is for."""
    block = re.search(rf"^{heading}:\n((?:  .*\n)+)", text, re.MULTILINE)
    if block is None:
        return {}
    joined = re.sub(r"\n {4,}", "  ", block[1])
    return dict(re.split(r" {2,}", line.strip(), maxsplit=1) for line in joined.splitlines())


def test_every_command_is_summed_up_in_one_whole_line(told):
    text = told()
    summaries = entries(text, "Commands")
    assert list(summaries) == COMMANDS and "..." not in text.partition("\n")[2]
    for summary in summaries.values():
        assert summary.endswith(".") and "  " not in summary, summary
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_is_described_by_a_common_word(command, told):
    text = told(command)
    arguments, options = entries(text, "Arguments"), entries(text, "Options")
    for written, meaning in {**arguments, **options}.items():
        assert re.match(r"[A-Z].{10}", meaning), (written, meaning)
    assert {written.split()[0] for written in arguments} <= WORDS
    assert {written.partition(" ")[2] for written in options} <= WORDS
    usage = text.partition("\n")[0]
    assert re.fullmatch(rf"Usage: mechbp {command} \[OPTIONS\]( (\[(RUN|PAGE)\]\.\.\.|{{?(RUN|FOLDER)}}?(\.\.\.)?))*", usage), (
        usage
    )

"""The command: a table, or JSON, and refusals that name what there is."""

import json
from dataclasses import replace

from typer.testing import CliRunner

from mechbp.cli import app
from mechbp.errors import InputError
from mechbp.judging import table as table_module
from mechbp.judging.table import Table, judge_all


def said(*arguments):
    return CliRunner().invoke(app, ["judge", "--grammars", "1", *arguments])


def test_json_and_lines_say_the_same():
    lines, document = said("--methods", "random, random-probing"), said("--methods", "random,random-probing", "--json")
    assert lines.exit_code == document.exit_code == 0
    found = json.loads(document.stdout[document.stdout.index("{") :])["judgements"]
    assert [row["method"] for row in found] == ["random"] * 2 + ["random-probing"] * 2
    assert f"{found[0]['auroc']['mean']:.2f}" in next(line for line in lines.stdout.splitlines() if line.startswith("random "))


def test_the_table_says_what_its_columns_mean_and_what_was_left_out():
    table = judge_all(["random", "random-interchange"], grammars=2)
    text = table.summary()
    for word in ("AUROC:", "hits:", "misses", "false alarms:", "passes:"):
        assert word in text
    assert "n = 2 grammars, 95 % intervals over them, which say little over fewer than 5" in text
    assert "no place here has it: copy (components), copy (streams)" in text and "left out" not in text
    several = replace(table.judgements[0], said=replace(table.judgements[0].said, n=5))
    few = Table((several,), ("pyvene-das (needs pyvene)",)).summary()
    assert "n = 5 grammars, 95 % intervals over them;" in few and "say little" not in few
    assert few.endswith("left out: pyvene-das (needs pyvene)") and "no place here" not in few


def test_methods_that_need_a_further_package_are_named_where_nobody_chose(monkeypatch):
    one = judge_all(["random"], grammars=1).judgements[0]
    monkeypatch.setattr(table_module, "judge", lambda *args, **options: one)
    assert judge_all(grammars=1).left_out == ("pyvene-das (needs pyvene; asked with --methods pyvene-das)",)
    assert judge_all(["random"], grammars=1).left_out == ()


def test_refusals_name_what_there_is():
    refused = said("--methods", "patches")
    assert isinstance(refused.exception, InputError) and "patch-denoising" in str(refused.exception)
    assert said("--budget", "0").exit_code == 2

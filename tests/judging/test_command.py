"""The command: a table, or JSON, and refusals that name what there is."""

import json

from typer.testing import CliRunner

from mechbp.cli import app
from mechbp.errors import InputError


def said(*arguments):
    return CliRunner().invoke(app, ["judge", "--grammars", "1", *arguments])


def test_json_and_lines_say_the_same():
    lines, document = said("--methods", "random, random-probing"), said("--methods", "random,random-probing", "--json")
    assert lines.exit_code == document.exit_code == 0
    found = json.loads(document.stdout[document.stdout.index("{") :])["judgements"]
    assert [row["method"] for row in found] == ["random"] * 2 + ["random-probing"] * 2
    assert f"{found[0]['auroc']['mean']:.2f}" in next(line for line in lines.stdout.splitlines() if line.startswith("random "))


def test_refusals_name_what_there_is():
    refused = said("--methods", "patches")
    assert isinstance(refused.exception, InputError) and "patch-denoising" in str(refused.exception)
    assert said("--budget", "0").exit_code == 2

"""Criteria against history: one that moved after a recording says so, and its `fixed` is what the commits say."""

import json
import subprocess

import pytest
from criteria_history import false_dates, git, has_history, unlisted_moves

from mechbp.report.criteria import Criteria
from mechbp.study import analyses_root

ROOT = analyses_root().parent
PAGES = sorted(path.parent.name for path in (ROOT / "analyses").glob("*/criteria.toml"))
TEXT = """[exact]
kind = "new"
holds = "{rule}"
bounds = {{ close = {close} }}
fixed = "before"
"""
MOVE = """
[[exact.moved]]
date = 2026-01-31
what = "{what}"
old = {old}
new = {new}
why = "wider"
"""
RULE = "kl <= close"


@pytest.mark.skipif(not has_history(ROOT), reason="needs the repository's whole history")
@pytest.mark.parametrize("page", PAGES)
def test_every_move_after_a_recording_is_listed(page):
    assert unlisted_moves(ROOT, page) == []
    assert false_dates(ROOT, page) == []


@pytest.mark.parametrize("page", PAGES)
def test_criteria_can_be_read(page):
    assert list(Criteria.read(ROOT / "analyses" / page / "criteria.toml"))


@pytest.fixture
def repository(tmp_path):
    """A repository of one page whose claim was recorded after its criterion was committed."""
    git(tmp_path, "init", "-q")
    for key, value in (("user.name", "t"), ("user.email", "t@example.org"), ("commit.gpgsign", "false")):
        git(tmp_path, "config", key, value)
    write(tmp_path, TEXT.format(rule=RULE, close=0.02))
    commit(tmp_path, "criterion")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "page.json").write_text(json.dumps({"claims": [{"id": "a", "criterion": "exact"}]}))
    commit(tmp_path, "recording")
    return tmp_path


def write(root, text):
    path = root / "analyses" / "page" / "criteria.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def commit(root, subject):
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", subject)
    return git(root, "rev-parse", "--short=12", "HEAD")


def test_a_bound_that_moved_after_the_recording_must_be_listed(repository):
    assert unlisted_moves(repository, "page") == []
    wider = TEXT.format(rule=RULE, close=0.03)
    write(repository, wider)
    assert unlisted_moves(repository, "page") == ["page: [exact] close moved from 0.02 to 0.03 after a recording"]
    commit(repository, "move")
    assert len(unlisted_moves(repository, "page")) == 1
    write(repository, wider + MOVE.format(what="close", old=0.02, new=0.04))
    assert len(unlisted_moves(repository, "page")) == 1
    write(repository, wider + MOVE.format(what="close", old=0.02, new=0.03))
    assert unlisted_moves(repository, "page") == []


def test_a_rule_that_moved_after_the_recording_must_be_listed(repository):
    weaker = TEXT.format(rule="kl <= 2 * close", close=0.02)
    write(repository, weaker)
    commit(repository, "move")
    assert "holds moved from 'kl <= close' to 'kl <= 2 * close'" in unlisted_moves(repository, "page")[0]
    write(repository, weaker + MOVE.format(what="holds", old='"kl <= close"', new='"kl <= 2 * close"'))
    assert unlisted_moves(repository, "page") == []
    write(repository, weaker + 'partly = "kl <= 1"\n')
    assert "partly moved from None to 'kl <= 1'" in "".join(unlisted_moves(repository, "page"))


def test_branches_side_by_side_are_no_moves_of_each_other(repository):
    other = TEXT.replace("[exact]", "[near]")
    write(repository, TEXT.format(rule=RULE, close=0.02) + other.format(rule=RULE, close=0.1))
    commit(repository, "another criterion")
    (repository / "reports" / "page.json").write_text(json.dumps({"claims": [{"criterion": "exact"}, {"criterion": "near"}]}))
    start = commit(repository, "recording of both")
    listed = TEXT.format(rule=RULE, close=0.03), MOVE.format(what="close", old=0.02, new=0.03)
    git(repository, "checkout", "-q", "-b", "side")
    write(repository, TEXT.format(rule=RULE, close=0.02) + other.format(rule=RULE, close=0.2))
    commit(repository, "move one, unlisted")
    git(repository, "checkout", "-q", "-b", "main-line", start)
    write(repository, "".join(listed) + other.format(rule=RULE, close=0.1))
    commit(repository, "move the other, listed")
    git(repository, "merge", "-q", "--no-commit", "-s", "ours", "side")
    write(repository, "".join(listed) + other.format(rule=RULE, close=0.2))
    commit(repository, "merge")
    assert unlisted_moves(repository, "page") == ["page: [near] close moved from 0.1 to 0.2 after a recording"]
    write(repository, "".join(listed) + other.format(rule=RULE, close=0.3))
    git(repository, "commit", "-q", "-a", "--amend", "--no-edit")  # a merge that has what neither side has
    assert any("[near] close moved from 0.1 to 0.3" in move for move in unlisted_moves(repository, "page"))


def test_a_withdrawn_criterion_is_no_unlisted_move(repository):
    write(repository, "")
    commit(repository, "gone")
    assert "[exact] all moved" in unlisted_moves(repository, "page")[0]
    gone = '[exact.withdrawn]\ndate = 2026-01-31\nwhy = "w"\nverdicts = { "a" = "holds" }\n'
    write(repository, TEXT.format(rule=RULE, close=0.02) + gone)
    assert unlisted_moves(repository, "page") == []


def test_moving_there_and_back_is_found(repository):
    write(repository, TEXT.format(rule=RULE, close=0.03))
    commit(repository, "there")
    write(repository, TEXT.format(rule=RULE, close=0.02))
    commit(repository, "back")
    assert len(unlisted_moves(repository, "page")) == 2


def test_a_criterion_under_another_name_is_found(repository):
    renamed = TEXT.replace("[exact]", "[near]").format(rule=RULE, close=0.03)
    write(repository, renamed)
    commit(repository, "rename")
    assert "[exact] all moved" in unlisted_moves(repository, "page")[0]
    write(repository, renamed + MOVE.replace("exact", "near").format(what="exact", old=0.02, new=0.03))
    assert unlisted_moves(repository, "page") == []


def test_a_recording_that_was_taken_away_still_counts(repository):
    git(repository, "rm", "-q", "reports/page.json")
    commit(repository, "no recording")
    write(repository, TEXT.format(rule=RULE, close=0.03))
    commit(repository, "move")
    assert len(unlisted_moves(repository, "page")) == 1


def test_a_bound_that_moved_before_any_recording_is_free(repository):
    git(repository, "reset", "-q", "--hard", "HEAD^")
    write(repository, TEXT.format(rule=RULE, close=0.03))
    commit(repository, "move")
    assert unlisted_moves(repository, "page") == []


def test_fixed_must_be_what_the_commits_say(repository):
    first, second = git(repository, "log", "--reverse", "--format=%H").split()

    def dated(commit, recorded):
        return TEXT.format(rule=RULE, close=0.02) + f'commit = "{commit}"\nrecorded = "{recorded}"\n'

    write(repository, dated(first, second))
    assert false_dates(repository, "page") == []
    for commits in ((second, first), (second, second)):
        write(repository, dated(*commits))
        assert len(false_dates(repository, "page")) == 1
    write(repository, dated(second, first).replace('"before"', '"after"') + "date = 2026-01-31\n")
    assert false_dates(repository, "page") == []


def test_a_folder_without_history_is_told(tmp_path, repository):
    assert has_history(repository)
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "1", repository.as_uri(), str(shallow)], check=True)
    assert not has_history(shallow)

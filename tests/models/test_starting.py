"""New runs: templates that can be trained, recipes changed in single values, and sweeps that go on where they stopped."""

import pytest

from mechbp.errors import InputError, LimitExceeded
from mechbp.models.config import TrainingConfig, read_recipe
from mechbp.models.recipe_edits import Setting, combinations, edited, set_in_place
from mechbp.models.run_folder import stored_steps
from mechbp.models.starting import TEMPLATES, new_run, sweep, template_names
from mechbp.models.training import train

FEW = [Setting.of(text) for text in ("training.steps=2", "training.batch_size=4", "training.warmup_steps=0")]


@pytest.mark.parametrize("name", template_names())
def test_every_template_can_be_trained(name, tmp_path):
    recipe = new_run(tmp_path / "own", name, FEW)
    train(recipe.parent, trust=name == "own")
    assert stored_steps(recipe.parent) == (0, 2)
    comments = [line for line in (TEMPLATES / f"{name}.toml").read_text().splitlines() if line.startswith("#")]
    assert comments and all(line in recipe.read_text().splitlines() for line in comments)


def test_there_is_a_template_of_every_wing():
    assert template_names() == ["chain", "lists", "own", "root", "topics", "tree"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("training.steps=500", (500,)),
        ("training.learning_rate=1e-3,2e-3", (1e-3, 2e-3)),
        ("training.seed=0..3", (0, 1, 2, 3)),
        ("process.x=-1..1", (-1, 0, 1)),
        ("training.decay=linear", ("linear",)),
        ('training.decay="linear", "none"', ("linear", "none")),
        ("training.decay=linear,none", ("linear", "none")),
        ("objective.flag=true", (True,)),
    ],
)
def test_values_are_read_as_toml_and_words_as_strings(text, values):
    assert Setting.of(text).values == values


@pytest.mark.parametrize("text", ["", "steps=5", "training.steps", "training.steps=", "a.b=3..1", "a.b=0..99999", "A.b=1"])
def test_what_is_no_setting_is_refused(text):
    with pytest.raises(InputError, match="--set"):
        Setting.of(text)


def test_an_edit_keeps_comments_and_all_other_values():
    before = "# why\n[training]\nsteps = 5  # few\n\n[model]\nd_model = 8\n"
    after = edited(before, [("training", "steps", 7), ("objective", "task", "root")], "here")
    assert after.startswith("# why\n[training]\nsteps = 7  # few\n\n[model]\nd_model = 8\n")
    assert after.rstrip().endswith('[objective]\ntask = "root"')


def test_every_combination_is_told_apart_by_what_varies():
    found = combinations([Setting.of(text) for text in ("training.seed=0..1", "model.d_model=8", "training.decay=linear,none")])
    assert [name for name, _ in found] == ["seed0-decaylinear", "seed0-decaynone", "seed1-decaylinear", "seed1-decaynone"]
    assert all(("model", "d_model", 8) in changes for _, changes in found)
    with pytest.raises(InputError, match="given twice"):
        combinations([Setting.of("a.b=1"), Setting.of("a.b=2")])
    with pytest.raises(LimitExceeded):
        combinations([Setting.of("a.b=0..99"), Setting.of("a.c=0..99")])


def test_a_wrong_recipe_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="did you mean 'steps'"):
        new_run(tmp_path / "own", "tree", [Setting.of("training.step=3")])
    assert list(tmp_path.iterdir()) == []
    new_run(tmp_path / "own", "tree")
    with pytest.raises(InputError, match="is there already"):
        new_run(tmp_path / "own", "tree")
    with pytest.raises(InputError, match=r"Templates that need no run: chain, lists"):
        new_run(tmp_path / "other", "nope")


@pytest.mark.parametrize("like", template_names())
@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ([], 32),
        (["training.steps=800"], 32),
        (["training.steps=200"], 8),
        (["training.steps=1"], 1),
        (["training.steps=200", "training.measured_steps=100"], 100),
    ],
)
def test_a_short_training_of_a_template_is_measured_seldom(like, settings, measured, tmp_path):
    recipe = new_run(tmp_path / "own", like, [Setting.of(text) for text in settings])
    assert read_recipe(recipe, "leave").training.measured_steps == measured
    assert "measured_steps = " in recipe.read_text() and "# log-spaced lines" in recipe.read_text()


def test_how_often_other_recipes_are_measured_stays_as_it_was(tmp_path):
    assert TrainingConfig(steps=200, batch_size=1, learning_rate=0.1).measured_steps == 64
    base = new_run(tmp_path / "base", "chain", [Setting.of("training.measured_steps=50")])
    text = base.read_text()
    base.write_text(text.replace("measured_steps = 50", "# the default"))
    short = new_run(tmp_path / "short", str(base.parent), [Setting.of("training.steps=200")])
    assert read_recipe(short).training.measured_steps == 64 and "measured_steps" not in short.read_text()


def test_a_sweep_writes_siblings_once_and_refuses_to_replace_another_recipe(tmp_path):
    base = new_run(tmp_path / "base", "chain", FEW).parent
    asked = [Setting.of("training.seed=0..1")]
    folders = sweep(base, asked)
    assert [folder.name for folder in folders] == ["base-seed0", "base-seed1"]
    assert [read_recipe(folder / "run.toml").training.seed for folder in folders] == [0, 1]
    train(folders[0])
    held = (folders[0] / "run.toml").stat().st_mtime_ns
    assert sweep(base, asked) == folders and (folders[0] / "run.toml").stat().st_mtime_ns == held
    (folders[1] / "run.toml").write_text("# mine\n" + (folders[1] / "run.toml").read_text())
    with pytest.raises(InputError, match="holds another recipe"):
        sweep(base, asked)
    with pytest.raises(InputError, match="give a key several values"):
        sweep(base, [Setting.of("training.seed=0")])


def test_a_trained_run_keeps_its_recipe(tmp_path):
    folder = new_run(tmp_path / "own", "chain", FEW).parent
    set_in_place(folder, [Setting.of("training.steps=3")])
    assert read_recipe(folder / "run.toml").training.steps == 3
    with pytest.raises(InputError, match="has 2 values"):
        set_in_place(folder, [Setting.of("training.steps=3,4")])
    train(folder)
    with pytest.raises(InputError, match="another recipe is another run"):
        set_in_place(folder, [Setting.of("training.steps=4")])
    assert read_recipe(folder / "run.toml").training.steps == 3

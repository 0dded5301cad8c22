"""Pictures of all beliefs at once: every prefix a point, its colour that of its exact belief, in images of many small cells."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from jaxtyping import Float64, UInt8

from analyses.shared.belief_clouds import MARGIN, Projection
from mechbp.report.document import FigureData

PIXELS = 300
"""Width of an image; its height follows."""
CELLS = 20
"""Cells across of the counts in the table."""
DARKEST, LIGHTEST = 0.22, 0.8
"""Between these every part of a colour is drawn, so that points stand out on light and on dark paper."""
FAINTEST = 0.35
"""Opacity of a cell with one point; the fullest hundredth of cells are opaque."""


def density_figure(
    figure: str,
    title: str,
    caption: str,
    alt: str,
    exact: Float64[np.ndarray, "row state"],
    panels: dict[str, Float64[np.ndarray, "row state"]],
) -> FigureData:
    """Return densities of the same rows, {panel: beliefs}, coloured by the exact belief; what lies outside the picture is cut."""
    plane = Projection.of(exact)
    every = np.concatenate([plane.points(exact), np.array(plane.outline).reshape(-1, 2)])
    low, high = every.min(axis=0) - MARGIN, every.max(axis=0) + MARGIN
    colors = np.clip(exact @ plane.colors, 0, 1)
    shape = (PIXELS, round(PIXELS * (high[1] - low[1]) / (high[0] - low[0])))
    coarse = (CELLS, round(CELLS * shape[1] / shape[0]))
    drawn = []
    for name, values in panels.items():
        points = plane.points(values)
        drawn.append(
            {
                "title": name,
                "png": png(image(points, colors, low, high, shape)),
                "counts": binned(points, np.ones(len(points)), low, high, coarse).astype(int),
            }
        )
    edges = {f"{axis}_edges": np.linspace(low[i], high[i], coarse[i] + 1) for i, axis in enumerate("xy")}
    data: dict[str, object] = {"panels": drawn, **edges}
    if plane.outline:
        data["outline"] = np.round(plane.outline, 3)
    return FigureData(figure, "densities", title, caption, alt, data)


def binned(
    points: Float64[np.ndarray, "row 2"],
    weights: Float64[np.ndarray, " row"],
    low: Float64[np.ndarray, " 2"],
    high: Float64[np.ndarray, " 2"],
    shape: tuple[int, int],
) -> Float64[np.ndarray, "down across"]:
    """Return the sums of weights in equal cells, `shape` of them across and up; the first row is the lowest."""
    ranges = [(low[0], high[0]), (low[1], high[1])]
    return np.histogram2d(points[:, 0], points[:, 1], bins=shape, range=ranges, weights=weights)[0].T


def image(
    points: Float64[np.ndarray, "row 2"],
    colors: Float64[np.ndarray, "row 3"],
    low: Float64[np.ndarray, " 2"],
    high: Float64[np.ndarray, " 2"],
    shape: tuple[int, int],
) -> UInt8[np.ndarray, "down across 4"]:
    """Return red, green, blue and opacity per cell, the highest row first: the mean colour, the more opaque the more points."""
    counts = binned(points, np.ones(len(points)), low, high, shape)
    sums = np.stack([binned(points, colors[:, part], low, high, shape) for part in range(3)], axis=-1)
    mean = sums / np.maximum(counts, 1)[..., None]
    full = np.log1p(np.quantile(counts[counts > 0], 0.99)) if counts.any() else 1.0
    opacity = np.where(counts > 0, np.clip(FAINTEST + (1 - FAINTEST) * np.log1p(counts) / full, 0, 1), 0)
    # Few levels: neighbours that differ by less than is seen are stored as alike, which makes the image a third as large.
    levels = np.round(np.concatenate([DARKEST + (LIGHTEST - DARKEST) * mean, opacity[..., None]], axis=-1) * 15) / 15
    levels[counts == 0] = 0
    return np.round(255 * levels[::-1]).astype(np.uint8)


def png(pixels: UInt8[np.ndarray, "down across 4"]) -> str:
    """Return an image as PNG in base64 (ISO/IEC 15948: 8 bits a channel, with opacity, no filter)."""
    down, across, _ = pixels.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", across, down, 8, 6, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()

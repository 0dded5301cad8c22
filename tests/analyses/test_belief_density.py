"""Images of beliefs: the encoder against a decoder, cells against points put by hand, colours by what the points are."""

import base64
import struct
import zlib

import numpy as np

from analyses.shared.belief_clouds import CORNERS
from analyses.shared.belief_density import DARKEST, LIGHTEST, binned, density_figure, image, png


def decoded(text):
    """Decode a PNG that uses no filter, checking every checksum."""
    content = base64.b64decode(text)
    at, chunks = 8, {}
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    across, down = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(down, 1 + 4 * across)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(down, across, 4)


def test_an_image_comes_back_as_it_was():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4)).astype(np.uint8)
    assert np.array_equal(decoded(png(pixels)), pixels)


def test_points_lie_in_their_cells_with_their_mean_colour():
    points = np.array([[0.5, 0.5], [0.6, 0.4], [2.5, 1.5], [9.0, 9.0]])  # the last one lies outside
    colors = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1, 1, 1]])
    low, high = np.zeros(2), np.array([3.0, 2.0])
    assert binned(points, np.ones(4), low, high, (3, 2)).tolist() == [[2, 0, 0], [0, 0, 1]]
    pixels = image(points, colors, low, high, (3, 2))
    assert (pixels[..., 3] > 0).tolist() == [[False, False, True], [True, False, False]]  # the highest row comes first
    half = DARKEST + (LIGHTEST - DARKEST) / 2
    assert np.allclose(pixels[1, 0, :3] / 255, [half, half, DARKEST], atol=1 / 15)
    assert pixels[1, 0, 3] > pixels[0, 2, 3]


def test_every_prefix_is_counted_and_exact_corners_lie_at_the_corners():
    beliefs = np.concatenate([np.eye(3), np.full((5, 3), 1 / 3)])
    figure = density_figure("fig-a", "A", "c", "a", beliefs, {"exact": beliefs, "read": beliefs[::-1]})
    for panel in figure.data["panels"]:
        assert np.sum(panel["counts"]) == len(beliefs)
    assert np.allclose(figure.data["outline"], CORNERS, atol=1e-3)
    counts = np.array(figure.data["panels"][0]["counts"])
    assert counts[1].sum() == 2 and counts.max() == 5  # two corners stand just above the lower margin

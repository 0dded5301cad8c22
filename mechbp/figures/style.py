"""What all figures share: colours that work on light and dark paper, text as plain text, axes, ranges."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from typing import Any

PALETTE = ("#3b7cc4", "#cb6418", "#24906a", "#9a68b8", "#c8506f", "#a07d16", "#2a8ca3", "#84715f")
"""Contrast at least 3 : 1 on both papers; neighbours differ in lightness or hue for colour-blind readers too."""
GREYS = ("#7f868e", "#a08350", "#5f8a96", "#997a9c", "#7a8c5e")
"""Controls: a grey, then muted tones of it, so that no two controls of a figure look the same."""
GREY = GREYS[0]
PAPER = {"light": "#fdfcfa", "dark": "#16181b"}
SYMBOLS = ("circle", "square", "diamond", "triangle-up")
"""Markers take turns; more kinds than these nobody tells apart, so the colour does the rest."""
REFERENCE_DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")
SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
SEQUENTIAL = ("#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725")
"""Viridis: lightness rises evenly, so colour-blind readers and grey printers lose nothing."""
DIVERGING = ("#2b5c8a", "#5b8db8", "#9dc0dc", "#dbe7f0", "#f5f3ef", "#f6dfc6", "#eab37c", "#d0803a", "#9c4a10")
"""Blue (negative) to orange (positive): distinct for every kind of colour blindness."""
LEGEND_ROOM = 34
"""Characters after which a name in the legend is wrapped."""
GROUP = 0.8
"""Share of a category's room that its bars or dots take; the rest is air."""
NOMINAL_WIDTH = {False: 1040, True: 340}
"""Width in pixels that a layout is planned for: wide, narrow."""


def template(dark: bool) -> dict[str, Any]:
    """Return the part of a layout that depends on the paper."""
    text, muted, grid = ("#dddad3", "#a3a8ae", "#2e3237") if dark else ("#24272b", "#5c6269", "#e6e3dc")
    axis = {
        "gridcolor": grid,
        "zerolinecolor": grid,
        "linecolor": muted,
        "tickcolor": muted,
        "tickfont": {"color": muted},
        "title": {"font": {"color": text}},
    }
    return {
        "layout": {
            "font": {"color": text, "family": SANS, "size": 13},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis,
            "yaxis": axis,
            "coloraxis": {"colorbar": {"tickfont": {"color": muted}, "outlinewidth": 0}},
            "shapedefaults": {"line": {"color": text}},
            "annotationdefaults": {
                "font": {"color": muted},
                "xref": "paper",
                "yref": "paper",
                "xanchor": "left",
                "align": "left",
                "showarrow": False,
            },
            "hoverlabel": {
                "bgcolor": "#24272b" if dark else "#ffffff",
                "bordercolor": muted,
                "font": {"color": text, "family": SANS, "size": 13},
                "align": "left",
            },
        },
        "data": {"bar": [{"error_y": {"color": text, "thickness": 1.2, "width": 3}}]},
    }


def base(height: int, narrow: bool, **extra: Any) -> dict[str, Any]:
    """Return the layout that all kinds start from."""
    return {
        "template": template(dark=False),
        "height": height,
        "margin": {"l": 52 if narrow else 64, "r": 12 if narrow else 20, "t": 12, "b": 48, "pad": 2},
        "minreducedheight": 2,  # by default no title moves a plot below 64 pixels, where a figure of one row has it on its ticks
        "autotypenumbers": "strict",
        "hovermode": "closest",
        "dragmode": False if narrow else "zoom",
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "bottom",
            "font": {"size": 11.5 if narrow else 13},
            "tracegroupgap": 0,
        },
        **extra,
    }


def axis(title: str, narrow: bool, log: bool = False, span: tuple[float, float] | None = None, room: int = 0) -> dict[str, Any]:
    """Return one axis; `room` is the number of characters that its title has on one line."""
    result: dict[str, Any] = {
        "title": {"text": label(title, room or (40 if narrow else 110)), "standoff": 8, "font": {"size": 12 if narrow else 13}},
        "automargin": True,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickfont": {"size": 11 if narrow else 12},
        "type": "log" if log else "linear",
        "nticks": 6 if narrow else 10,
    }
    if span:
        result["range"] = [round(math.log10(v), 6) if log else round(v, 10) for v in span]
        if log and span[1] / span[0] > 30:
            decades = math.ceil(math.log10(span[1] / span[0]) / 6) if narrow else 1  # from one label to the next
            result |= {"dtick": decades, "exponentformat": "power", "minor": {"ticks": "outside", "ticklen": 2, "dtick": "D1"}}
            del result["nticks"]
        elif log and narrow and span[1] / span[0] > 3:
            result["dtick"] = "D2"  # 1, 2, 5: all digits of a decade lie on each other
            del result["nticks"]
    return result


def fit_legend(layout: dict[str, Any], names: list[str], narrow: bool) -> None:
    """Make the figure higher by what a legend of these names takes; one name per line on a narrow page."""
    texts = [label(name, LEGEND_ROOM).split("<br>") for name in names]
    if narrow:
        layout["legend"]["orientation"] = "v"
        layout["height"] += 12 + sum(5 + 15 * len(lines) for lines in texts)
        return
    widths = [50 + 7.4 * max(map(len, lines)) for lines in texts]
    layout["height"] += 24 * (1 + int(sum(widths) / (NOMINAL_WIDTH[False] - layout["margin"]["l"] - layout["margin"]["r"])))


def span(
    values: Iterable[float | None], log: bool = False, include: Iterable[float] = (), pad: float = 0.05
) -> tuple[float, float]:
    """Return the smallest range that holds all values with a little air; positive where `log`."""
    known = [v for v in (*values, *include) if v is not None and (v > 0 or not log)] or [1.0]
    low, high = min(known), max(known)
    if log:
        air = 10 ** (pad * max(math.log10(high / low), 0.5))
        return low / air, high * air
    air = pad * (high - low or abs(high) or 1.0)
    return (low if low in include else low - air), (high if high in include else high + air)


def label(text: str, room: int = 0) -> str:
    """Return plain text for plotly, whose text is a small markup language; wrapped after `room` characters."""
    lines = textwrap.wrap(text, room) or [""] if room else [text]
    return "<br>".join(line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in lines)


def reference_line(reference: dict[str, Any], axis_name: str, index: int, legend: bool) -> dict[str, Any]:
    """Return a line across the whole plot at one value of `axis_name`, "x" or "y"."""
    other = "x" if axis_name == "y" else "y"
    return {
        "type": "line",
        f"{other}ref": "paper",
        f"{other}0": 0,
        f"{other}1": 1,
        f"{axis_name}0": reference[axis_name],
        f"{axis_name}1": reference[axis_name],
        "opacity": 0.65,
        "line": {"width": 1.2, "dash": REFERENCE_DASHES[index % len(REFERENCE_DASHES)]},
        "layer": "below",
        "name": label(reference["name"], LEGEND_ROOM),
        "showlegend": legend,
    }


def colorscale(colors: tuple[str, ...]) -> list[list[float | str]]:
    """Return colours as evenly spaced stops."""
    return [[round(i / (len(colors) - 1), 6), color] for i, color in enumerate(colors)]


def colors_of(series: list[dict[str, Any]]) -> list[str]:
    """Return the colours of series: their palette index where they name one, greys for controls, else by position."""
    found: list[str] = []
    controls = 0
    for index, part in enumerate(series):
        if "color" in part:
            found.append(PALETTE[part["color"] % len(PALETTE)])
        elif part.get("control"):
            found.append(GREYS[controls % len(GREYS)])
            controls += 1
        else:
            found.append(PALETTE[index % len(PALETTE)])
    return found


def faded(color: str, alpha: float) -> str:
    """Return a hex colour with transparency, as CSS rgba()."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def number(value: float | None) -> str:
    """Write a number for a hover label."""
    return "no value" if value is None else f"{value:.4g}"


def interval(series: dict[str, Any], index: int) -> str:
    """Write the interval of one point for a hover label, or nothing."""
    if "low" not in series:
        return ""
    return f" [{number(series['low'][index])}, {number(series['high'][index])}]"


def arms(series: dict[str, Any], axis_name: str) -> dict[str, Any] | None:
    """Return plotly's error bars for a series with intervals."""
    if "low" not in series:
        return None
    centre, low, high = series[axis_name], series["low"], series["high"]
    known = [None not in triple for triple in zip(centre, low, high, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [round(max(h - c, 0.0), 10) if ok else None for c, h, ok in zip(centre, high, known, strict=True)],
        "arrayminus": [round(max(c - v, 0.0), 10) if ok else None for c, v, ok in zip(centre, low, known, strict=True)],
    }

"""The results of a benchmark of images: kept as JSON, printed as a table, drawn as bars."""

import json
from dataclasses import asdict, dataclass, field
from html import escape
from math import log10
from pathlib import Path
from statistics import median
from typing import Literal

REFERENCE = "reference"


@dataclass(frozen=True)
class Figure:
    """Something that is measured: seconds, bytes, a rate, or 1 for yes and 0 for no."""

    key: str
    title: str
    unit: Literal["s", "B", "/s", "yes"]


FIGURES = [
    Figure("cold", "clean build, uv's cache warm", "s"),
    Figure("cold_one", "clean build, its steps on one core", "s"),
    Figure("code", "rebuild after a code edit", "s"),
    Figure("dependency", "rebuild after one more dependency", "s"),
    Figure("version", "rebuild after a new version of the project", "s"),
    Figure("pushed_code", "pushed after a code edit", "B"),
    Figure("pushed_dependency", "pushed after one more dependency", "B"),
    Figure("pushed_version", "pushed after a new version of the project", "B"),
    Figure("size", "image, gzip", "B"),
    Figure("same", "two clean builds give the same layers", "yes"),
    Figure("node", "empty node to first answer", "s"),
    Figure("node_zstd", "empty node to first answer, zstd", "s"),
    Figure("start", "start to first answer", "s"),
    Figure("cpu", "CPU to first answer", "s"),
    Figure("memory", "memory after 1,000 requests", "B"),
    Figure("rate", "requests per second, one process on a core", "/s"),
]
TITLES = {figure.key: figure.title for figure in FIGURES}
UNITS = {figure.key: figure.unit for figure in FIGURES}


@dataclass
class Results:
    """What was measured: by layout and figure the value of each round."""

    about: dict[str, str]
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, layout: str, values: dict[str, list[float]]) -> None:
        """Add the values of one round of one layout."""
        for figure, measured in values.items():
            self.samples.setdefault(layout, {}).setdefault(figure, []).extend(measured)

    def value(self, layout: str, figure: str) -> float | None:
        """Return the median of a figure, None if not measured; yes must hold in each round."""
        measured = self.samples.get(layout, {}).get(figure)
        if not measured:
            return None
        return min(measured) if UNITS[figure] == "yes" else median(measured)

    def ratio(self, layout: str, figure: str) -> float | None:
        """Return a figure as a part of the reference's, if this is our own layout."""
        own, other = self.value(layout, figure), self.value(REFERENCE, figure)
        if not ours(layout) or UNITS[figure] == "yes" or own is None or not other:
            return None
        return own / other

    def write(self, path: Path) -> None:
        """Keep the results, to be drawn again."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Take results that were kept."""
        return cls(**json.loads(path.read_text()))

    def heading(self) -> str:
        """Say how and on what the results came about."""
        about = self.about
        return (
            f"Medians of {about['rounds']} rounds on {about['machine']}, Docker {about['docker']}, "
            f"python:{about['python']}, uv {about['uv']}, {about['date']}."
        )


def ours(layout: str) -> bool:
    """Say whether the template writes this layout."""
    return layout.startswith("here")


def written(value: float, unit: str) -> str:
    """Write a number of a unit as a person reads it; bytes in decimal kB and MB."""
    if unit == "yes":
        return "yes" if value else "no"
    if unit == "s":
        return f"{value:.2f} s"
    if unit == "/s":
        return f"{value:.0f}"
    for size, name in ((1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.1f} {name}"
    return f"{value:.0f} B"


def percent(ratio: float) -> str:
    """Write a ratio with two significant digits."""
    return f"{ratio:.0%}" if ratio >= 0.1 else f"{100 * ratio:.2g}%"


def cell(results: Results, layout: str, figure: str) -> str:
    """Write one figure of one layout, and its part of the reference's if there is one."""
    value, ratio = results.value(layout, figure), results.ratio(layout, figure)
    if value is None:
        return "-"
    text = written(value, UNITS[figure])
    return text if ratio is None else f"{text} ({percent(ratio)})"


def table(results: Results) -> str:
    """Write a Markdown table: a row a figure, a column a layout."""
    rows = [["figure", *results.samples], ["---"] * (len(results.samples) + 1)]
    for figure in FIGURES:
        if not any(figure.key in measured for measured in results.samples.values()):
            continue
        rows.append([figure.title, *(cell(results, name, figure.key) for name in results.samples)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    note = f"In brackets: the part of {REFERENCE}'s figure." if REFERENCE in results.samples else ""
    return "\n".join([f"{results.heading()} {note}".strip(), "", *lines])


# --- The drawing: its lengths are pixels ---

PANELS = ["pushed_code", "node", "start", "size"]
WIDTH, GAP, MARGIN = 840, 32, 6
NAMES, VALUES, ROW, HEAD = 128, 76, 24, 32
PANEL = (WIDTH - GAP - 2 * MARGIN) // 2
BAR = PANEL - NAMES - VALUES

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.title { font-weight: 600; }
.muted { fill: #59636e; }
.note { font-size: 12px; }
.own { fill: #0969da; }
.other { fill: #8c959f; }
.line { fill: none; stroke-width: 2; }
.line.own { stroke: #0969da; }
.line.other { stroke: #8c959f; }
.axis { fill: none; stroke: #8c959f; stroke-width: 1; }
text.own { fill: #1f2328; font-weight: 600; }
@media (prefers-color-scheme: dark) {
text, text.own { fill: #f0f6fc; }
.muted { fill: #9198a1; }
rect.own { fill: #4493f8; }
.line.own { stroke: #4493f8; fill: none; }
.other { fill: #6e7681; }
.line.other { fill: none; }
}
"""


def label(x: float, y: float, text: str, kind: str = "") -> str:
    """Draw a line of text; a kind is one of the classes in STYLE."""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def length(value: float, values: list[float], logarithmic: bool) -> float:
    """Return the length of a bar: the greatest value has all there is, and none vanishes."""
    largest = max([*values, 1e-9])
    if logarithmic:
        return max(2.0, BAR * log10(max(value, 1)) / max(log10(max(largest, 1)), 1))
    return max(2.0, BAR * value / largest)


def panel(results: Results, figure: str, x: float, y: float) -> list[str]:
    """Draw one figure of all layouts, a bar each."""
    logarithmic = figure == "pushed_code"
    values = {name: results.value(name, figure) for name in results.samples}
    known = [value for value in values.values() if value is not None]
    drawn = [label(x, y + 14, TITLES[figure] + ", log scale" * logarithmic, "title")]
    for row, (name, value) in enumerate(values.items()):
        top = y + HEAD + row * ROW
        kind = "own" if ours(name) else ""
        drawn.append(label(x, top + 13, name, kind or "muted"))
        if value is None:
            continue
        long = length(value, known, logarithmic)
        drawn.append(
            f'<rect x="{x + NAMES:g}" y="{top + 1:g}" width="{long:.1f}" height="16" rx="2" '
            f'class="{kind or "other"}"/>'
        )
        text = written(value, UNITS[figure])
        drawn.append(label(x + NAMES + long + 6, top + 13, text, kind))
    return drawn


def spoken(results: Results) -> str:
    """Say what the drawing shows, for those who do not see it."""
    sentences = []
    for figure in PANELS:
        values = ", ".join(f"{name} {cell(results, name, figure)}" for name in results.samples)
        sentences.append(f"{TITLES[figure]}: {values}.")
    return " ".join(sentences)


@dataclass(frozen=True)
class Curve:
    """A figure over the sizes of a project: packages or modules, whichever its points differ in."""

    figure: str
    title: str
    axis: Literal["packages", "modules"]


HEIGHT = 150


def on_axis(title: str, axis: str) -> int:
    """Return the number of packages or modules in a title such as "20 packages, 10 modules"."""
    numbers = dict(part.split()[::-1] for part in title.split(", "))
    return int(numbers[axis])


def curve(results: dict[str, Results], drawn: Curve, x: float, y: float) -> list[str]:
    """Draw one figure over the size, a line each layout; both axes begin at 0."""
    first = next(iter(results))
    other = "modules" if drawn.axis == "packages" else "packages"
    sizes = {
        title: on_axis(title, drawn.axis)
        for title in results
        if on_axis(title, other) == on_axis(first, other)
    }
    layouts = [*results[first].samples]
    values = {
        (name, size): results[title].value(name, drawn.figure) or 0.0
        for name in layouts
        for title, size in sizes.items()
    }
    wide, top = PANEL - VALUES - NAMES, y + HEAD
    right, highest = max(sizes.values()), max(values.values())
    body = [label(x, y + 14, drawn.title, "title")]
    body.append(f'<path d="M{x:g} {top:g}v{HEIGHT}h{wide:g}" class="axis"/>')
    for size in sizes.values():
        at = x + wide * size / right
        body.append(label(at - 8, top + HEIGHT + 16, str(size), "muted note"))
    for name in layouts:
        kind = "own" if ours(name) else "other"
        dashed = ' stroke-dasharray="5 3"' if name == "here, distroless" else ""
        places = [
            (x + wide * size / right, top + HEIGHT * (1 - values[name, size] / highest))
            for size in sizes.values()
        ]
        points = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        body.append(f'<polyline points="{points}" class="line {kind}"{dashed}/>')
    # At the end of each line its name; those of lines that end together are moved apart.
    ends = sorted(layouts, key=lambda name: -values[name, right])
    below = top - 20.0
    for name in ends:
        below = max(top + HEIGHT * (1 - values[name, right] / highest) + 4, below + 16)
        text = f"{name} {written(values[name, right], UNITS[drawn.figure])}"
        body.append(label(x + wide + 8, below, text, "own" if ours(name) else "muted"))
    return body


def curves(results: dict[str, Results], drawn: list[Curve]) -> str:
    """Draw how figures grow as an SVG, two panels a row; results by their size."""
    step = HEAD + HEIGHT + 44
    height = (len(drawn) + 1) // 2 * step + MARGIN + 16
    body: list[str] = []
    spoken = []
    for index, one in enumerate(drawn):
        body += curve(results, one, MARGIN + index % 2 * (PANEL + GAP), MARGIN + index // 2 * step)
    for title, result in results.items():
        said = ", ".join(
            f"{TITLES[one]} {name} {cell(result, name, one)}"
            for one in dict.fromkeys(curve.figure for curve in drawn)
            for name in result.samples
        )
        spoken.append(f"{title}: {said}.")
    heading = next(iter(results.values())).heading()
    body.append(label(MARGIN, height - 6, f"Less is better. {heading}", "muted note"))
    return svg("How the cost of an image grows", " ".join(spoken), height, body)


def svg(title: str, description: str, height: float, body: list[str]) -> str:
    """Return an SVG of a height in pixels, with what says it to those who do not see it."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
            f'width="{WIDTH}" height="{height:g}" role="img" aria-labelledby="title desc">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="desc">{escape(description)}</desc>',
            f"<style>{STYLE}</style>",
            *body,
            "</svg>\n",
        ]
    )


def drawing(results: Results) -> str:
    """Draw the figures that matter most as an SVG, two panels a row."""
    step = HEAD + ROW * len(results.samples) + 22
    height = 2 * step + MARGIN + 16
    body: list[str] = []
    for index, figure in enumerate(PANELS):
        x = MARGIN + index % 2 * (PANEL + GAP)
        body += panel(results, figure, x, MARGIN + index // 2 * step)
    body.append(label(MARGIN, height - 6, f"Less is better. {results.heading()}", "muted note"))
    return svg("The image beside other ways to write it", spoken(results), height, body)

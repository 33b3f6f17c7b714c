"""The results as a picture: horizontal bars, one panel per quantity, as an SVG that needs nothing but itself.

The picture has no background of its own. A style sheet inside colours it for light or dark ones, and for viewers that
do not say which, in tones that can be read on both. Every bar carries its number, so that colour and length say
nothing that words do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.bench.report import format_ratio, format_value
from tests.bench.results import Results

WIDTH = 760
MARGIN = 8
LABEL_WIDTH = 180
VALUE_WIDTH = 120
ROW_HEIGHT = 24
BAR_HEIGHT = 16
TITLE_HEIGHT = 34
FOOT_HEIGHT = 30

PANELS: tuple[tuple[str, str], ...] = (
    ("tcp", "TCP, one stream, Mbit/s (more is better)"),
    ("tcp-cpu", "CPU-seconds per GB, both ends (less is better)"),
    ("udp-64", "64-byte UDP datagrams a second with under 1 % loss (more is better)"),
)

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #6e7781; }
  .title { font-weight: 600; font-size: 14px; }
  .label { text-anchor: end; }
  .foot { font-size: 11px; }
  .bar { fill: #8c959f; }
  .ours { fill: #2f81f7; }
  @media (prefers-color-scheme: light) {
    text { fill: #24292f; }
    .ratio, .foot { fill: #6e7781; }
    .bar { fill: #afb8c1; }
  }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .ratio, .foot { fill: #8d96a0; }
    .bar { fill: #57606a; }
  }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    value: float
    note: str
    is_ours: bool


def draw(results: Results) -> str:
    """The panels that have something to show, from the medians; programs without a VPN process are left out."""
    panels = [(title, bars) for key, title in PANELS if (bars := _bars(results, key))]
    elements: list[str] = []
    top = 0
    for title, bars in panels:
        elements += _panel(title, bars, top)
        top += TITLE_HEIGHT + ROW_HEIGHT * len(bars)
    foot = "{cpu}, {cores} cores, Linux {kernel}, Python {python}; ".format(**results.machine)
    foot += f"{results.date}; × is the ratio to {results.baseline_title}"
    elements.append(f'<text class="foot" x="0" y="{top + 22}">{escape(foot)}</text>')
    height = top + FOOT_HEIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-MARGIN} 0 {WIDTH + 2 * MARGIN} {height}" role="img">',
            "<title>Throughput and cost of VPN programs on one machine</title>",
            f"<style>{STYLE}</style>",
            *elements,
            "</svg>\n",
        ]
    )


def _bars(results: Results, quantity: str) -> list[Bar]:
    bars = []
    for program in results.programs:
        value = program.median(quantity)
        if value is None or program.key == "none":
            continue
        ratio = results.ratio(program, quantity)
        bars.append(Bar(program.title, value, "" if ratio is None else format_ratio(ratio), program.is_ours))
    return bars


def _panel(title: str, bars: Sequence[Bar], top: int) -> list[str]:
    """The elements of one panel whose upper edge is at `top`; the longest bar fills the width."""
    largest = max(bar.value for bar in bars) or 1.0
    elements = [f'<text class="title" x="0" y="{top + 20}">{escape(title)}</text>']
    for number, bar in enumerate(bars):
        row = top + TITLE_HEIGHT + ROW_HEIGHT * number
        length = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) * bar.value / largest
        kind = "bar ours" if bar.is_ours else "bar"
        baseline = row + BAR_HEIGHT - 3
        elements += [
            f'<text class="label" x="{LABEL_WIDTH - 8}" y="{baseline}">{escape(bar.label)}</text>',
            f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{row}" width="{length:.1f}" height="{BAR_HEIGHT}" rx="2"/>',
            f'<text x="{LABEL_WIDTH + length + 6:.1f}" y="{baseline}">{format_value(bar.value)}'
            f' <tspan class="ratio">{bar.note}</tspan></text>',
        ]
    return elements

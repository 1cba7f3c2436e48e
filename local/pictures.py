"""Draws what the demo shows on a terminal as docs/*.svg, for the README."""

import contextlib
import io
import re
from html import escape

import demo
import logs
import phase
import terminal
import trace
from servers import ROOT

COLUMNS = 124
CHARACTER, LINE, MARGIN = 7.2, 17, 16
# Of a terminal with a dark background, by the codes of terminal.py.
COLOURS = {
    "1": "#ffffff",
    "2": "#8b949e",
    "31": "#ff7b72",
    "32": "#7ee787",
    "33": "#f2cc60",
    "34": "#79c0ff",
    "35": "#d2a8ff",
    "36": "#76e3ea",
}
PLAIN, BACKGROUND = "#d6dde6", "#0d1117"
CODE = re.compile(r"\033\[(\d+)m")


def draw(api, model_url, groups):
    """Runs the demo, and draws it, a task's waterfall and a task's log lines."""
    api.make = "make {}".format
    with contextlib.redirect_stdout(io.StringIO()) as said:
        order, outage = demo.run(api, model_url)
    save("demo", "make demo", [_with_title(line) for line in said.getvalue().splitlines()])
    task, steps = trace.fetch(api.url, api.key, order)
    save(
        "trace",
        f"make trace TASK={order}",
        trace.render(task, steps, [], terminal.coloured, COLUMNS).splitlines(),
    )
    save("logs", f"make logs TASK={outage}", logs.so_far(groups, outage, terminal.coloured))


def save(name, command, lines):
    file = ROOT / "docs" / f"{name}.svg"
    file.write_text(
        svg([terminal.coloured("$ ", "green") + terminal.coloured(command, "bold"), "", *lines])
    )
    phase.say("picture", str(file.relative_to(ROOT)))


def svg(lines):
    """Lines of a terminal, with its codes for colours, each cut at the width of the picture."""
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    font = f"text{{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:{PLAIN};white-space:pre}}"
    shapes = [f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{BACKGROUND}"/>']
    for number, line in enumerate(lines):
        column, y = 0, MARGIN + (number + 0.75) * LINE
        for text, colour in _runs(line):
            text = text[: max(0, COLUMNS - column)]
            if text.strip():
                # A font in which a character is wider than others does not shift the rest.
                place = f'x="{MARGIN + column * CHARACTER:g}" y="{y:g}" textLength="{len(text) * CHARACTER:g}" lengthAdjust="spacingAndGlyphs"'
                fill = f' style="fill:{colour}"' if colour else ""
                shapes.append(f'<text {place}{fill} xml:space="preserve">{escape(text)}</text>')
            column += len(text)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"><style>{font}</style>'
    return "\n".join([head, *shapes, "</svg>", ""])


def _runs(line):
    """The pieces of a line, each with its colour if it has one."""
    colour = None
    for place, piece in enumerate(CODE.split(line)):
        if place % 2:
            colour = COLOURS.get(piece)
        elif piece:
            yield piece, colour


def _with_title(line):
    """A line of phase.say, with the colours of a terminal."""
    title, text = line[:9], line[9:]
    return terminal.coloured(title, "cyan") + terminal.coloured(
        text, "dim" if text.startswith(" make ") else ""
    )

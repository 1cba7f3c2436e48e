"""Draws what the demo, a trace and logs show on a terminal, as docs/*.svg."""

import contextlib
import io
import re
import trace
from html import escape

import demo
import logs
import phase
import terminal
from servers import ROOT

COLUMNS = 124
CHARACTER, LINE, MARGIN = 7.2, 17, 16
# The colours of a terminal with a dark background, by the codes of terminal.py.
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
    """Runs the demo, and draws it, one task's waterfall and another task's log lines."""
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
    """A picture of a terminal's lines, with its codes for colours, cut at the width."""
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    font = (
        "text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"
        "'DejaVu Sans Mono',monospace;"
        f"fill:{PLAIN};white-space:pre}}"
    )
    shapes = [f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{BACKGROUND}"/>']
    for number, line in enumerate(lines):
        column, y = 0, MARGIN + (number + 0.75) * LINE
        for text, colour in _runs(line):
            text = text[: max(0, COLUMNS - column)]
            if text.strip():
                # With a fixed length, a wide character of a font does not shift the rest.
                place = (
                    f'x="{MARGIN + column * CHARACTER:g}" y="{y:g}" '
                    f'textLength="{len(text) * CHARACTER:g}" lengthAdjust="spacingAndGlyphs"'
                )
                fill = f' style="fill:{colour}"' if colour else ""
                shapes.append(f'<text {place}{fill} xml:space="preserve">{escape(text)}</text>')
            column += len(text)
    box = f"0 0 {width:g} {height:g}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}"><style>{font}</style>'
    return "\n".join([head, *shapes, "</svg>", ""])


def _runs(line):
    """The parts of a line, each with its colour or None."""
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

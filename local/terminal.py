"""Text for a terminal: with colours if wanted, and without control characters of others."""

import os
import shutil
import sys

STYLES = {
    "dim": "2",
    "bold": "1",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
WIDTH = 100


def plain(text, _style):
    return text


def coloured(text, style):
    return f"\033[{STYLES[style]}m{text}\033[0m" if style in STYLES and text else text


def painter():
    """Colours for a person, none for a pipe; https://no-color.org."""
    return coloured if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else plain


def width():
    """The width of the terminal; None without a terminal: then lines may have any length."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else None


def printable(text):
    """The text on one line, without characters that move the cursor or change the terminal."""
    return "".join(
        character if character.isprintable() else "⏎" if character == "\n" else "·"
        for character in text
    )

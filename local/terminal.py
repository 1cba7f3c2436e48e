"""Text for a terminal: colours where they are wanted, and no control characters of somebody else's making."""

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
    """Of the terminal; None if there is none, and lines may be of any length."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else None


def printable(text):
    """On one line, and nothing in it that moves the cursor or changes the terminal."""
    return "".join(
        character if character.isprintable() else "⏎" if character == "\n" else "·"
        for character in text
    )

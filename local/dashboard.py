"""Reads the dashboard and the alarms from template.yaml, and draws docs/dashboard.svg."""

import json
import re
from html import escape
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
DRAWING = ROOT / "docs" / "dashboard.svg"
OURS = "AgentPlatform"
COLUMN, ROW, MARGIN, LINE = 50, 26, 6, 13


class Template(yaml.SafeLoader):
    """YAML in which `!Ref X` and similar tags are plain values: references are not needed here."""


def _plain(loader, _suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


Template.add_multi_constructor("!", _plain)


def template():
    return yaml.load((ROOT / "template.yaml").read_text(), Loader=Template)


def resources(kind):
    return {
        name: resource
        for name, resource in template()["Resources"].items()
        if resource["Type"] == kind
    }


def widgets():
    body, variables = resources("AWS::CloudWatch::Dashboard")["Dashboard"]["Properties"][
        "DashboardBody"
    ]
    for name in variables:
        body = body.replace(f"${{{name}}}", "")
    return json.loads(body)["widgets"]


def metrics_of(widget):
    """The (namespace, name, dimensions) that a widget draws, as a dimension's name and value."""
    found, before = [], []
    for entry in widget["properties"].get("metrics", []):
        words = [word for word in entry if not isinstance(word, dict)]
        if words:
            words = [before[place] if word == "." else word for place, word in enumerate(words)]
            before = words
            found.append((words[0], words[1], dict(zip(words[2::2], words[3::2], strict=True))))
        for options in entry:
            if isinstance(options, dict) and "SEARCH" in options.get("expression", ""):
                namespace, dimensions = re.search(
                    r"SEARCH\('\{([^,}]+),([^}]*)\}", options["expression"]
                ).groups()
                name = re.search(r'MetricName="(\w+)"', options["expression"]).group(1)
                found.append((namespace, name, dict.fromkeys(dimensions.split(","))))
    return found


def metrics_of_alarm(alarm):
    properties = alarm["Properties"]
    measured = [
        part["MetricStat"]["Metric"]
        for part in properties.get("Metrics", [])
        if "MetricStat" in part
    ] or [properties]
    return [
        (
            metric["Namespace"],
            metric["MetricName"],
            {dimension["Name"]: dimension["Value"] for dimension in metric["Dimensions"]},
        )
        for metric in measured
    ]


def draw():
    shapes, bottom = [], 0
    for widget in widgets():
        x, y, width, height = (widget[side] for side in ("x", "y", "width", "height"))
        left, top = x * COLUMN + MARGIN / 2, y * ROW + MARGIN / 2
        wide, high = width * COLUMN - MARGIN, height * ROW - MARGIN
        bottom = max(bottom, (y + height) * ROW)
        if widget["type"] == "text":
            heading = (
                widget["properties"]["markdown"]
                .splitlines()[0]
                .lstrip("# ")
                .replace("${AWS::StackName} ${Version}", "agents-dev")
            )
            shapes.append(
                f'<text class="h" x="{left:g}" y="{top + high / 2 + 6:g}">{escape(heading)}</text>'
            )
            continue
        shapes.append(
            f'<rect class="{widget["type"]}" x="{left:g}" y="{top:g}" '
            f'width="{wide:g}" height="{high:g}" rx="3"/>'
        )
        shapes.append(
            f'<text class="t" x="{left + 8:g}" y="{top + 16:g}">'
            f"{escape(widget['properties']['title'])}</text>"
        )
        for number, line in enumerate(_fit(_lines(widget), int((high - 22) // LINE), wide)):
            shapes.append(
                f'<text x="{left + 8:g}" y="{top + 16 + LINE * (number + 1):g}">'
                f"{escape(line)}</text>"
            )
    style = (
        "text{font-family:sans-serif;font-size:10px;fill:#555}"
        ".h{font-size:16px;font-weight:bold;fill:#111}.t{font-size:12px;font-weight:bold;fill:#111}"
        "rect{fill:#f4f7fb;stroke:#9ab}.alarm{fill:#fdf1ee;stroke:#c86}"
    )
    size = f"{24 * COLUMN} {bottom}"
    background = f'<rect width="{24 * COLUMN}" height="{bottom}" style="fill:#fff;stroke:none"/>'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}"><style>{style}</style>',
            background,
            *shapes,
            "</svg>",
            "",
        ]
    )


def _lines(widget):
    """What a widget shows, in words."""
    properties = widget["properties"]
    if widget["type"] == "alarm":
        return [
            re.sub(r"\$\{(\w+)\.Arn\}", r"\1", name)
            for name in ["UsersAreHurt", "SubmitBurn", "TaskBurn", *properties["alarms"]]
        ]
    lines, before = [], []
    for entry in properties["metrics"]:
        words = [word for word in entry if not isinstance(word, dict)]
        words = [before[place] if word == "." else word for place, word in enumerate(words)]
        before = words or before
        options = next((word for word in entry if isinstance(word, dict)), {})
        if options.get("visible", True):
            searched = re.search(r'MetricName="(\w+)"', options.get("expression", ""))
            name = searched.group(1) if searched else words[1] if words else ""
            lines.append(
                " ".join(filter(None, (name, options.get("label"))))
                if searched
                else options.get("label", name)
            )
    return lines


def _fit(lines, most, wide):
    """In as many lines as there is room for: several to a line if need be."""
    each = max(1, -(-len(lines) // max(1, most)))
    return [
        " · ".join(lines[first : first + each])[: int(wide / 5)]
        for first in range(0, len(lines), each)
    ]


if __name__ == "__main__":
    DRAWING.write_text(draw())

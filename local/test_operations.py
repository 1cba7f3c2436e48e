"""The template, the list of metrics, docs/operations.md and the code agree."""

import re
import unittest

import dashboard

OPERATIONS = (dashboard.ROOT / "docs" / "operations.md").read_text()
README = (dashboard.ROOT / "README.md").read_text()


def anchors(text):
    return {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)}


ANCHORS = anchors(OPERATIONS)
ALARMS = dashboard.resources("AWS::CloudWatch::Alarm")
COMPOSITES = dashboard.resources("AWS::CloudWatch::CompositeAlarm")
# Half of a condition: they speak through the composite alarm that names them.
WINDOWS = set(re.findall(r'ALARM\("\$\{(\w+Burn\d+[hm])\}"\)', str(COMPOSITES)))
BASE = {"service", "environment"}
BESIDES = ({"provider", "model"}, {"provider", "error"}, {"tool"}, {"reason"})


def listed():
    """The metrics in docs/metrics.txt: name to (services, sets of dimensions)."""
    metrics = {}
    for line in (dashboard.ROOT / "docs" / "metrics.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _unit, services, *besides = line.split()
            sets = [BASE] + [BASE | set(more.split(",")) for more in besides]
            metrics[name] = (set(services.split(",")), sets)
    return metrics


def used():
    """Where each of our metrics is used, with its dimensions."""
    for widget in dashboard.widgets():
        for namespace, name, dimensions in dashboard.metrics_of(widget):
            if namespace == dashboard.OURS:
                yield f"widget {widget['properties']['title']}", name, dimensions
    for alarm, resource in ALARMS.items():
        for namespace, name, dimensions in dashboard.metrics_of_alarm(resource):
            if namespace == dashboard.OURS:
                yield f"alarm {alarm}", name, dimensions


class Alarms(unittest.TestCase):
    def test_every_alarm_has_an_action_and_a_choice_for_missing_data(self):
        self.assertGreater(len(ALARMS), 20)
        for name, alarm in (ALARMS | COMPOSITES).items():
            properties = alarm["Properties"]
            with self.subTest(name):
                if name not in WINDOWS:
                    self.assertEqual(properties["AlarmActions"], ["AlarmTopic"])
                    self.assertEqual(properties["OKActions"], ["AlarmTopic"])
                if name not in COMPOSITES:
                    self.assertIn(properties["TreatMissingData"], ("notBreaching", "breaching"))

    def test_every_alarm_says_what_it_means_and_leads_to_its_entry(self):
        for name, alarm in (ALARMS | COMPOSITES).items():
            with self.subTest(name):
                meaning, anchor = re.fullmatch(
                    r"([A-Z].+\.) \$\{RunbookUrl\}#(\S+)", alarm["Properties"]["AlarmDescription"]
                ).groups()
                self.assertGreater(len(meaning.split()), 4)
                self.assertEqual(anchor, re.sub(r"burn\d+[hm]$", "burn", name.lower()))
                self.assertIn(anchor, ANCHORS)

    def test_every_entry_of_the_runbook_is_an_alarm(self):
        entries = set(re.findall(r"^### (\w+)$", OPERATIONS, re.M))
        self.assertEqual(entries, set(ALARMS) - WINDOWS | set(COMPOSITES))
        for body in re.split(r"^### \w+$", OPERATIONS, flags=re.M)[1:]:
            for part in ("**Means:**", "**Look", "**Do:**"):
                self.assertTrue(
                    part in body or "**do**" in body, f"{part} is missing in{body[:60]}"
                )

    def test_composite_alarms_name_alarms_that_exist(self):
        for composite in COMPOSITES.values():
            self.assertLessEqual(
                set(re.findall(r"\$\{(\w+)\}", composite["Properties"]["AlarmRule"])),
                {*ALARMS, *COMPOSITES},
            )

    def test_the_windows_of_an_error_budget_are_what_they_are_called(self):
        self.assertEqual(
            WINDOWS,
            {
                f"{goal}Burn{window}"
                for goal in ("Submit", "Task")
                for window in ("1h", "5m", "6h", "30m")
            },
        )
        for name in WINDOWS:
            with self.subTest(name):
                count, unit = re.search(r"(\d+)([hm])$", name).groups()
                properties = ALARMS[name]["Properties"]
                burn, *measured = properties["Metrics"]
                self.assertEqual(
                    {part["MetricStat"]["Period"] for part in measured},
                    {int(count) * {"h": 3600, "m": 60}[unit]},
                )
                self.assertEqual(float(properties["Threshold"]), 14.4 if count in ("1", "5") else 6)
                self.assertEqual(
                    {part["Id"] for part in measured},
                    set(re.findall(r"FILL\((\w+), 0\)", burn["Expression"])),
                )
                self.assertIn(
                    "/ 0.001," if name.startswith("Submit") else "/ 0.01,", burn["Expression"]
                )

    def test_basic_monitoring_keeps_to_single_metrics(self):
        for name, alarm in ALARMS.items():
            fully = alarm["Condition"] == "MonitoredFully"
            self.assertEqual(fully, "Metrics" in alarm["Properties"], name)
        for kind in ("AWS::CloudWatch::CompositeAlarm", "AWS::Logs::QueryDefinition"):
            self.assertEqual(
                {one["Condition"] for one in dashboard.resources(kind).values()}, {"MonitoredFully"}
            )

    def test_the_readme_says_what_alarms_cost_in_a_month(self):
        """0.10 USD for each metric of an alarm, 0.50 for a composite one (us-east-1)."""
        dimes = {True: 0, False: 0}  # by whether they are left out of `basic`
        for alarm in ALARMS.values():
            dimes[alarm["Condition"] == "MonitoredFully"] += len(dashboard.metrics_of_alarm(alarm))
        full = sum(dimes.values()) + 5 * len(COMPOSITES)
        said = re.search(
            r"alarms cost ([\d.]+) a month with `Monitoring=full`, the default, "
            r"([\d.]+) with `basic`",
            README,
        )
        self.assertEqual(said.groups(), (f"{full / 10:.2f}", f"{dimes[False] / 10:.2f}"))


class Metrics(unittest.TestCase):
    def test_what_is_used_is_listed_with_its_service_and_dimensions(self):
        metrics = listed()
        for place, name, dimensions in used():
            with self.subTest(f"{place}: {name}"):
                self.assertIn(name, metrics)
                services, sets = metrics[name]
                self.assertIn(set(dimensions), sets)
                if dimensions["service"]:
                    self.assertIn(dimensions["service"], services)

    def test_what_is_listed_is_drawn(self):
        drawn = {name for place, name, _ in used() if place.startswith("widget")}
        self.assertEqual(set(listed()) - drawn, set())

    def test_no_dimension_but_the_allowed_ones(self):
        for name, (_, sets) in listed().items():
            for dimensions in sets:
                self.assertIn(dimensions - BASE, (set(), *BESIDES), name)


class Dashboard(unittest.TestCase):
    def test_the_drawing_is_of_today_s_template(self):
        self.assertEqual(
            dashboard.DRAWING.read_text(), dashboard.draw(), "draw it again: make dashboard"
        )

    def test_widgets_fill_the_grid_and_none_covers_another(self):
        taken = set()
        for widget in dashboard.widgets():
            cells = {
                (x, y)
                for x in range(widget["x"], widget["x"] + widget["width"])
                for y in range(widget["y"], widget["y"] + widget["height"])
            }
            self.assertFalse(cells & taken, widget["properties"])
            taken |= cells
        self.assertEqual(len(taken), 24 * (1 + max(y for _, y in taken)))


class Operations(unittest.TestCase):
    def test_every_link_leads_somewhere(self):
        for target in re.findall(r"\]\(([^)]+)\)", OPERATIONS):
            with self.subTest(target):
                if target.startswith("https://"):
                    continue
                file, _, anchor = target.partition("#")
                text = (dashboard.ROOT / "docs" / file).read_text() if file else OPERATIONS
                self.assertTrue(not anchor or anchor in anchors(text))

    def test_the_table_of_faults_leads_from_what_is_counted_to_an_alarm(self):
        """tests/faults causes the faults and tests that they leave what the table says."""
        table = OPERATIONS.split("## The thirteen faults")[1].split("\n## ")[0]
        rows = [row.strip("|").split(" | ") for row in re.findall(r"^\|.*\|$", table, re.M)[2:]]
        self.assertEqual(len(rows), 13)
        drawn = {
            f"{namespace} {name}"
            for widget in dashboard.widgets()
            for namespace, name, _ in dashboard.metrics_of(widget)
        }
        for fault, messages, measured, entries in rows:
            with self.subTest(fault.strip()):
                for message in _quoted(messages):
                    self.assertIn(message, SOURCES)
                for metric in _quoted(measured):
                    self.assertTrue(metric in listed() or metric in drawn, metric)
                named = re.findall(r"\[(\w+)\]\(#(\w+)\)", entries)
                self.assertTrue(named)
                for alarm, anchor in named:
                    watched = {
                        f"{namespace} {name}"
                        for namespace, name, _ in dashboard.metrics_of_alarm(ALARMS[alarm])
                    }
                    left = {
                        metric if "/" in metric else f"{dashboard.OURS} {metric}"
                        for metric in _quoted(measured)
                    }
                    self.assertTrue(watched & left, f"{alarm} watches {watched}")
                    self.assertEqual(anchor, alarm.lower())

    def test_the_table_of_parameters_is_that_of_the_template(self):
        """The executor's settings have no defaults of their own: it refuses to start without."""
        table = OPERATIONS.split("### Which configuration runs")[1].split("\n### ")[0]
        rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\S+) \|$", table, re.M)
        executor = dashboard.resources("AWS::Serverless::Function")["ExecutorFunction"]
        variables = executor["Properties"]["Environment"]["Variables"]
        parameters = dashboard.template()["Parameters"]
        expected = {
            (parameter, variable, str(parameters[parameter]["Default"]))
            for variable, parameter in variables.items()
            if parameters.get(parameter, {}).get("Default", "") != ""
        }
        self.assertGreater(len(expected), 10)
        self.assertEqual(set(rows), expected)

    def test_the_table_of_shared_variables_is_that_of_the_template(self):
        table = OPERATIONS.split("### Which configuration runs")[1].split("\n### ")[0]
        rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", table, re.M)
        functions = dashboard.resources("AWS::Serverless::Function")
        owners = {}
        for name, function in functions.items():
            for variable in function["Properties"]["Environment"]["Variables"]:
                owners.setdefault(variable, set()).add(name.removesuffix("Function").lower())
        self.assertEqual(
            {variable: set(named.split(", ")) for variable, named in rows},
            {name: owners[name] for name in ("STATE_TABLE", "EPHEMERAL_TABLE", "TASK_QUEUE_URL")},
        )

    def test_the_entry_of_open_circuits_names_the_defaults(self):
        parameters = dashboard.template()["Parameters"]
        for name in ("BreakerFailures", "BreakerOpenSeconds"):
            self.assertIn(f"`{name}` ({parameters[name]['Default']})", OPERATIONS)

    def test_the_errors_that_are_explained_exist(self):
        table = OPERATIONS.split("## By error text")[1].split("\n## ")[0]
        rows = [row.strip("|").split(" | ") for row in re.findall(r"^\|.*\|$", table, re.M)[2:]]
        self.assertGreater(len(rows), 15)
        sources = re.sub(r"\\\n\s*", "", SOURCES)  # texts that go on in the next line
        for texts, *_ in rows:
            for text in _quoted(texts):
                with self.subTest(text):
                    self.assertIn(text, sources)

    def test_every_error_that_the_functions_log_of_their_dependencies_is_explained(self):
        """Those that name no task: a task's own errors are found by its id."""
        table = OPERATIONS.split("## By error text")[1].split("\n## ")[0]
        for text in (
            "configuration refused",
            "API key can't be read",
            "dependency does not answer",
            "request failed",
            "response cache unavailable",
            "shared circuit state unavailable",
            "cap on running tasks unavailable",
            "wait counter unavailable",
            "task run aborted: store error",
            "sweep aborted: store error",
            "the queue's backlog can't be read",
        ):
            self.assertIn(f"`{text}", table)

    def test_the_saved_queries_ask_for_messages_that_exist(self):
        queries = dashboard.resources("AWS::Logs::QueryDefinition")
        for name, query in queries.items():
            text = query["Properties"]["QueryString"]
            found = re.findall(r'message (?:= |in \[)("[^\]\n]*")', text)
            messages = [message for group in found for message in re.findall(r'"([^"]+)"', group)]
            messages += [
                message
                for group in re.findall(r"message like /([^/]+)/", text)
                for message in group.split("|")
            ]
            for message in messages:
                with self.subTest(f"{name}: {message}"):
                    self.assertIn(message, SOURCES)
            self.assertIn(f"`{query['Properties']['Name'].split('/')[1]}`", OPERATIONS)

    def test_the_query_for_dead_letters_knows_each_failure_that_makes_one(self):
        outcome = (dashboard.ROOT / "shared" / "src" / "domain" / "failure_code.rs").read_text()
        failures = re.findall(
            r"Self::(\w+)", re.search(r"fn is_dead_letter.*?\}", outcome, re.S)[0]
        )
        codes = {re.search(rf'Self::{failure} => "(\w+)"', outcome)[1] for failure in failures}
        query = dashboard.resources("AWS::Logs::QueryDefinition")["PoisonQuery"]["Properties"][
            "QueryString"
        ]
        self.assertEqual(set(re.findall(r'"(\w+)"', query)), codes)

    def test_the_saved_queries_ask_for_fields_that_lines_have(self):
        for name, query in dashboard.resources("AWS::Logs::QueryDefinition").items():
            text = re.sub(r'"[^"]*"|/[^/]+/', "", query["Properties"]["QueryString"])
            named = set(re.findall(r"\bas (\w+)", text))
            words = set(re.findall(r"(?<![@\w])[a-z]\w*", text)) - named - INSIGHTS
            for word in words:
                with self.subTest(f"{name}: {word}"):
                    self.assertIn(word, FIELDS)


class Logs(unittest.TestCase):
    def test_every_function_logs_lines_of_json_that_are_kept_for_a_while_and_is_traced(self):
        functions = dashboard.resources("AWS::Serverless::Function")
        shared = dashboard.template()["Globals"]["Function"]
        groups = dashboard.resources("AWS::Logs::LogGroup")
        self.assertEqual(len(functions), 3)
        for name, function in functions.items():
            with self.subTest(name):
                logging = shared["LoggingConfig"] | function["Properties"]["LoggingConfig"]
                self.assertEqual(
                    (logging["LogFormat"], logging["ApplicationLogLevel"]), ("JSON", "LogLevel")
                )
                self.assertIn(logging["LogGroup"], groups)
        self.assertEqual(
            {group["Properties"]["RetentionInDays"] for group in groups.values()},
            {"LogRetentionDays"},
        )
        self.assertEqual(shared["Tracing"], "Active")


def _quoted(text):
    return re.findall(r"`([^`]+)`", text)


# The words of Logs Insights' language that our queries use.
# The fields of spans in the log group aws/spans.
SPANS = {"name", "durationNano", "traceId", "spanId", "parentSpanId"}
INSIGHTS = SPANS | {"fields", "filter", "sort", "asc", "desc", "limit", "stats", "by", "in", "or"}
INSIGHTS |= {"and", "like", "as", "count", "count_distinct", "latest", "sum", "coalesce"}

# The fields that a line may have; the suite holds every line that is logged to them.
FIELDS = set(
    re.findall(
        r'"(\w+)"',
        (dashboard.ROOT / "shared/src/testing/log_schema.rs").read_text().split("/// Says what")[0],
    )
)

SOURCES = "\n".join(
    path.read_text()
    for folder in ("shared/src", "functions")
    for path in sorted((dashboard.ROOT / folder).rglob("*.rs"))
)

if __name__ == "__main__":
    unittest.main()

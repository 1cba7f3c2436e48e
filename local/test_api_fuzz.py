"""The runs of api_fuzz.py leave no operation out, and its exceptions name operations."""

import json
import re
import unittest

import api_fuzz
from install import ROOT

OPERATIONS = [
    operation
    for path in json.loads((ROOT / "docs" / "openapi.json").read_text())["paths"].values()
    for operation in path.values()
]


class Runs(unittest.TestCase):
    def test_each_operation_is_in_one_run(self):
        for operation in OPERATIONS:
            [tag] = operation["tags"]
            runs = [name for name, which in api_fuzz.RUNS.items() if chooses(which, tag)]
            self.assertEqual(len(runs), 1, f"{operation['operationId']}: {runs}")

    def test_exceptions_name_operations(self):
        config = (ROOT / "local" / "schemathesis.toml").read_text()
        lists = re.findall(r"^include-operation-id = \[(.*?)\]$", config, re.M | re.S)
        named = {name for names in lists for name in re.findall(r'"(\w+)"', names)}
        self.assertGreater(len(named), 10)
        self.assertLessEqual(named, {operation["operationId"] for operation in OPERATIONS})


def chooses(which, tag):
    pairs = list(zip(which[::2], which[1::2], strict=True))
    included = [value for option, value in pairs if option == "--include-tag"]
    return tag in included if included else ("--exclude-tag", tag) not in pairs


if __name__ == "__main__":
    unittest.main()

"""The documents' links lead somewhere, and the decisions and the glossary have one form."""

import re
import unittest

from install import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))


def anchors(text):
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


class Links(unittest.TestCase):
    def test_every_link_leads_to_a_file_and_a_heading(self):
        for document in DOCUMENTS:
            text = re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.M | re.S)
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                with self.subTest(f"{document.relative_to(ROOT)}: {target}"):
                    if target.startswith("https://"):
                        continue
                    file, _, anchor = target.partition("#")
                    linked = document.parent / file if file else document
                    self.assertTrue(linked.exists())
                    if anchor:
                        self.assertIn(anchor, anchors(linked.read_text()))

    def test_every_source_file_that_a_document_names_exists(self):
        folders = ("shared", "functions", "tests", "fuzz", "local")
        files = [str(file) for folder in folders for file in (ROOT / folder).rglob("*.rs")]
        for document in DOCUMENTS:
            for name in re.findall(r"`([\w/.]+\.rs)`", document.read_text()):
                with self.subTest(f"{document.relative_to(ROOT)}: {name}"):
                    self.assertTrue(any(file.endswith(f"/{name}") for file in files))

    def test_the_readme_stays_short(self):
        self.assertLessEqual(len((ROOT / "README.md").read_text().splitlines()), 150)


class Decisions(unittest.TestCase):
    def test_each_has_the_same_four_parts(self):
        for decision in DECISIONS:
            with self.subTest(decision.name):
                parts = re.findall(r"^## (.+)$", decision.read_text(), re.M)
                self.assertEqual(parts, ["Status", "Context", "Decision", "Consequences"])

    def test_each_has_a_number_and_is_listed(self):
        listed = (ROOT / "docs" / "decisions" / "README.md").read_text()
        for number, decision in enumerate(DECISIONS, 1):
            title = decision.read_text().splitlines()[0].removeprefix(f"# {number}. ")
            self.assertEqual(int(decision.name[:4]), number)
            self.assertIn(f"| [{number}]({decision.name}) | {title} |", listed)


class Glossary(unittest.TestCase):
    ROWS = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| (`[^|]+`) \|$",
        (ROOT / "docs" / "glossary.md").read_text(),
        re.M,
    )

    def test_each_term_is_there_once_with_a_place_that_exists(self):
        self.assertGreater(len(self.ROWS), 50)
        terms = [term for row, _, _ in self.ROWS for term in row.split(", ")]
        self.assertEqual(len(terms), len(set(terms)))
        for row, _, places in self.ROWS:
            for place in re.findall(r"`([^`]+)`", places):
                with self.subTest(f"{row}: {place}"):
                    self.assertTrue((ROOT / place).exists())


if __name__ == "__main__":
    unittest.main()

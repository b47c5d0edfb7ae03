"""What the documents point at is there, and each decision has a number of its own."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"] + [
    path for folder in ("docs", "kernels", "scenes", "nerfkit") for path in sorted((ROOT / folder).rglob("*.md"))
]
SOURCES = [
    path for folder in ("kernels", "scenes", "nerfkit", "scripts", "tests") for path in (ROOT / folder).rglob("*.py")
]
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
# decisions are named by their number, or by number and title
DECISION = re.compile(r"docs/decisions/(\d{4}[\w-]*)")


def test_links_lead_somewhere():
    links = [(page, link) for page in PAGES for link in LINK.findall(page.read_text(encoding="utf-8"))]
    assert len(links) > 10
    assert [f"{page.relative_to(ROOT)}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_decisions_that_are_named_exist():
    named = [(page, name) for page in PAGES + SOURCES for name in DECISION.findall(page.read_text(encoding="utf-8"))]
    assert len(named) > 5
    found = [path.stem for path in (ROOT / "docs" / "decisions").glob("*.md")]
    lost = [f"{page.relative_to(ROOT)}: {name}" for page, name in named if not any(map(found_as(name), found))]
    assert lost == []


def found_as(name):
    """Whether a file's stem is the decision of that name; a name that is more than its number is whole."""
    return lambda stem: stem == name or (len(name) == 4 and stem.startswith(f"{name}-"))


def test_decisions_are_numbered_once_and_say_their_number():
    decisions = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    assert [int(path.stem[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        assert path.read_text(encoding="utf-8").startswith(f"# {int(path.stem[:4])}. "), path.name

"""The documentation is compared with the code and with itself."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def reference():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["docs/commands.md", "docs/configuration.md"])
def test_the_reference_pages_are_what_the_code_says(name):
    assert (ROOT / name).read_text(encoding="utf-8") == reference().PAGES[name](), "run: make docs"


def test_every_link_between_the_pages_leads_somewhere():
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))]
    assert len(links) > 5
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_room_is_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = [path.name for path in (ROOT / "pytest_jux").glob("*.py") if path.stem != "__init__"]
    assert [name for name in rooms if name not in text] == []


def test_every_state_of_a_verification_is_explained():
    from pytest_jux.verifier import SignatureState

    text = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
    assert [state for state in SignatureState if f"| `{state}` |" not in text] == []


def test_every_accepted_algorithm_is_listed():
    from pytest_jux.signature import _METHODS

    text = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
    families = {method.name.partition("-")[0] for method in _METHODS.values()}
    assert [family for family in families if family not in text] == []

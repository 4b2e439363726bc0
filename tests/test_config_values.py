"""Values: what the text of each type of option means, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_jux.config_sources import Places
from pytest_jux.config_values import InvalidValue, text_of, value_of
from pytest_jux.options import Option

PLACES = Places(Path("/start"), Path("/home/me"), {})


def read(option: Option, raw: object) -> object:
    return value_of(option, text_of(option, raw), Path("/base"), PLACES)


SIZE = Option("jux_n", "size", "")
PAIRS = Option("jux_n", "pairs", "")
LIST = Option("jux_n", "list", "")


@pytest.mark.parametrize(
    ("raw", "size"),
    [("0", 0), ("1048576", 1_048_576), ("500 MB", 500_000_000), ("1.5GiB", 1_610_612_736), ("2k", 2000), (7, 7)],
)
def test_a_size_is_a_number_of_bytes(raw, size):
    assert read(SIZE, raw) == size


@pytest.mark.parametrize("raw", ["", "much", "-1", "1 XB", "1e3", "1,000", "٣", "1\n2", True])
def test_what_is_no_size_is_refused_with_an_example(raw):
    with pytest.raises(InvalidValue, match=r"^a size such as 500 MB$"):
        read(SIZE, raw)


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        ("team=payments", (("team", "payments"),)),
        ("team = payments, tier = 3", (("team", "payments"), ("tier", "3"))),
        ("team=payments,tier=3,", (("team", "payments"), ("tier", "3"))),
        ("note=a, b and c, tier=3", (("note", "a, b and c"), ("tier", "3"))),
        ("team=payments,\n  tier=3,\n", (("team", "payments"), ("tier", "3"))),
        ("query=a=b", (("query", "a=b"),)),
        ("\n  team=payments\n\n  tier=3", (("team", "payments"), ("tier", "3"))),
        (["team=payments", "x-y.z=1, w=2"], (("team", "payments"), ("x-y.z", "1"), ("w", "2"))),
        ("größe=ü", (("größe", "ü"),)),
    ],
)
def test_pairs_are_split_at_lines_and_at_commas_before_a_name(raw, pairs):
    assert read(PAIRS, raw) == pairs


@pytest.mark.parametrize("raw", ["team", "team=", "=payments", "a=1, a=2", "a b=1", "a=1\nb", "a=1\0b", [["a=1"]], 3])
def test_what_are_no_pairs_is_refused(raw):
    with pytest.raises(InvalidValue, match=r"^name=value, separated by commas or new lines$"):
        read(PAIRS, raw)


def test_a_list_of_lists_is_refused_however_deep():
    deep: object = "A"
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidValue):
        read(LIST, deep)


@pytest.mark.parametrize("raw", [{"a": 1}, None, object(), b"bytes"])
def test_what_is_no_text_at_all_is_refused(raw):
    for kind in ("str", "bool", "path", "list", "size"):
        with pytest.raises(InvalidValue):
            read(Option("jux_n", kind, ""), raw)


def test_a_list_for_an_option_of_one_value_is_refused():
    with pytest.raises(InvalidValue, match=r"^one line of text$"):
        read(Option("jux_n", "str", ""), ["a"])


@pytest.mark.parametrize("kind", ["bool", "str", "int", "enum", "path", "list", "size", "pairs"])
def test_a_nul_character_is_refused_everywhere(kind):
    with pytest.raises(InvalidValue):
        read(Option("jux_n", kind, "", choices=("a\0b",)), "a\0b")

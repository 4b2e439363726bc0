"""Tables for spreadsheets."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_reports import receive
from web_pages import run_of

from jux_server.web import exports
from jux_server.web.exports import csv_response


def lines(rows):
    return "".join(exports._lines(["a", "b"], rows))


def read(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_what_is_written_is_read_again_but_for_the_apostrophe(rows):
    header, *found = read(lines(rows))
    assert header == ["a", "b"]
    flat = [cell for row in rows for cell in row]
    for cell, written in zip(flat, [cell for row in found for cell in row], strict=True):
        assert written in {cell, f"'{cell}"}
        assert not written.startswith(("=", "+", "-", "@", "\t", "\r")) or exports._NUMBER.fullmatch(written)


@pytest.mark.parametrize("cell", ["=1+1", "+1-1", "-1+cmd|x", "@SUM(A1)", "\t=1", "\r=1", "-", "--1"])
def test_formulas_become_text(cell):
    assert read(lines([(cell, "x")]))[1][0] == f"'{cell}"


@pytest.mark.parametrize("cell", ["-1", "-0.5", "12", "a=b", "", 7, -3.5])
def test_figures_and_words_stay_as_they_are(cell):
    assert read(lines([(cell, None)]))[1] == [str(cell), ""]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("shop-runs", "shop-runs.csv"),
        ('a"\r\nX: y/../é', "a-X-y.csv"),
        ("..", "export.csv"),
        ("", "export.csv"),
        ("x" * 300, "x" * 100 + ".csv"),
    ],
)
def test_name_of_the_file_is_harmless(name, file):
    assert csv_response(name, [], []).headers["content-disposition"] == f'attachment; filename="{file}"'


def test_all_cases_of_a_run_are_in_its_table(server, database, monkeypatch):
    monkeypatch.setattr(exports, "_CASES", 100)
    run = receive(database, run_of(1, cases=250, failing=[7])).id
    rows = list(csv.DictReader(io.StringIO(server.get(f"/reports/{run}/tests.csv").data.decode(), newline="")))
    assert [int(row["position"]) for row in rows] == list(range(250))
    assert {row["result"] for row in rows if row["test"] != "test_7"} == {"passed"}
    assert rows[7] == {
        "position": "7",
        "class": "tests.cart",
        "test": "test_7",
        "result": "failed",
        "seconds": "0.1",
        "type": "AssertionError",
        "message": "assert 1 == 42",
    }


def test_table_of_a_run_that_is_not_there(server):
    assert server.get("/reports/00000000/tests.csv").status == 404

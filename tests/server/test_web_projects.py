"""The first page."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from kept_reports import make_older, receive
from servers import running
from web_pages import get_page, run_of

from jux_server.app import Choices
from jux_server.store import schema
from jux_server.trust import add_signer, create_key
from jux_server.upkeep.projects import set_project
from pytest_jux.signer import sign_report


def test_empty_server_shows_how_to_send_the_first_report(server):
    page = get_page(server, "/")
    assert page.title == "Send the first report · Jux"
    commands = page.commands()
    assert "pip install ." in commands
    assert any(f"--jux-api-url={server.url}/api/v1/reports" in command for command in commands)
    assert any(command.startswith("curl -H") and command.endswith("/api/v1/junit/submit") for command in commands)


def test_empty_server_with_keys_says_that_one_is_needed(database):
    token, _ = create_key(database, "reader", scopes=["read"])
    with running(database, Choices(is_open_here=False)) as server:
        page = get_page(server, "/", headers={"X-API-Key": token})
    assert any(command.startswith("jux-server key create") for command in page.commands())
    assert any("X-API-Key: $JUX_API_KEY" in command for command in page.commands())
    assert token not in page.text


def test_commands_name_the_address_that_users_see(database):
    with running(database, Choices(base_url="https://ci.example/jux/")) as server:
        page = get_page(server, "/", headers={"Host": "127.0.0.1"})
    assert any("--jux-api-url=https://ci.example/jux/api/v1/reports" in command for command in page.commands())
    assert all(link.get("href").startswith(("/jux/", "#")) for link in page.all("//a"))


@pytest.mark.parametrize("host", ["localhost:1; rm -rf ~", "$(reboot)", "a b", "<b>x</b>"])
def test_commands_do_not_repeat_a_host_that_is_none(database, host):
    token, _ = create_key(database, "reader", scopes=["read"])
    with running(database) as server:
        page = get_page(server, "/", headers={"Host": host, "X-API-Key": token})
    assert all(host not in command for command in page.commands())


def test_project_shows_its_last_run_on_its_default_branch(server, database):
    receive(database, run_of(1))
    receive(database, run_of(2, failing=[0, 1]))
    receive(database, run_of(3, branch="topic"))
    page = get_page(server, "/")
    (row,) = page.words("//table[contains(@class, 'projects')]/tbody/tr")
    assert row.startswith("shop main failed 1 passed, 1 failed 3 2 0 300 ms unsigned 0 of 2 trusted just now")


def test_default_branch_is_the_one_that_was_set(server, database):
    receive(database, run_of(1))
    receive(database, run_of(2, branch="release", failing=[0]))
    set_project(database, "shop", default_branch="release")
    (row,) = get_page(server, "/").words("//tbody/tr")
    assert row.startswith("shop release failed")


def test_project_without_a_main_branch_shows_that_of_its_newest_run(server, database):
    receive(database, run_of(1, branch="one"))
    receive(database, run_of(2, branch="two", failing=[0]))
    (row,) = get_page(server, "/").words("//tbody/tr")
    assert row.startswith("shop two failed")


def test_project_whose_default_branch_has_no_runs_shows_another(server, database):
    receive(database, run_of(1))
    set_project(database, "shop", default_branch="gone")
    (row,) = get_page(server, "/").words("//tbody/tr")
    assert row.startswith("shop main passed")


def test_runs_that_name_no_branch_count(server, database):
    receive(database, b'<testsuite name="s"><testcase classname="a" name="b"/></testsuite>')
    (row,) = get_page(server, "/").words("//tbody/tr")
    assert row.startswith("unknown passed 1 passed")


def test_signatures_of_the_last_runs_are_counted(server, database, p256):
    add_signer(database, p256.certificate)
    receive(database, run_of(1))
    receive(database, sign_report(run_of(2), p256.key, p256.certificate))
    (row,) = get_page(server, "/").words("//tbody/tr")
    assert "trusted 1 of 2 trusted" in row


def test_flaky_tests_of_the_last_runs_are_counted_and_lead_to_their_page(server, database):
    for number in range(6):
        receive(database, run_of(number, failing=[0] if number % 2 else []))
    page = get_page(server, "/")
    assert page.all("//td/a[@class='flaky']/@href") == ["/flaky/shop?branch=main"]
    assert page.words("//td/a[@class='flaky']") == ["1"]


def test_duration_that_grew_is_marked(server, database):
    for number in range(12):
        receive(database, run_of(number, seconds=1.0 if number < 7 else 1.5))
    (row,) = get_page(server, "/").words("//tbody/tr")
    assert "4.50 s ▲ 50 %" in row


def test_projects_without_a_run_for_a_month_are_folded(server, database):
    receive(database, run_of(1))
    make_older(database, receive(database, run_of(2, project="legacy")), 31)
    page = get_page(server, "/")
    assert len(page.all("//tbody/tr")) == 1
    assert page.words("//details[contains(@class, 'idle')]/summary") == ["1 idle project, without a run for 30 days"]
    assert page.words("//details//li/a") == ["legacy"]


def test_projects_heard_of_last_come_first(server, database):
    for number, name in enumerate(["one", "two", "three"]):
        make_older(database, receive(database, run_of(number, project=name)), 3 - number)
    assert get_page(server, "/").words("//tbody/tr/th/a") == ["three", "two", "one"]


def test_search_finds_projects_in_any_case(server, database):
    for name in ("Shop", "shop/api", "other"):
        receive(database, run_of(1, project=name))
    assert sorted(get_page(server, "/?q=SHOP").words("//tbody/tr/th/a")) == ["Shop", "shop/api"]
    assert "No project has" in get_page(server, "/?q=nothing").text


def test_many_projects_are_paged(server, database):
    for number in range(35):
        receive(database, run_of(number, project=f"p{number:02}", cases=1))
    first = get_page(server, "/")
    second = get_page(server, first.link("More of 35 active projects"))
    names = first.words("//tbody/tr/th/a") + second.words("//tbody/tr/th/a")
    assert len(first.all("//tbody/tr")) == 30
    assert sorted(names) == [f"p{number:02}" for number in range(35)]


def test_key_of_one_project_sees_no_other(database):
    receive(database, run_of(1))
    receive(database, run_of(1, project="secret"))
    token, _ = create_key(database, "reader", scopes=["read"], projects=["shop"])
    with running(database) as server:
        page = get_page(server, "/", headers={"X-API-Key": token})
    assert page.words("//tbody/tr/th/a") == ["shop"]
    assert "secret" not in page.text


def test_project_with_an_odd_name_can_be_reached(server, database):
    names = ["a/b", "..", "a//b", "a?b#c", "100 %", "ünï", "a\\b", "<b>", "x/.."]
    for name in names:
        receive(database, run_of(1, project=name.replace("<", "&lt;").replace("&b", "&amp;b")))
    page = get_page(server, "/")
    links = dict(zip(page.words("//tbody/tr/th/a"), page.all("//tbody/tr/th/a/@href"), strict=True))
    assert sorted(links) == sorted(names)
    for name, address in links.items():
        assert get_page(server, address).words("//h1") == [f"Runs of {name}"]


def test_project_without_runs_is_idle(server, database):
    receive(database, run_of(1))
    with database.write() as connection:
        connection.execute(sa.insert(schema.project).values(name="prepared", created_at=1))
    page = get_page(server, "/")
    assert page.words("//details//li") == ["prepared no runs"]
    assert "has no runs any more" in get_page(server, "/projects/prepared").text

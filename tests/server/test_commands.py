"""The jux-server command: what it prints, what it changes, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys

import pytest
import sqlalchemy as sa
from servers import drop_database, make_database, running

from jux_server.app import Choices
from jux_server.cli import _EXTRA, command
from jux_server.store.database import VERSION, open_database
from jux_server.trust import SCOPES, authenticate, create_key, list_keys, list_signers
from pytest_jux.commands import _cli


@pytest.fixture
def place(tmp_path, clean_environment, monkeypatch):
    """Return an empty home, which is also the working directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(place, capfd):
    """Return a function that runs the command and gives its exit code, what it printed, and what it complained of."""

    def run(*arguments):
        capfd.readouterr()
        code = _cli.run(command, [str(argument) for argument in arguments], name="jux-server")
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def here(run, database_url):
    """Return the same for the database of this test, where it has to succeed; JSON if that is asked for."""

    def here(*arguments):
        code, out, err = run(*arguments, f"--database={database_url}")
        assert code == 0, err
        return json.loads(out) if "--json" in arguments else out

    return here


@pytest.fixture
def refuses(run, database_url):
    """Return the same, where it has to fail; gives exit code and complaint."""

    def refuses(*arguments):
        code, out, err = run(*arguments, f"--database={database_url}")
        assert code != 0
        assert out == ""
        assert "Traceback" not in err
        return code, err

    return refuses


# --- all of them -----------------------------------------------------------------------------------------------------


def test_help_needs_neither_web_server_nor_database():
    code = (
        "import sys; from jux_server.cli import command; from pytest_jux.commands import _cli\n"
        "names = list(command._subcommands)\n"
        "for name in ([], *([name] for name in names), ['key', 'create'], ['signer', 'add'], ['project', 'set']):\n"
        "    assert _cli.run(command, [*name, '--help'], name='jux-server') == 0\n"
        "print(sorted({'fastapi', 'sqlalchemy', 'uvicorn', 'alembic', 'psycopg', 'lxml'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_missing_part_of_the_server_is_said_with_what_to_install(place):
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; sys.argv = ['jux-server', 'key', 'list']\n"
        "from jux_server.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=place)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pip install 'pytest-jux[server]'" in done.stderr


def test_every_package_of_the_extra_is_known_as_such():
    from importlib.metadata import requires

    needed = {re.match(r"[\w-]+", line)[0] for line in requires("pytest-jux") if "extra == 'server'" in line}
    assert {name.replace("-", "_") for name in needed} <= _EXTRA


def test_unknown_command_is_a_usage_error_that_names_a_close_one(run):
    code, _, complaint = run("statsu")
    assert code == 64
    assert "status" in complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["key", "list", "--config=nowhere.conf"], "nowhere.conf: does not exist"),
        (["key", "list", "--database=mysql://x/y"], "another kind of database"),
        (["key", "list", "--database=nowhere.db"], "nowhere.db: there is no such file; jux-server serve makes it"),
        (["key", "create", "ci", "--database=a/b.db"], "a/b.db: no such file or directory"),
        (["serve", "--port=many"], "command line --port: jux_server_port has invalid value 'many'"),
        (["serve", "--config="], "the name of a file is empty"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(run, arguments, complaint):
    code, out, err = run(*arguments)
    assert code in {1, 64}
    assert out == ""
    assert complaint in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["key", "list"], ["signer", "list"], ["migrate"]])
def test_database_that_cannot_be_reached_is_said_without_its_password(run, arguments):
    code, out, err = run(*arguments, "--database=postgresql://me:hunter2@127.0.0.1:1/jux")
    assert code == 1
    assert "cannot use the database postgresql://me:" in err
    assert "hunter2" not in out + err


def test_nothing_is_made_by_looking(run, place):
    for arguments in (["key", "list"], ["signer", "list"], ["config"]):
        run(*arguments)
    assert not [path for path in place.rglob("*") if path.is_file()]


# --- config ----------------------------------------------------------------------------------------------------------


def test_config_shows_values_with_their_origin_and_what_they_override(run, place, monkeypatch):
    (place / ".jux").mkdir()
    (place / ".jux/server").write_text("[jux-server]\nport = 8080\ndatabase = postgresql://me:hunter2@db/jux\n")
    (place / ".jux/server").chmod(0o600)
    monkeypatch.setenv("JUX_SERVER_PORT", "9090")
    code, out, err = run("config", "--all")
    assert code == 0
    assert err == ""
    assert re.search(r"^port = 9090 +\(source: environment variable JUX_SERVER_PORT\)$", out, re.MULTILINE)
    assert re.search(r"^  overrides 8080 +\(source: .jux/server:2\)$", out, re.MULTILINE)
    assert re.search(r"^  overrides 4000 +\(source: default\)$", out, re.MULTILINE)
    assert "hunter2" not in out
    assert "@db/jux" in out


def test_config_as_json_has_file_and_line(run, place):
    (place / "my.conf").write_text("[jux-server]\naccept = trusted\n")
    _, out, _ = run("config", "--json", "--config=my.conf")
    accept = json.loads(out)["accept"]
    assert accept == {
        "value": "trusted",
        "source": "my.conf:2",
        "layer": "config_file",
        "file": str(place / "my.conf"),
        "line": 2,
    }


def test_config_says_what_is_wrong_and_shows_the_rest(run, monkeypatch):
    monkeypatch.setenv("JUX_SERVER_PORT", "many")
    monkeypatch.setenv("JUX_SERVER_ACCEPT", "trusted")
    code, out, err = run("config")
    assert code == 1
    assert "✗ environment variable JUX_SERVER_PORT: jux_server_port has invalid value 'many'" in err
    assert re.search(r"^accept = trusted", out, re.MULTILINE)


def test_config_says_which_database_is_meant_where_none_is_named(run, place, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(place / "data"))
    _, out, _ = run("config", "--json")
    assert json.loads(out)["database"]["value"] == str(place / "data/jux/jux-server.db")


# --- migrate ---------------------------------------------------------------------------------------------------------


def test_migrate_makes_the_tables_and_then_has_nothing_to_do(run, postgres):
    make_database(postgres, "jux_empty")
    url = f"--database={postgres.replace('/postgres?', '/jux_empty?')}"
    code, _, err = run("key", "list", url)
    assert code == 1
    assert "jux-server migrate" in err
    _, first, _ = run("migrate", "--json", url)
    _, second, _ = run("migrate", url)
    assert json.loads(first)["from"] is None
    assert json.loads(first)["to"] == VERSION
    assert f"is up to date: version {VERSION}" in second
    assert run("key", "list", url)[0] == 0
    drop_database(postgres, "jux_empty")


def test_migrate_refuses_a_database_of_another_program(run, place):
    other = sa.create_engine(f"sqlite:///{place}/other.db")
    with other.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE recipes (name TEXT)")
    other.dispose()
    code, _, err = run("migrate", "--database=other.db")
    assert code == 1
    assert "it has tables of another program" in err


def test_database_of_a_newer_server_is_refused(run, place):
    url = f"--database={place / 'newer.db'}"
    assert run("migrate", url)[0] == 0
    opened = open_database(str(place / "newer.db"))
    with opened.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    opened.close()
    for arguments in (["migrate", url], ["serve", "--port=0", url]):
        code, _, err = run(*arguments)
        assert code == 1
        assert "newer version of this server" in err


# --- keys ------------------------------------------------------------------------------------------------------------


def test_created_key_works_and_is_alone_on_standard_output(run, database, database_url):
    code, out, err = run("key", "create", "ci", f"--database={database_url}")
    assert code == 0
    assert re.fullmatch(r"jux_\w{8}_\w{43}\n", out)
    caller = authenticate(database, out.strip())
    assert (caller.name, caller.scopes, caller.projects) == ("ci", {"publish"}, ("*",))
    assert out.strip() not in err
    assert "not shown again" in err


def test_key_has_the_scopes_projects_and_end_that_were_asked_for(here, database):
    made = here(
        *("key", "create", "dash", "--scope=read", "--scope=admin", "--project=shop/*", "--project=web"),
        *("--expires=2099-01-31", "--json"),
    )
    assert made["scopes"] == ["read", "admin"]
    assert made["projects"] == ["shop/*", "web"]
    assert made["expires_at"] == "2099-01-31T00:00:00.000000Z"
    assert authenticate(database, made["key"]).sees("shop/cart")


@pytest.mark.parametrize(("span", "hours"), [("90d", 2160), ("12h", 12), ("2w", 336), ("1y", 8760)])
def test_key_ends_after_a_span_of_time(here, database, span, hours):
    here("key", "create", "ci", f"--expires={span}")
    (key,) = list_keys(database)
    assert (key.expires_at - key.created_at) / 3_600_000_000 == pytest.approx(hours, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["12"], 64, "'12' would be taken for a key's number"),
        (["jux_abc"], 64, "would be taken for a key's number or for a key"),
        ([""], 64, "1 to 100 printable characters"),
        (["a\x1b[31mb"], 64, "1 to 100 printable characters"),
        (["a" * 101], 64, "1 to 100 printable characters"),
        (["ci", "--scope=write"], 64, "'write' is not one of 'publish', 'read', 'admin'"),
        (["ci", "--expires=soon"], 64, "--expires: 'soon' is not a time such as 90d"),
        (["ci", "--expires=999999y"], 64, "--expires: '999999y' is not a time such as 90d"),
        (["ci", "--expires=2001-01-01"], 1, "the key would have expired already"),
        (["ci", "--project="], 64, "--project is empty, or has a control character in it"),
        (["ci", "--project=a\u202eb"], 64, "--project is empty, or has a control character in it"),
    ],
)
def test_key_that_makes_no_sense_is_refused(refuses, database, arguments, code, complaint):
    given, said = refuses("key", "create", *arguments)
    assert given == code
    assert complaint in said
    assert list_keys(database) == []


def test_scopes_on_the_command_line_are_those_that_there_are():
    from jux_server.commands.key import create

    (option,) = [parameter for parameter in create.params if parameter.name == "scopes"]
    assert tuple(option.type.choices) == SCOPES


def test_keys_are_listed_with_their_state_but_without_the_secret(here):
    secret = here("key", "create", "ci").strip()
    here("key", "create", "old")
    here("key", "revoke", "old")
    text = here("key", "list")
    assert re.search(r"^1 +jux_\w{8}… +ci +active +publish +\* +never +never$", text, re.MULTILINE)
    assert re.search(r"^2 +jux_\w{8}… +old +revoked ", text, re.MULTILINE)
    listed = here("key", "list", "--json")
    assert [key["state"] for key in listed] == ["active", "revoked"]
    assert secret not in text + json.dumps(listed)


def test_no_keys_is_said(here):
    assert here("key", "list") == "There are no API keys.\n"
    assert here("key", "list", "--json") == []


@pytest.mark.parametrize("by", ["id", "name", "prefix"])
def test_revoked_key_is_refused_by_a_server_that_runs(here, database, by):
    made = here("key", "create", "ci", "--scope=read", "--json")
    with running(database, Choices(is_open_here=False)) as server:
        headers = {"X-API-Key": made["key"], "Content-Type": "application/xml"}
        assert server.post("/api/v1/junit/submit", b"<x/>", headers=headers).status == 403
        here("key", "revoke", made[by])
        refused = server.post("/api/v1/junit/submit", b"<x/>", headers=headers)
    assert "was revoked" in refused.json()["message"]


def test_key_that_is_not_there_cannot_be_revoked(refuses):
    code, complaint = refuses("key", "revoke", "nobody")
    assert code == 1
    assert "there is no API key nobody" in complaint
    assert "jux-server key list" in complaint


def test_names_in_lists_are_harmless_on_a_terminal(here, database):
    create_key(database, "a\u202eb\x1b[31m")  # by another program
    assert "a\\u202eb\\x1b[31m" in here("key", "list")


# --- signers ---------------------------------------------------------------------------------------------------------


def test_added_signer_makes_reports_trusted_while_the_server_runs(here, database, make_signer, real_report):
    from pytest_jux.signer import sign_report

    signer = make_signer("ci")
    signed = sign_report(real_report, signer.key, signer.certificate)
    xml = {"Content-Type": "application/xml"}
    with running(database) as server:
        assert "Believed from now on" in here("signer", "add", signer.cert_path)
        answer = server.post("/api/v1/junit/submit", signed, headers=xml)
    assert answer.json()["signature"]["state"] == "trusted"


def test_signers_are_listed_and_removed(here, database, make_signer):
    signer = make_signer("ci")
    (added,) = here("signer", "add", signer.cert_path, "--project=shop/*", "--json")
    assert added["projects"] == "shop/*"
    assert here("signer", "list", "--json") == [added]
    assert re.search(r"\n1 +certificate +CN=ci +shop/\* +\d{4}-\d\d-\d\d +[0-9a-f]{16}\n", here("signer", "list"))
    here("signer", "remove", added["fingerprint"].removeprefix("sha256:")[:8])
    assert list_signers(database) == []
    assert here("signer", "list") == "No signer is believed.\n"


def test_every_certificate_of_a_file_is_added(here, database, make_signer, place):
    both = place / "both.pem"
    both.write_bytes(b"".join(make_signer(name).cert_path.read_bytes() for name in ("one", "two")))
    here("signer", "add", both)
    assert [one.subject for one in list_signers(database)] == ["CN=one", "CN=two"]


def test_signer_that_is_believed_already_is_no_success_but_the_others_are_added(
    here, run, database, database_url, make_signer, place
):
    one, two = make_signer("one"), make_signer("two")
    here("signer", "add", one.cert_path)
    both = place / "both.pem"
    both.write_bytes(one.cert_path.read_bytes() + two.cert_path.read_bytes())
    code, out, err = run("signer", "add", both, f"--database={database_url}")
    assert code == 1
    assert "CN=two" in out
    assert "not added: CN=one is believed already for *" in err
    assert len(list_signers(database)) == 2


def test_pattern_that_no_project_can_match_is_refused(refuses, make_signer):
    code, said = refuses("signer", "add", make_signer("ci").cert_path, "--project=")
    assert code == 64
    assert "--project is empty" in said


def test_file_that_is_no_certificate_is_refused(refuses, database, make_signer, place):
    (place / "letter.txt").write_text("Dear signer")
    key = make_signer("ci").key_path
    for file, complaint in (
        ("letter.txt", "there is no certificate in it"),
        ("nowhere.pem", "no such file"),
        (place, "there is no certificate"),
        (key, "it holds a key, not a certificate"),
    ):
        code, said = refuses("signer", "add", file)
        assert code == 1
        assert complaint in said
        assert "cannot read the certificate" in said
    assert list_signers(database) == []


def test_certificate_that_may_not_be_read_is_refused(refuses, place, make_signer):
    file = place / "locked.pem"
    os.mkfifo(file)  # what cannot be read by root either: nobody writes to it
    code, said = refuses("signer", "add", file)
    assert code == 1
    assert "locked.pem" in said


def test_certificate_that_issues_nothing_is_no_authority(refuses, make_signer):
    code, said = refuses("signer", "add", "--ca", make_signer("ci").cert_path)
    assert code == 1
    assert "CN=ci is no authority" in said


# --- the file of the database ----------------------------------------------------------------------------------------


def test_database_that_a_command_makes_is_for_its_owner_alone(run, place):
    old = os.umask(0)
    try:
        assert run("key", "create", "ci", "--database=mine.db")[0] == 0
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.glob("mine.db*")} == {0o600}

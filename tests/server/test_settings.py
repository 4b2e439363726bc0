"""The server's settings: where they come from, what counts, and that no password is shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from jux_server.cli import command
from jux_server.settings import OPTIONS, load, places_of
from jux_server.settings_database import database_url, shown_database, shown_setting
from pytest_jux.config_sources import Layer
from pytest_jux.config_values import value_of
from pytest_jux.errors import ConfigError, FileProblem


@pytest.fixture
def place(tmp_path):
    """Return a function that loads settings from files below a directory of this test, and from nothing else."""
    home = tmp_path / "home"
    (home / ".jux").mkdir(parents=True)

    class Place:
        system = tmp_path / "system"
        user = home / ".jux" / "server"
        start = tmp_path

        def load(self, **arguments):
            arguments = {"environ": {}, "start": tmp_path, "home": home, "system_file": self.system} | arguments
            return load(**arguments)

        def url(self, settings, **arguments):
            places = places_of(start=tmp_path, home=home, environ={}, **arguments)
            return database_url(settings, places).reveal()

    return Place()


# --- layers ----------------------------------------------------------------------------------------------------------


def test_each_layer_hides_those_below_and_all_keep_their_origin(place):
    place.system.write_text("[jux-server]\nport = 1\n")
    place.user.write_text("# mine\n[jux-server]\n\nport = 2\n")
    (place.start / "staging.conf").write_text("[jux-server]\nport = 3\n")
    settings = place.load(
        config_file=place.start / "staging.conf",
        environ={"JUX_SERVER_PORT": "4"},
        command_line={"jux_server_port": "5"},
    )
    port = settings.explain("jux_server_port")
    said = [(one.value, str(one.origin)) for one in (port, *port.shadowed)]
    assert said == [
        (5, "command line --port"),
        (4, "environment variable JUX_SERVER_PORT"),
        (3, "staging.conf:2"),
        (2, "home/.jux/server:4"),
        (1, "system:2"),
        (4000, "default"),
    ]


def test_without_anything_the_server_is_for_this_machine_alone(place):
    settings = place.load()
    assert settings["jux_server_host"] == "127.0.0.1"
    assert settings["jux_server_port"] == 4000
    assert settings["jux_server_accept"] == "any"
    assert settings["jux_server_max_report_size"] == 100_000_000
    assert {settings.explain(name).origin.layer for name in settings} == {Layer.DEFAULT}


@pytest.mark.parametrize("name", list(OPTIONS))
def test_every_option_has_one_name_in_files_environment_and_command_line(name, place):
    option = OPTIONS[name]
    good = {
        "bool": "true",
        "int": "7",
        "float": "7",
        "size": "7 MB",
        "enum": option.choices[-1:] and option.choices[-1],
    }
    special = {
        "rate_limit": "600/minute",
        "base_url": "https://jux.example.com",
        "trusted_proxies": "10.0.0.0/8",
        "database": "postgresql://me@db/jux",
    }
    text = special.get(option.short_name) or good.get(option.type) or "here"
    place.user.write_text(f"[jux-server]\n{option.short_name} = {text}\n")
    by_file = place.load()
    by_variable = place.load(environ={option.variable: text}, home=place.start)
    by_flag = place.load(command_line={name: text}, home=place.start)
    assert option.flag == "--" + option.short_name.replace("_", "-")
    assert by_file.explain(name).origin.layer is Layer.USER
    assert by_variable.explain(name).origin.layer is Layer.ENVIRONMENT
    assert by_variable[name] == by_flag[name]
    assert not by_file.warnings


def test_file_that_is_named_must_be_there(place):
    with pytest.raises(ConfigError, match=r"^nowhere.conf: does not exist$"):
        place.load(config_file=place.start / "nowhere.conf")


def test_long_names_in_a_file_mean_the_same(place):
    place.user.write_text("[jux-server]\njux_server_port = 8080\n")
    assert place.load()["jux_server_port"] == 8080


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("port = 8080\n", r"server:1: expected the section header \[jux-server\] before the first name"),
        ("[jux-server]\nport\n", r"server:2: expected a line like `name = value`"),
        ("[jux-server]\nport = 1\njux_server_port = 2\n", r"server:3: port is set a second time, expected it once"),
        ("[jux-server]\nport = many\n", r"server:2: jux_server_port has invalid value 'many' \(expected: an integer"),
        ("[jux-server]\nport = 70000\n", r"server:2: jux_server_port has invalid value '70000' .* from 0 to 65535"),
        (
            "[jux-server]\nhost = http://x\n",
            r"server:2: jux_server_host has invalid value 'http://x' .*without http://",
        ),
        ("[jux-server]\nhost = db:80\n", r"server:2: jux_server_host has invalid value 'db:80'"),
        ("[jux-server]\nrate_limit = lots\n", r"server:2: jux_server_rate_limit has invalid value 'lots' .*600/minute"),
        ("[jux-server]\nrate_limit = 0/day\n", r"server:2: jux_server_rate_limit has invalid value '0/day'"),
        ("[jux-server]\ntrusted_proxies = *\n", r"server:2: jux_server_trusted_proxies has invalid value '\*'"),
        ("[jux-server]\nbase_url = ftp://x\n", r"server:2: jux_server_base_url is not an http:// or https:// URL"),
        ("[jux-server]\nbase_url = https://x/?a=b\n", r"server:2: jux_server_base_url has a query"),
        ("[jux-server]\ndatabase = mysql://x/y\n", r"server:2: jux_server_database is for another kind of database"),
        ("[jux-server]\ndatabase = postgresql://h\n", r"server:2: jux_server_database names no database"),
        ("[jux-server]\ndatabase = sqlite://\n", r"server:2: jux_server_database names no file"),
        ("[jux-server]\nmax_report_size = 0\n", r"server:2: jux_server_max_report_size .* from 1 kB to 1 GB"),
        ("[jux-server]\nmax_report_size = 2 GB\n", r"server:2: jux_server_max_report_size .* from 1 kB to 1 GB"),
        ("[jux-server]\nworkers = 0\n", r"server:2: jux_server_workers has invalid value '0'"),
    ],
)
def test_bad_file_is_refused_with_line_and_expectation(place, text, complaint):
    place.user.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        place.load()


def test_mistaken_names_are_pointed_out_with_what_was_meant(place):
    place.user.write_text("[jux-server]\nprot = 1\n\n[other]\nx = 1\n")
    settings = place.load(environ={"JUX_SERVER_DATABSE": "x.db"})
    assert [str(problem) for problem in settings.warnings] == [
        "home/.jux/server:4: unknown section, expected [jux-server]",
        "home/.jux/server:2: unknown option prot, did you mean port?",
        "environment variable JUX_SERVER_DATABSE: unknown option JUX_SERVER_DATABSE, did you mean JUX_SERVER_DATABASE?",
    ]


def test_bad_value_that_is_overridden_is_a_warning(place):
    place.user.write_text("[jux-server]\nport = many\n")
    settings = place.load(environ={"JUX_SERVER_PORT": "8080"})
    assert settings["jux_server_port"] == 8080
    assert [problem.kind for problem in settings.warnings] == ["shadowed-error"]


def test_all_errors_are_collected_and_what_is_wrong_says_nothing(place):
    place.user.write_text("[jux-server]\nport = many\nrate_limit = lots\nworkers = 3\n")
    errors = []
    settings = place.load(errors=errors)
    assert len(errors) == 2
    assert settings["jux_server_port"] == 4000
    assert settings["jux_server_rate_limit"] is None
    assert settings["jux_server_workers"] == 3


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_not_settings(place):
    settings = place.load(
        environ={
            "JUX_SERVER_PORT": "tcp://10.3.241.11:4000",
            "JUX_SERVER_PORT_4000_TCP_ADDR": "10.3.241.11",
            "JUX_SERVER_SERVICE_HOST": "10.3.241.11",
            "JUX_SERVER_SERVICE_PORT": "4000",
        }
    )
    assert settings["jux_server_port"] == 4000
    assert not settings.warnings


# --- the database ----------------------------------------------------------------------------------------------------


def test_path_of_the_database_starts_from_the_file_that_names_it(place):
    place.user.write_text("[jux-server]\ndatabase = data/reports.db\n")
    assert place.url(place.load()) == str(place.user.parent / "data/reports.db")


def test_path_of_the_database_on_the_command_line_starts_from_the_working_directory(place):
    settings = place.load(command_line={"jux_server_database": "reports.db"})
    assert place.url(settings) == str(place.start / "reports.db")


def test_database_may_be_under_the_home_directory(place):
    settings = place.load(environ={"JUX_SERVER_DATABASE": "~/reports.db"})
    assert place.url(settings) == str(place.start / "home/reports.db")


def test_password_from_a_file_gets_into_the_address_whatever_is_in_it(place):
    from sqlalchemy import make_url

    text = "p@ss/w:rd%20?#ü"
    secret = place.start / "password"
    secret.write_text(text + "\nmore\n")
    secret.chmod(0o600)
    settings = place.load(
        environ={
            "JUX_SERVER_DATABASE": "postgresql://me@db:5433/jux?sslmode=require",
            "JUX_SERVER_DATABASE_PASSWORD_FILE": str(secret),
        }
    )
    url = make_url(place.url(settings))
    assert (url.username, url.password, url.host, url.port, url.database) == ("me", text, "db", 5433, "jux")
    assert url.query == {"sslmode": "require"}


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("postgresql://me:pw@db/jux", "has a password in it, and jux_server_database_password_file another one"),
        ("postgresql://db/jux", "names no user for the password"),
    ],
)
def test_password_file_that_does_not_fit_the_address_is_refused(place, address, complaint):
    secret = place.start / "password"
    secret.write_text("hunter2\n")
    settings = place.load(
        command_line={"jux_server_database": address, "jux_server_database_password_file": str(secret)}
    )
    with pytest.raises(ConfigError, match=complaint) as caught:
        place.url(settings)
    assert "pw@" not in str(caught.value)


def test_password_file_that_is_not_there_is_said(place):
    settings = place.load(
        environ={
            "JUX_SERVER_DATABASE": "postgresql://me@db/jux",
            "JUX_SERVER_DATABASE_PASSWORD_FILE": str(place.start / "nowhere"),
        }
    )
    with pytest.raises(FileProblem, match="nowhere"):
        place.url(settings)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hunter2@db/jux",
        "postgresql://me:hunter2@db/jux?sslpassword=hunter2",
        "postgresql://me:a@hunter2@db/jux",
        "mysql://me:hunter2@db/jux",
        "postgresql://me:hunter2@db:x/jux",
        "postgresql://db/jux?user=me&password=hunter2",
        "me:hunter2@db",
    ],
)
def test_no_password_is_shown_wherever_settings_are(place, address):
    errors = []
    settings = place.load(environ={"JUX_SERVER_DATABASE": address}, errors=errors)
    setting = settings.explain("jux_server_database")
    shown = shown_setting(setting, "database")
    texts = [repr(settings), str(setting), repr(setting), str(shown), str(shown.shown), shown_database(address)]
    texts += [str(problem) for problem in (*errors, *settings.warnings)]
    assert not [text for text in texts if "hunter2" in text]


def test_address_with_a_password_in_its_query_is_refused(place):
    with pytest.raises(ConfigError, match="database_password_file"):
        place.load(environ={"JUX_SERVER_DATABASE": "postgresql://db/jux?user=me&password=hunter2"})


def test_shown_address_has_everything_but_the_password(place):
    assert shown_database("postgresql://me:pw@db:5433/jux?sslmode=require") == (
        "postgresql://me:***********@db:5433/jux?sslmode=require"
    )
    assert shown_database("/data/reports.db") == "/data/reports.db"


@pytest.mark.parametrize(
    ("address", "warned"), [("postgresql://me:pw@db/jux", True), ("postgresql://me@db/jux", False)]
)
def test_password_in_a_file_that_others_can_read_is_pointed_out(place, address, warned):
    place.user.write_text(f"[jux-server]\ndatabase = {address}\n")
    place.user.chmod(0o644)
    kinds = [problem.kind for problem in place.load().warnings]
    assert kinds == (["exposed-secret"] if warned else [])


# --- the documentation -----------------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[2] / "docs" / "server.md"


@pytest.mark.parametrize("name", list(OPTIONS))
def test_page_about_the_server_has_every_setting_as_it_is(name):
    option = OPTIONS[name]
    (row,) = re.findall(rf"^\| `{option.short_name}` \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    kind, default, flag, variable, meaning = row.replace("\\|", ",").split(" | ")
    assert kind.replace("`", "").split(" , ") == (list(option.choices) or [option.type])
    assert (flag, variable, meaning) == (f"`{option.flag}`", f"`{option.variable}`", option.help)
    given = value_of(option, default.strip(), Path(), None) if default.strip() else option.default
    assert given == option.default


def test_settings_on_the_page_are_all_there_are():
    rows = re.findall(r"^\| `(\w+)` \|.*`JUX_SERVER_", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [option.short_name for option in OPTIONS.values()]


def test_example_of_a_file_on_the_page_can_be_read(place):
    (example,) = re.findall(r"```ini\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    place.user.write_text(example)
    settings = place.load()
    assert settings["jux_server_trusted_proxies"] == ("10.0.0.0/8",)
    assert not settings.warnings


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(jux-server [a-z][^`]*)`", PAGE.read_text("utf-8")))))
def test_every_command_on_the_page_can_be_parsed(line):
    context = None
    current, arguments = command, shlex.split(line)[1:]
    while True:
        context = current.make_context(current.name, arguments, parent=context, resilient_parsing=False)
        if not isinstance(current, click.Group):
            break
        _, current, arguments = current.resolve_command(context, [*context._protected_args, *context.args])
    assert current.name in line

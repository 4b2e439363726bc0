"""The files in deploy/ and the page about them fit the code: no container engine and no systemd is needed for that."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from jux_server.api.access import HERE
from jux_server.app import create_app
from jux_server.cli import command
from jux_server.intake import Intake
from jux_server.serving import _KEEP_ALIVE, choices_of
from jux_server.settings import OPTIONS, load
from jux_server.store.database import connect, open_database
from jux_server.upkeep.backup import back_up

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "deployment.md"
FILES = [*sorted(path for path in DEPLOY.iterdir() if path.name != "database-password"), PAGE]
UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")])
SERVICES = sorted(DEPLOY.glob("*.service"))


def read(name):
    return (DEPLOY / name).read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def compose():
    return yaml.safe_load(read("compose.yaml"))["services"]


def unit(path):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(path, encoding="utf-8")
    return parser


def settings_of(tmp_path, text="", environ=None):
    """Return the settings that a file and variables make, and whatever is said against them."""
    file = tmp_path / "server.ini"
    file.write_text(text, encoding="utf-8")
    errors = []
    settings = load(
        config_file=file,
        environ=environ or {},
        home=tmp_path / "home",
        start=tmp_path,
        system_file=tmp_path / "none",
        errors=errors,
    )
    return settings, [str(problem) for problem in [*errors, *settings.warnings]]


# --- what is named is there ------------------------------------------------------------------------------------------


def commands_in(text):
    """Return what stands after `jux-server` in lines and examples, without names of units and images."""
    for found in re.findall(r"(?<![-\w])jux-server ((?:[a-z]+)(?![-:\w])[^\n`'|;]*)", text):
        yield re.sub(r'"/[^"]*"?', "FILE", found)
    for found in re.findall(r"compose\.yaml run --rm (?:-v \S+ )?migrate (\S[^\n`]*)", text):
        yield found


def is_taken(line):
    """Parse a command line as the command itself does, without running it."""
    words, found = shlex.split(line.rstrip(".,)")), command
    while isinstance(found, click.Group) and words:
        name = words.pop(0)
        found = found.get_command(click.Context(found), name)
        if found is None:
            return False
    try:
        found.make_context(found.name, words)
    except click.MissingParameter:  # the page may speak of a command without its whole line
        return not any(word.startswith("-") for word in words)
    except click.UsageError:
        return False
    return True


@pytest.mark.parametrize("path", [path for path in FILES if "jux-server " in path.read_text()], ids=lambda p: p.name)
def test_every_command_line_is_one_that_the_command_takes(path):
    lines = list(commands_in(path.read_text(encoding="utf-8")))
    assert [line for line in lines if not is_taken(line)] == []


def test_command_lines_are_found():
    assert len(list(commands_in(PAGE.read_text(encoding="utf-8")))) > 25
    assert list(commands_in(read("jux-server.service"))) == ["serve"]
    assert [is_taken(line) for line in ("serve --prot 1", "key make ci", "project set a --accept some")] == [False] * 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_is_a_setting(path):
    known = {option.variable for option in OPTIONS.values()}
    assert set(re.findall(r"JUX_SERVER_[A-Z_]+", path.read_text(encoding="utf-8"))) - known == set()


@pytest.mark.parametrize("name", ["Caddyfile", "nginx.conf", "server.ini", "page", "compose.yaml", "Containerfile"])
def test_settings_are_accepted(name, tmp_path):
    if name == "page":
        (text,) = [block for block in blocks("ini") if "[jux-server]" in block]
        found = settings_of(tmp_path, text)
    elif name == "server.ini":
        found = settings_of(tmp_path, read(name))
    elif name == "compose.yaml":
        found = settings_of(tmp_path, environ=compose()["server"]["environment"])
    elif name == "Containerfile":
        found = settings_of(tmp_path, environ=dict(re.findall(r"(JUX_SERVER_\w+)=(\S+)", read(name))))
    else:
        (line,) = re.findall(r"# The server needs: (.*)", read(name))
        found = settings_of(tmp_path, "[jux-server]\n" + line.replace(", ", "\n"))
    settings, problems = found
    assert problems == []
    assert not choices_of(settings).is_open_here


def test_settings_that_are_left_out_are_accepted(tmp_path):
    text = re.sub(r"^# (\w+ = )", r"\1", read("server.ini"), flags=re.MULTILINE)
    text = text.replace("database = /var/lib/jux/jux-server.db\n", "")
    settings, problems = settings_of(tmp_path, text)
    assert problems == []
    assert settings["jux_server_workers"] == 4


def test_files_of_the_page_are_there():
    named = set(re.findall(r"\bdeploy/([\w.-]+)", PAGE.read_text(encoding="utf-8"))) - {"database-password"}
    assert named == {path.name for path in FILES if path != PAGE}


def test_figures_of_the_page_are_counted(one_server):
    one_server.get("/healthz")
    counted = one_server.get("/metrics").data.decode()
    named = re.findall(r"`(jux_\w+)\{([\w,]+)\}`", PAGE.read_text(encoding="utf-8"))
    assert len(named) == 3
    for name, labels in named:
        assert f"\n# TYPE {name} " in counted
        if name != "jux_reports_total":  # which has no report to count here
            assert all(f'{label}="' in counted.partition(f"\n# TYPE {name} ")[2] for label in labels.split(","))


# --- units -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_have_the_form_of_units(path):
    assert all(re.match(r"[#\[\n]|\w+=", line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True))
    assert {"Unit", "Service"} <= set(unit(path)) or {"Unit", "Timer"} <= set(unit(path))


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_services_have_a_user_of_their_own_and_few_rights(path):
    service = unit(path)["Service"]
    assert service["User"] == "jux"
    assert service["CapabilityBoundingSet"] == ""
    closed = ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "RestrictNamespaces")
    assert {service[name] for name in closed} == {"yes"}
    assert (service["ProtectSystem"], service["UMask"], service["StateDirectoryMode"]) == ("strict", "0077", "0700")


def test_what_is_written_is_where_the_units_may_write(tmp_path):
    directories = {f"/var/lib/{name}" for path in SERVICES for name in unit(path)["Service"]["StateDirectory"].split()}
    backup = unit(DEPLOY / "jux-server-backup.service")["Service"]
    (target,) = re.findall(r'backup "([^"]*)"', backup["ExecStart"])
    settings, _ = settings_of(tmp_path, read("server.ini"))
    written = [target, settings["jux_server_database"].reveal()]
    assert {str(Path(path).parent) for path in written} == directories
    assert str(Path(target).parent) in backup["ExecStartPost"]


def test_timer_starts_a_service_that_is_there():
    assert [path.with_suffix(".service").is_file() for path in DEPLOY.glob("*.timer")] == [True]


def test_stopping_takes_longer_than_requests_are_given():
    given = OPTIONS["jux_server_graceful_timeout"].default
    assert int(unit(DEPLOY / "jux-server.service")["Service"]["TimeoutStopSec"]) > given
    assert int(compose()["server"]["stop_grace_period"].removesuffix("s")) > given


# --- containers ------------------------------------------------------------------------------------------------------


def test_image_is_built_from_files_that_are_there_and_has_the_whole_program():
    sources = re.findall(r"^COPY (?!--from)(.*) \S+$", read("Containerfile"), re.MULTILINE)
    copied = {name for line in sources for name in line.split()}
    assert all((ROOT / name).exists() for name in copied)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {"pyproject.toml", build["project"]["readme"], *build["project"]["license-files"]}
    assert needed | set(build["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == copied
    ((_, extra),) = re.findall(r"(pip install) .*'\.\[(\w+)\]'", read("Containerfile"))
    assert extra in build["project"]["optional-dependencies"]


def test_image_runs_as_a_user_without_rights():
    last = read("Containerfile").rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\d+)$", last, re.MULTILINE)
    assert int(user) > 0
    assert f"--uid {user} " in last


def test_health_checks_ask_a_route_that_is_there(tmp_path):
    database = open_database(str(tmp_path / "a.db"))
    paths = create_app(database).openapi()["paths"]
    database.close()
    port = OPTIONS["jux_server_port"].default
    for text in (read("Containerfile"), str(compose()["server"]["healthcheck"])):
        (found,) = re.findall(rf"http://127\.0\.0\.1:{port}(/\w+)'", text)
        assert found == "/readyz"
        assert found in paths


def test_health_check_of_the_image_passes_for_a_server_and_fails_without(one_server):
    (program,) = re.findall(r'CMD \["python", "-c", "(.*)"\]', read("Containerfile"))
    assert compose()["server"]["healthcheck"]["test"] == ["CMD", "python", "-c", program]
    codes = []
    for url in (one_server.url, "http://127.0.0.1:1"):
        text = program.replace("http://127.0.0.1:4000", url)
        codes.append(subprocess.run([sys.executable, "-c", text], capture_output=True, check=False).returncode)
    assert codes == [0, 1]


def test_compose_file_waits_for_the_database_migrates_and_then_serves():
    services = compose()
    assert services["migrate"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert services["migrate"]["command"] == ["migrate"]
    assert services["server"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["server"]["command"] == ["serve"]
    assert services["server"]["build"] == services["migrate"]["build"]


def test_compose_file_has_its_password_in_a_file_of_its_own():
    whole = yaml.safe_load(read("compose.yaml"))
    secret = whole["secrets"]["database-password"]["file"]
    assert f"/deploy/{secret.removeprefix('./')}" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    for service in whole["services"].values():
        assert service["secrets"] == ["database-password"]
        named = {name: value for name, value in service["environment"].items() if "PASSWORD" in name}
        assert list(named.values()) == ["/run/secrets/database-password"]
        assert all(name.endswith("_FILE") for name in named)


def test_compose_file_lets_the_server_have_its_connections():
    engine, _ = connect("postgresql://jux@127.0.0.1/jux")
    most = engine.pool.size() + engine.pool._max_overflow
    engine.dispose()
    services = compose()
    (allowed,) = [int(word.partition("=")[2]) for word in services["database"]["command"] if "max_connections" in word]
    assert allowed > most * int(services["server"]["environment"]["JUX_SERVER_WORKERS"])
    assert f"up to {most} connections" in PAGE.read_text(encoding="utf-8")


def test_compose_file_shows_the_server_to_this_machine_alone_and_believes_its_network():
    whole = yaml.safe_load(read("compose.yaml"))
    server = whole["services"]["server"]
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    assert "ports" not in whole["services"]["database"]
    (network,) = whole["networks"]["default"]["ipam"]["config"]
    assert server["environment"]["JUX_SERVER_TRUSTED_PROXIES"] == network["subnet"]


# --- proxies ---------------------------------------------------------------------------------------------------------


def test_proxies_let_the_largest_report_through():
    largest = OPTIONS["jux_server_max_report_size"].default
    (nginx,) = re.findall(r"client_max_body_size +(\d+)m;", read("nginx.conf"))
    (caddy,) = re.findall(r"max_size (\d+)MB", read("Caddyfile"))
    for size in (int(nginx), int(caddy)):
        assert size * 1_000_000 >= 2 * largest + 65_536


def test_proxies_close_an_idle_connection_before_the_server_does():
    (nginx,) = re.findall(r"keepalive_timeout (\d+)s;", read("nginx.conf"))
    (caddy,) = re.findall(r"keepalive (\d+)s", read("Caddyfile"))
    assert max(int(nginx), int(caddy)) < _KEEP_ALIVE


def test_nginx_replaces_what_a_client_says_of_itself():
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in read("nginx.conf")


# --- the drill -------------------------------------------------------------------------------------------------------


def test_the_drill_of_the_page_does_what_it_says(tmp_path):
    database = open_database(str(tmp_path / "here.db"))
    Intake(database).receive(b'<testsuite><testcase classname="a" name="b"/></testsuite>', HERE)
    back_up(database, tmp_path / "jux-2026-11-23.zip")
    database.close()
    (block,) = [block for block in blocks("console") if "jux-server restore" in block and "drill.db" in block]
    steps = re.findall(r"^\$ (.*)\n((?:[^$\n].*\n)*)", block, re.MULTILINE)
    assert [step.split()[1] for step, _ in steps] == ["restore", "reverify", "status", "serve"]
    environ = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), "HOME": str(tmp_path)}
    for step, said in steps[:3]:
        done = subprocess.run(
            ["bash", "-c", step], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        if said:
            assert done.stdout == said.replace("18,204 reports", "1 report").replace("/home/me", str(tmp_path))

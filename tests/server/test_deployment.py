"""The files and pages for deployment name only what there is."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import click
import pytest
import yaml

from jux_server.cli import command
from jux_server.settings import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "deployment.md"
FILES = [*sorted(path for path in DEPLOY.iterdir() if path.name != "database-password"), PAGE]


def named(path):
    return pytest.param(path.read_text(), id=path.name)


@pytest.mark.parametrize("text", [named(path) for path in FILES])
def test_every_variable_is_a_setting(text):
    known = {option.variable for option in OPTIONS.values()}
    assert set(re.findall(r"JUX_SERVER_[A-Z_]+", text)) <= known


@pytest.mark.parametrize("text", [named(path) for path in FILES])
def test_every_command_and_option_is_there(text):
    lines = re.findall(r"jux-server ((?:[a-z]+ )*[^\n`'\"|]*)", text.replace(".service", " ").replace(".timer", " "))
    for line in lines:
        words, found = line.split(), command
        while words and isinstance(found, click.Group) and words[0].isalpha():
            found = found.get_command(click.Context(found), words.pop(0))
            assert found is not None, line
        options = {name for parameter in found.params for name in parameter.opts}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options | {"--help"}, line


def test_settings_in_ini_blocks_are_settings():
    short = {option.short_name for option in OPTIONS.values()}
    blocks = re.findall(r"```ini\n\[jux-server\]\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        assert {line.partition("=")[0].strip() for line in block.splitlines() if line} <= short
    for path in ("nginx.conf", "Caddyfile"):
        (line,) = re.findall(r"# The server needs: (.*)", (DEPLOY / path).read_text())
        assert {part.partition("=")[0].strip() for part in line.split(",")} <= short


@pytest.mark.parametrize(
    "path", sorted(DEPLOY.glob("*.service")) + sorted(DEPLOY.glob("*.timer")), ids=lambda p: p.name
)
def test_units_have_the_form_of_units(path):
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(path)
    assert unit.has_section("Unit")
    assert unit.has_section("Service") or unit.has_section("Timer")


def test_stop_takes_longer_than_requests_are_given():
    given = OPTIONS["jux_server_graceful_timeout"].default
    (unit,) = re.findall(r"TimeoutStopSec=(\d+)", (DEPLOY / "jux-server.service").read_text())
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert int(unit) > given
    assert int(compose["services"]["server"]["stop_grace_period"].removesuffix("s")) > given


def test_compose_file_migrates_before_it_serves_and_has_no_password():
    text = (DEPLOY / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert services["server"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["command"] == ["migrate"]
    assert "JUX_SERVER_DATABASE_PASSWORD_FILE" in services["server"]["environment"]
    assert not re.search(r"(?i)password:\s*['\"]?\w+['\"]?\s*$", text, re.MULTILINE)


def test_proxy_lets_the_largest_report_through():
    largest = OPTIONS["jux_server_max_report_size"].default
    (size,) = re.findall(r"client_max_body_size (\d+)m;", (DEPLOY / "nginx.conf").read_text())
    assert int(size) * 1_000_000 >= 2 * largest + 65_536

"""What we say about pytest's own files is what a real pytest says, side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pytest_jux import config
from pytest_jux.config import Layer
from pytest_jux.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PYTEST_9 = pytest.version_tuple >= (9, 0)
needs_pytest_9 = pytest.mark.skipif(not PYTEST_9, reason="pytest 9 brought these files")

# Asks pytest by its public interface, and us by way of the running pytest's configuration.
CONFTEST = """
import json
from pathlib import Path

def pytest_addoption(parser):
    parser.addini("jux_sign", "", type="bool", default=False)
    parser.addini("jux_project", "", type="string", default="")
    parser.addini("jux_metadata_env", "", type="linelist", default=[])

def pytest_configure(config):
    from pytest_jux import config as jux

    source = jux.PytestSource.from_pytest_config(config)
    start = config.invocation_params.dir
    home = Path(__file__).parent / "home"
    settings = jux.load(start=start, pytest_source=source, environ={}, home=home, system_file=home / "none")
    names = ("jux_sign", "jux_project", "jux_metadata_env")
    answer = {
        "pytest": {name: config.getini(name) for name in names},
        "inipath": config.inipath and str(config.inipath),
        "ours": {name: settings.explain(name).shown for name in names},
        "origins": {name: str(settings.explain(name).origin) for name in names},
        "shadowed": {name: [str(lower) for lower in settings.explain(name).shadowed] for name in names},
        "enabled": jux.is_enabled(start=start, pytest_source=source, environ={}, home=home, system_file=home / "none"),
    }
    Path(__file__).with_name("answer.json").write_text(json.dumps(answer))
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    (tmp_path / "sub").mkdir()
    return tmp_path


def ask_pytest(project: Path, *arguments: str, directory: str = ".") -> dict:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JUX_", "PYTEST_"))}
    # Without our plugin, which registers the same names.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:jux", "-p", "no:cacheprovider", *arguments]
    command += [] if directory == "." else ["--confcutdir=.."]
    subprocess.run(command, cwd=project / directory, env=environment, capture_output=True, check=False)
    return json.loads((project / "answer.json").read_text())


def ask_us(project: Path, directory: str = ".", **arguments) -> config.Settings:
    home = project / "home"
    places = {"start": project / directory, "home": home, "environ": {}, "system_file": home / "none"}
    return config.load(**places | arguments)


INI = "\njux_sign = true\n\njux_project = from-file\njux_metadata_env =\n    A_*\n    B\n"
TOML_STRINGS = '\njux_sign = true\n\njux_project = "from-file"\njux_metadata_env = ["A_*", "B"]\n'
FILES = {
    "pytest.ini": ("pytest.ini", "[pytest]" + INI),
    ".pytest.ini": (".pytest.ini", "[pytest]" + INI),
    "tox.ini": ("tox.ini", "[tox]\nenvlist = py\n[pytest]" + INI),
    "setup.cfg": ("setup.cfg", "[metadata]\njux_sign = false\n[tool:pytest]" + INI),
    "pyproject.toml ini_options": ("pyproject.toml", "[tool.pytest.ini_options]" + TOML_STRINGS),
    "pyproject.toml tool.pytest": ("pyproject.toml", "[tool.x]\njux_sign = false\n[tool.pytest]" + TOML_STRINGS),
    "pytest.toml": ("pytest.toml", "[pytest]" + TOML_STRINGS),
    ".pytest.toml": (".pytest.toml", "[pytest]" + TOML_STRINGS),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_plugin_and_a_command_say_what_pytest_uses(project, kind):
    name, text = FILES[kind]
    (project / name).write_text(text)
    answer = ask_pytest(project)
    settings = ask_us(project)
    read = PYTEST_9 or kind not in ("pyproject.toml tool.pytest", "pytest.toml", ".pytest.toml")
    expected = (
        {"jux_sign": True, "jux_project": "from-file", "jux_metadata_env": ["A_*", "B"]}
        if read
        else {
            "jux_sign": False,
            "jux_project": "",
            "jux_metadata_env": [],
        }
    )
    assert answer["pytest"] == expected
    assert answer["ours"] == {option: settings.explain(option).shown for option in expected}
    assert {option: value or expected[option] for option, value in answer["ours"].items()} == expected
    line = text.split("\n").index("jux_sign = true") + 1
    origin = f"{name}:{line}" if read else "default"
    assert answer["origins"]["jux_sign"] == str(settings.explain("jux_sign").origin) == origin
    assert (
        answer["origins"]["jux_project"]
        == str(settings.explain("jux_project").origin)
        == (f"{name}:{line + 2}" if read else "default")
    )


@pytest.mark.parametrize("kind", ["pytest.ini", "pyproject.toml ini_options"])
def test_a_command_in_a_subdirectory_finds_the_same_file(project, kind):
    name, text = FILES[kind]
    (project / name).write_text(text)
    answer = ask_pytest(project, directory="sub")
    settings = ask_us(project, "sub")
    assert answer["pytest"]["jux_project"] == answer["ours"]["jux_project"] == settings["jux_project"] == "from-file"
    assert answer["inipath"] == str(settings.explain("jux_sign").origin.path)


def test_the_file_that_pytest_prefers_is_the_one_that_counts(project):
    for name, header in (("pytest.ini", "[pytest]"), ("tox.ini", "[pytest]"), ("setup.cfg", "[tool:pytest]")):
        (project / name).write_text(f"{header}\njux_project = {name}\n")
    answer = ask_pytest(project)
    assert answer["pytest"]["jux_project"] == ask_us(project)["jux_project"] == answer["ours"]["jux_project"]


def test_an_empty_pytest_ini_hides_the_files_above_and_beside_it(project):
    (project / "tox.ini").write_text("[pytest]\njux_project = above\n")
    (project / "sub" / "pytest.ini").write_text("")
    (project / "sub" / "setup.cfg").write_text("[tool:pytest]\njux_project = beside\n")
    assert ask_pytest(project, directory="sub")["pytest"]["jux_project"] == ""
    assert ask_us(project, "sub")["jux_project"] is None


def test_a_trailing_comment_is_not_part_of_the_value_for_us(project):
    (project / "pytest.ini").write_text("[pytest]\njux_project = mine   # not yours\njux_sign = true # yes\n")
    settings = ask_us(project)
    assert (settings["jux_project"], settings["jux_sign"]) == ("mine", True)


def test_a_hash_in_a_toml_string_is_kept(project):
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\njux_project = 'a # b' # comment\n")
    assert ask_pytest(project)["pytest"]["jux_project"] == ask_us(project)["jux_project"] == "a # b"


def test_an_override_counts_as_command_line_and_shadows_the_file(project):
    (project / "pytest.ini").write_text("[pytest]\njux_project = file\njux_sign = false\n")
    answer = ask_pytest(project, "-o", "jux_project=first", "-o", "jux_project=over", "-o", "jux_sign=true")
    assert answer["pytest"]["jux_project"] == answer["ours"]["jux_project"] == "over"
    assert answer["pytest"]["jux_sign"] is answer["ours"]["jux_sign"] is True
    assert answer["origins"]["jux_project"] == "command line -o"
    assert answer["shadowed"]["jux_project"] == [
        "jux_project = file (pytest.ini:2)",
        "jux_project = <not set> (default)",
    ]
    assert answer["enabled"] is False


def test_an_override_without_any_file_counts(project):
    answer = ask_pytest(project, "-o", "jux_project=over")
    assert answer["ours"]["jux_project"] == "over"
    assert answer["shadowed"]["jux_project"] == ["jux_project = <not set> (default)"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("other.ini", "[pytest]\njux_project = other\n"),
        ("other.cfg", "[tool:pytest]\njux_project = other\n"),
        ("other.toml", "[tool.pytest.ini_options]\njux_project = 'other'\n"),
    ],
)
def test_the_file_given_with_c_is_the_one_that_counts(project, name, text):
    (project / "pytest.ini").write_text("[pytest]\njux_project = file\n")
    (project / name).write_text(text)
    answer = ask_pytest(project, "-c", name)
    assert answer["pytest"]["jux_project"] == answer["ours"]["jux_project"] == "other"
    assert answer["origins"]["jux_project"] == f"{name}:2"


@needs_pytest_9
def test_native_toml_values_of_a_wrong_kind_are_an_error(project):
    (project / "pytest.toml").write_text("[pytest]\njux_sign = true\njux_project = ['a', 'b']\n")
    with pytest.raises(ConfigError) as caught:
        ask_us(project)
    assert str(caught.value) == ("pytest.toml:3: jux_project has invalid value ['a', 'b'] (expected: one line of text)")


@needs_pytest_9
def test_native_toml_numbers_are_read_as_written(project):
    (project / "pytest.toml").write_text("[pytest]\njux_sign = 1\njux_project = 7\n")
    settings = ask_us(project)
    assert (settings["jux_sign"], settings["jux_project"]) == (True, "7")


@pytest.mark.parametrize(
    "text",
    [
        "[tool]\npytest.ini_options.jux_project = 'p'\n",
        "[tool.pytest]\nini_options = { jux_project = 'p' }\n",
        "[tool.pytest.ini_options]\naddopts = '''\njux_project = 1\n'''\njux_project = 'p'\n",
    ],
)
def test_a_line_that_is_not_found_for_sure_is_not_named(project, text):
    (project / "pyproject.toml").write_text(text)
    setting = ask_us(project).explain("jux_project")
    assert setting.value == "p"
    assert str(setting.origin) == "pyproject.toml"


def test_spaces_and_quotes_in_toml_do_not_hide_a_line(project):
    text = "[ tool . 'pytest' . ini_options ] # here\r\n\r\n\"jux_project\"='p'\r\n"
    (project / "pyproject.toml").write_bytes(text.encode())
    assert str(ask_us(project).explain("jux_project").origin) == "pyproject.toml:3"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pytest.ini", "[pytest]\n\njux_api_key s3cr3t\n", "pytest.ini:3: expected a line like `name = value`"),
        ("pytest.ini", "jux_sign = 1\n", "pytest.ini:1: expected the section header [pytest] before the first name"),
        (
            "pytest.ini",
            "[pytest]\njux_sign=1\njux_sign=0\n",
            "pytest.ini:3: duplicate name 'jux_sign', expected it once",
        ),
        ("pyproject.toml", "[tool.pytest.ini_options]\njux_sign =\n", "pytest's configuration: "),
        ("pyproject.toml", "[tool]\npytest = 'jux_sign'\n", "pytest's configuration: pytest cannot use it: "),
        ("setup.cfg", "[pytest]\njux_sign = 1\n", "pytest's configuration: pytest cannot use it: "),
        ("pytest.ini", b"[pytest]\njux_project = \xff\n", "pytest's configuration: pytest cannot use it: "),
    ],
)
def test_a_file_that_pytest_cannot_read_is_one_sentence(project, name, text, message):
    (project / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        ask_us(project)
    assert str(caught.value).startswith(message)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="file permissions of POSIX")
def test_a_file_that_pytest_may_not_open_is_one_sentence(project, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied", "pytest.ini")

    (project / "pytest.ini").write_text("[pytest]\njux_sign = 1\n")
    monkeypatch.setattr("iniconfig.IniConfig.__init__", refuse)
    with pytest.raises(ConfigError, match=r"^pytest's configuration: cannot be read: .*Permission denied"):
        ask_us(project)


def test_the_values_of_pytest_8_are_understood(tmp_path):
    raw = {"jux_sign": "true", "jux_metadata_env": ["A"], "addopts": "-ra"}
    overrides = ["jux_sign=false", "addopts=", "jux_project=a=b"]
    old = SimpleNamespace(inicfg=raw, _override_ini=overrides, inipath=tmp_path / "tox.ini", rootpath=tmp_path)
    source = config.PytestSource.from_pytest_config(old)
    assert source.values == {"jux_sign": "true", "jux_metadata_env": ["A"]}
    assert source.overrides == {"jux_sign": "false", "jux_project": "a=b"}
    assert (source.path, source.rootdir) == (tmp_path / "tox.ini", tmp_path)


def test_a_file_that_changed_after_pytest_read_it_costs_only_the_line(project):
    path = project / "pytest.ini"
    source = config.PytestSource(path, project, {"jux_project": "p"})
    for content in (b"no header\n", b"\xff", b"[pytest]\nother = 1\n"):
        path.write_bytes(content)
        assert str(ask_us(project, pytest_source=source).explain("jux_project").origin) == "pytest.ini"
    path.unlink()
    assert ask_us(project, pytest_source=source).explain("jux_project").origin.layer is Layer.PROJECT_PYTEST

"""jux-config: what is set, where, what is wrong with it, and files to begin with; never a secret."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import stat
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import yaml

from pytest_jux.commands import _cli
from pytest_jux.commands.config import command
from pytest_jux.config import MASK, OPTIONS, load
from pytest_jux.config_templates import KINDS, template
from pytest_jux.config_text import masked, pieces

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes and terminals of POSIX"),
    pytest.mark.usefixtures("clean_environment"),
]
SCRIPT = Path(sys.executable).with_name("jux-config")
SECRET = "s3cr3t-Hunter2"  # noqa: S105 - what must not be shown

EXAMPLE = """\
[jux]
enabled = true
sign = true
key_path = ~/.jux/signing_key.pem
storage_mode = cache
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    path = tmp_path / "home"
    (path / ".jux").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(path))
    return path


@pytest.fixture
def project(tmp_path, home, monkeypatch):
    path = tmp_path / "project"
    (path / ".git").mkdir(parents=True)
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def jux_config(project, capsys):
    """Return a function that runs the command and gives its exit code, standard output and standard error."""

    def run(*arguments):
        code = _cli.run(command, [str(argument) for argument in arguments], "jux-config")
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def user_file(home: Path, text: str = EXAMPLE) -> Path:
    return write(home / ".jux" / "config", text)


def lines_of(out: str) -> list[str]:
    return out.splitlines()


# --- the user's document, word for word ------------------------------------------------------------------------------


def test_example_5_step_by_step(jux_config, home, p256):
    (home / ".jux").rmdir()
    assert jux_config("init") == (0, "Created configuration file: ~/.jux/config\n", "")

    _, out, _ = jux_config("list")
    for line in (
        "jux_enabled          (bool)   Enable pytest-jux plugin [default: false]",
        "jux_sign             (bool)   Enable report signing [default: false]",
        "jux_publish          (bool)   Enable API publishing [default: false]",
        "jux_storage_mode     (enum)   Storage mode: local|api|both|cache [default: local]",
        "jux_api_url          (str)    API endpoint URL",
        "jux_key_path         (path)   Path to signing key (PEM format)",
    ):
        assert line in lines_of(out)

    write(home / ".jux" / "signing_key.pem", p256.key_path.read_text())
    user_file(home)
    code, out, err = jux_config("dump")
    assert (code, err) == (0, "")
    assert lines_of(out)[:5] == [
        "Configuration from multiple sources:",
        "",
        "jux_enabled = true                    (source: ~/.jux/config:2)",
        "jux_sign = true                       (source: ~/.jux/config:3)",
        "jux_key_path = ~/.jux/signing_key.pem (source: ~/.jux/config:4)",
    ]
    assert "jux_storage_mode = cache              (source: ~/.jux/config:5)" in lines_of(out)
    assert "jux_api_url = <not set>" in lines_of(out)

    code, out, err = jux_config("validate", "--strict")
    assert (code, err) == (0, "")
    assert [line for line in lines_of(out) if not line.startswith(" ")] == [
        "⚠ Warning: jux_sign enabled but jux_cert_path not set",
        "⚠ Warning: jux_storage_mode is 'cache' but jux_api_url not configured",
        "Configuration has warnings but is valid",
    ]

    _, out, _ = jux_config("view", "--all")
    assert "Configuration files (in precedence order):\n\n1. " in out
    assert "(user-level) ✓ exists\n   [jux]\n   enabled = true\n   sign = true\n" in out
    assert " pytest.ini (project-level) ✗ not found\n" in out
    assert " /etc/jux/config (system-level) ✗ not found\n" in out

    _, out, _ = jux_config("dump", "--format", "json")
    assert list(json.loads(out).items())[:2] == [("jux_enabled", True), ("jux_sign", True)]

    assert jux_config("validate") == (0, "✓ Configuration is valid\n", "")


def test_the_messages_of_init(jux_config, project):
    assert jux_config("init", "--path", ".jux.conf")[1] == "Created configuration file: .jux.conf\n"
    again = jux_config("init", "--path", ".jux.conf", "--template", "full", "--force")
    assert again == (0, "Created configuration file with all options: .jux.conf\n", "")


def test_dump_shows_variables_as_sources_and_secrets_as_asterisks(jux_config, project, home, monkeypatch):
    write(
        project / "pytest.ini",
        "[pytest]\njux_enabled = true\njux_sign = true\njux_api_url = https://jux.example.com\n",
    )
    user_file(home, "[jux]\nkey_path = ~/.jux/signing_key.pem\n")
    monkeypatch.setenv("JUX_STORAGE_MODE", "cache")
    monkeypatch.setenv("JUX_API_KEY", SECRET)
    _, out, _ = jux_config("dump")
    for line in (
        "jux_enabled = true                    (source: pytest.ini:2)",
        "jux_key_path = ~/.jux/signing_key.pem (source: ~/.jux/config:2)",
        "jux_storage_mode = cache              (source: environment variable JUX_STORAGE_MODE)",
        "jux_api_url = https://jux.example.com (source: pytest.ini:4)",
        "jux_api_key = ***********             (source: environment variable JUX_API_KEY)",
    ):
        assert line in lines_of(out)


def test_the_strict_warnings_and_the_error_of_the_document(jux_config, project):
    ini = "[pytest]\njux_sign = true\njux_publish = true\njux_enabled = true\njux_storage_mode = invalid\n"
    write(project / "pytest.ini", ini)
    code, out, err = jux_config("validate", "--strict")
    assert (code, err) == (1, "")
    lines = lines_of(out)
    for line in (
        "⚠ Warning: jux_sign enabled but jux_key_path not set",
        "⚠ Warning: jux_publish enabled but jux_api_url not set",
    ):
        assert line in lines
    error = "✗ Error: jux_storage_mode has invalid value 'invalid' (expected: local|api|both|cache)"
    assert lines[lines.index(error) :] == [error, "    pytest.ini:5"]


# --- list ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_list_has_everything_about_every_option(jux_config, form, read):
    code, out, _ = jux_config("list", "--format", form)
    listed = read(out)
    assert (code, list(listed)) == (0, list(OPTIONS))
    assert listed["jux_storage_mode"] == {
        "type": "enum",
        "default": "local",
        "choices": ["local", "api", "both", "cache"],
        "description": "Storage mode",
        "expected": "local|api|both|cache",
        "environment": "JUX_STORAGE_MODE",
        "ini": "jux_storage_mode",
        "key": "storage_mode",
        "flag": "--jux-storage-mode",
        "requires": [],
        "secret": False,
    }
    assert listed["jux_sign"]["requires"] == ["jux_key_path"]
    assert listed["jux_metadata_env"]["default"] == []
    assert (listed["jux_api_key"]["flag"], listed["jux_api_key"]["secret"]) == ("--jux-api-key", True)


def test_list_is_one_line_for_each_option_where_there_is_no_terminal(jux_config, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = jux_config("list")
    assert [line.split()[0] for line in lines_of(out)] == list(OPTIONS)


def test_list_verbose_tells_every_name(jux_config):
    _, out, _ = jux_config("list", "--verbose")
    names = "[jux]: sign; pytest's files: jux_sign; environment: JUX_SIGN; command line: --jux-sign"
    assert f"    {names}; needs: jux_key_path" in lines_of(out)


# --- dump ------------------------------------------------------------------------------------------------------------


def test_changed_only_leaves_defaults_out(jux_config, home):
    user_file(home)
    _, out, _ = jux_config("dump", "--changed-only")
    assert [line.split()[0] for line in lines_of(out)[2:]] == [
        "jux_enabled",
        "jux_sign",
        "jux_key_path",
        "jux_storage_mode",
    ]
    _, out, _ = jux_config("dump", "--changed-only", "--json")
    assert json.loads(out) == {
        "jux_enabled": True,
        "jux_sign": True,
        "jux_key_path": str(home / ".jux" / "signing_key.pem"),
        "jux_storage_mode": "cache",
    }


def test_nothing_set_is_said_in_a_sentence(jux_config):
    assert jux_config("dump", "--changed-only")[:2] == (0, "Nothing is set: every option is at its default.\n")


def test_all_shows_what_a_value_overrides(jux_config, project, home, monkeypatch):
    write(project / "pytest.ini", "[pytest]\njux_project = from-ini\n")
    user_file(home, "[jux]\n\nproject = mine\n")
    monkeypatch.setenv("JUX_PROJECT", "from-environment")
    _, out, _ = jux_config("dump", "--all", "--changed-only")
    assert lines_of(out)[2:] == [
        "jux_project = from-environment (source: environment variable JUX_PROJECT)",
        "  overrides from-ini           (source: pytest.ini:2)",
        "  overrides mine               (source: ~/.jux/config:3)",
        "  overrides <not set>          (source: default)",
    ]


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
@pytest.mark.parametrize("flag", ["--all", "--sources"])
def test_sources_for_programs_have_layer_file_line_and_what_is_shadowed(jux_config, project, home, form, read, flag):
    write(project / "pytest.ini", "[pytest]\njux_project = from-ini\n")
    user_file(home, "[jux]\nproject = mine\n")
    _, out, _ = jux_config("dump", flag, "--format", form)
    dumped = read(out)
    assert list(dumped) == list(OPTIONS)
    default = {"value": None, "source": "default", "layer": "default", "file": None, "line": None}
    mine = {"value": "mine", "source": "~/.jux/config:2", "layer": "user", "line": 2}
    assert dumped["jux_project"] == {
        "value": "from-ini",
        "source": "pytest.ini:2",
        "layer": "project_pytest",
        "file": str(project / "pytest.ini"),
        "line": 2,
        "shadowed": [mine | {"file": str(home / ".jux" / "config")}, default],
    }


def test_yaml_and_json_say_the_same(jux_config, project):
    ini = "[pytest]\njux_metadata_extra = team=ünï, tier=3\njux_metadata_env = A_*\n    B\njux_sign = no\n"
    write(project / "pytest.ini", ini)
    as_json = json.loads(jux_config("dump", "--json")[1])
    text = jux_config("dump", "--format", "yaml")[1]
    assert as_json == yaml.safe_load(text)
    assert as_json["jux_metadata_extra"] == ["team=ünï", "tier=3"]
    assert text.isascii()
    assert list(as_json) == list(OPTIONS)


def test_json_is_short_for_format_json_and_contradicts_another(jux_config):
    assert jux_config("dump", "--json") == jux_config("dump", "--format", "json")
    code, out, err = jux_config("dump", "--json", "--format", "yaml")
    assert (code, out) == (64, "")
    assert "use one of them" in err


def test_what_is_wrong_is_said_and_the_rest_is_shown_all_the_same(jux_config, project, home):
    write(project / "pytest.ini", "[pytest]\njux_sign = maybe\njux_project = p\njux_sing = true\n")
    user_file(home, "[jux]\nno value here\n")
    code, out, err = jux_config("dump")
    assert code == 1
    assert "jux_project = p                   (source: pytest.ini:3)" in lines_of(out)
    assert sorted(lines_of(err)) == [
        "⚠ pytest.ini:4: unknown option jux_sing, did you mean jux_sign?",
        "✗ pytest.ini:2: jux_sign has invalid value 'maybe' (expected: true|false)",
        "✗ ~/.jux/config:2: expected a line like `name = value`",
    ]


def test_another_file_and_rootdir_as_for_pytest(jux_config, project):
    (project / "other").mkdir()
    write(project / "other" / "my.ini", "[pytest]\njux_project = other\n")
    write(project / "pytest.ini", "[pytest]\njux_project = usual\n")
    write(project / "other" / "pytest.ini", "[pytest]\njux_project = in-other\n")
    assert jux_config("get", "project")[1] == "usual\n"
    assert jux_config("get", "project", "-c", "other/my.ini")[1] == "other\n"
    assert jux_config("get", "project", "--config-file", "other/my.ini", "--rootdir", "other")[1] == "other\n"
    assert "(source: other/my.ini:2)" in jux_config("dump", "-c", "other/my.ini")[1]
    code, _, err = jux_config("dump", "-c", "missing.ini")
    assert code == 1
    assert "missing.ini" in err


def test_arguments_for_pytest_count_as_its_command_line(jux_config, project):
    _, out, _ = jux_config("dump", "--changed-only", "--", "--jux-sign", "-o", "jux_project=mine")
    assert "jux_sign = true    (source: command line --jux-sign)" in lines_of(out)
    assert "jux_project = mine (source: command line -o)" in lines_of(out)


def test_control_characters_of_a_value_do_not_reach_the_terminal(jux_config, project):
    write(project / "pytest.ini", "[pytest]\njux_project = a\x1b[31mb\u202ec\n")
    for arguments in (["dump"], ["dump", "--all"], ["explain", "project"], ["get", "project"], ["view", "--all"]):
        assert r"a\x1b[31mb\u202ec" in jux_config(*arguments)[1]
    assert r"a\x1b[31mb\u202ec" in jux_config("view", "pytest.ini")[1]
    for form in ("json", "yaml"):
        assert "\x1b" not in jux_config("dump", "--format", form)[1]


# --- get and explain -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["storage_mode", "jux_storage_mode", "JUX_STORAGE_MODE", "jux-storage-mode"])
def test_get_prints_the_value_alone(jux_config, home, key):
    user_file(home)
    assert jux_config("get", key) == (0, "cache\n", "")
    assert jux_config("get", key, "--json") == (0, '"cache"\n', "")


def test_get_prints_defaults_booleans_paths_and_lists(jux_config, home, project):
    write(project / "pytest.ini", "[pytest]\njux_metadata_env = A_*, B\njux_key_path = keys/k.pem\n")
    assert jux_config("get", "sign") == (0, "false\n", "")
    assert jux_config("get", "key_path")[1] == f"{project}/keys/k.pem\n"
    assert jux_config("get", "metadata_env")[1] == "A_*\nB\n"
    assert json.loads(jux_config("get", "metadata_env", "--json")[1]) == ["A_*", "B"]


@pytest.mark.parametrize("key", ["api_url", "metadata_env"])
def test_get_of_what_is_not_set_prints_nothing_and_exits_with_1_as_git_does(jux_config, key):
    assert jux_config("get", key) == (1, "", "")


def test_get_does_not_give_a_value_that_pytest_would_refuse(jux_config, project, home):
    user_file(home)
    write(project / ".jux.conf", "[jux]\nstorage_mode = nowhere\n")
    code, out, err = jux_config("get", "storage_mode")
    assert (code, out) == (1, "")
    assert err.startswith("✗ .jux.conf:2: jux_storage_mode has invalid value 'nowhere'")


@pytest.mark.parametrize("subcommand", ["get", "explain"])
def test_an_unknown_key_is_a_usage_error_with_a_suggestion(jux_config, subcommand):
    code, out, err = jux_config(subcommand, "storage_mod")
    assert (code, out) == (64, "")
    assert err.startswith(f"jux-config {subcommand}: unknown option storage_mod, did you mean jux_storage_mode?\n")
    assert "jux-config list shows them all" in jux_config(subcommand, "zzzzzz")[2]


def test_explain_shows_every_layer_and_marks_the_one_that_counts(jux_config, project, home, monkeypatch):
    write(project / "pytest.ini", "[pytest]\njux_project = from-ini\n")
    user_file(home, "[jux]\nproject = mine\n")
    monkeypatch.setenv("JUX_PROJECT", "from-environment")
    code, out, err = jux_config("explain", "project")
    assert (code, err) == (0, "")
    assert lines_of(out) == [
        "jux_project          (str)    Project name in the report's metadata",
        "",
        "  command line            -",
        "✓ environment variable    from-environment  (environment variable JUX_PROJECT)",
        "  project file            -                 (.jux.conf, not found)",
        "  pytest's configuration  from-ini          (pytest.ini:2)",
        "  user file               mine              (~/.jux/config:2)",
        "  system file             -                 (/etc/jux/config, not found)",
        "  default                 <not set>",
    ]


def test_explain_for_programs_has_every_layer(jux_config, project, home):
    write(project / "pytest.ini", "[pytest]\njux_project = from-ini\n")
    code, out, _ = jux_config("explain", "project", "--json")
    told = json.loads(out)
    assert (code, told["name"], told["value"], told["line"]) == (0, "jux_project", "from-ini", 2)
    layers = {layer["layer"]: layer for layer in told["layers"]}
    assert list(layers) == [
        "command_line",
        "environment",
        "project",
        "project_pytest",
        "user",
        "system",
        "default",
    ]
    assert [name for name, layer in layers.items() if layer["counts"]] == ["project_pytest"]
    assert layers["project"] == {
        "layer": "project",
        "counts": False,
        "file": str(project / ".jux.conf"),
        "exists": False,
        "says": [],
        "errors": [],
    }
    assert layers["project_pytest"]["says"][0]["value"] == "from-ini"


def test_explain_shows_what_a_layer_says_wrongly(jux_config, project, home):
    write(project / ".jux.conf", "[jux]\nproject = p\nstorage_mode = nowhere\nsign = maybe\n")
    user_file(home, "[jux]\nstorage_mode = both\n")
    code, out, err = jux_config("explain", "storage_mode")
    assert code == 1
    assert re.search(r"(?m)^  project file +invalid +\(jux_storage_mode has invalid value 'nowhere'", out)
    assert re.search(r"(?m)^✓ user file +both ", out)
    assert "maybe" not in out
    assert "✗ .jux.conf:3: jux_storage_mode has invalid value" in err
    layers = json.loads(jux_config("explain", "storage_mode", "--json")[1])["layers"]
    assert [layer["layer"] for layer in layers if layer["errors"]] == ["project"]


def test_explain_shows_a_file_that_cannot_be_understood(jux_config, home):
    user_file(home, "no section\n")
    _, out, _ = jux_config("explain", "sign")
    assert re.search(r"(?m)^  user file +invalid +\(expected", out)


# --- view ------------------------------------------------------------------------------------------------------------

TOML = """\
[tool.poetry]
name = "mine"

[tool.pytest.ini_options]
addopts = "-ra"
jux_project = "p" # ours
jux_metadata_env = ["A_*", "B"]

[tool.other]
token = "abc"
"""


def test_all_files_show_our_options_with_their_section_and_nothing_else(jux_config, project, home):
    write(project / "pyproject.toml", TOML)
    user_file(home)
    code, out, err = jux_config("view", "--all")
    assert (code, err) == (0, "")
    assert out == (
        "Configuration files (in precedence order):\n"
        "\n"
        "1. .jux.conf (project-level) ✗ not found\n"
        "\n"
        "2. pyproject.toml (project-level) ✓ exists\n"
        "   [tool.pytest.ini_options]\n"
        "   jux_project = p\n"
        "   jux_metadata_env =\n"
        "       A_*\n"
        "       B\n"
        "\n"
        "3. ~/.jux/config (user-level) ✓ exists\n"
        "   [jux]\n"
        "   enabled = true\n"
        "   sign = true\n"
        "   key_path = ~/.jux/signing_key.pem\n"
        "   storage_mode = cache\n"
        "\n"
        "4. /etc/jux/config (system-level) ✗ not found\n"
    )
    assert jux_config("view")[1] == out


@pytest.mark.parametrize(
    ("name", "header"), [("setup.cfg", "[tool:pytest]"), ("tox.ini", "[pytest]"), ("pyproject.toml", "[tool.pytest]")]
)
def test_the_section_is_that_of_the_file(jux_config, project, name, header):
    if header == "[tool.pytest]" and pytest.version_tuple < (9, 0):
        pytest.skip("pytest 9 brought this table")
    write(project / name, f'{header}\njux_project = "p"\n')
    assert f"{name} (project-level) ✓ exists\n   {header}\n   jux_project = " in jux_config("view")[1]


def test_a_file_of_pytest_that_sets_nothing_of_ours_exists_all_the_same(jux_config, project):
    write(project / "pytest.ini", "[pytest]\naddopts = -ra\n")
    assert "2. pytest.ini (project-level) ✓ exists\n\n3." in jux_config("view", "--all")[1]


def test_all_files_for_programs(jux_config, project, home):
    user_file(home)
    files = json.loads(jux_config("view", "--all", "--json")[1])
    assert [(file["label"], file["level"], file["found"]) for file in files] == [
        (".jux.conf", "project-level", False),
        ("pytest.ini", "project-level", False),
        ("~/.jux/config", "user-level", True),
        ("/etc/jux/config", "system-level", False),
    ]
    assert files[2]["sections"]["[jux]"][0] == "enabled = true"
    assert files == yaml.safe_load(jux_config("view", "--all", "--format", "yaml")[1])


def test_a_file_is_shown_as_it_is(jux_config, project, home):
    user_file(home, "# mine\n" + EXAMPLE + "\n")
    assert jux_config("view", "~/.jux/config") == (0, "# mine\n" + EXAMPLE + "\n", "")
    write(project / "pyproject.toml", TOML)
    assert jux_config("view", "pyproject.toml")[1] == TOML.replace('"abc"', MASK)
    told = json.loads(jux_config("view", "pyproject.toml", "--json")[1])
    assert told["used"] is True
    assert told["text"] == TOML.replace('"abc"', MASK)


def test_a_file_that_is_not_read_here_is_shown_with_a_note(jux_config, project):
    (project / "sub").mkdir()
    write(project / "sub" / ".jux.conf", EXAMPLE)
    code, out, err = jux_config("view", "sub/.jux.conf")
    assert (code, out) == (0, EXAMPLE)
    assert err.startswith("⚠ sub/.jux.conf is not read here")


def test_a_file_that_is_no_configuration_is_not_shown(jux_config, project):
    write(project / "signing_key.pem", f"-----BEGIN {SECRET}\n")
    code, out, err = jux_config("view", "signing_key.pem")
    assert (code, out) == (1, "")
    assert err.startswith("jux-config: cannot show signing_key.pem: it is not a configuration file")
    assert SECRET not in err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "cannot be read: No such file"),
        (Path.mkdir, "is a directory"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.write_bytes(b"[jux]\n\xff\n"), "expected UTF-8 text"),
        (lambda path: path.write_bytes("[jux]\napi_key = x\n".encode("utf-16-le")), "found a NUL character"),
    ],
)
def test_a_file_that_cannot_be_shown_is_one_sentence(jux_config, project, make, words):
    make(project / ".jux.conf")
    code, out, err = jux_config("view", ".jux.conf")
    assert (code, out) == (1, "")
    assert err.startswith("jux-config: .jux.conf")
    assert words in err


def test_a_broken_file_is_shown_and_what_is_wrong_is_said(jux_config, home):
    user_file(home, f"[jux]\nenabled\napi_key = {SECRET}\n")
    code, out, err = jux_config("view", "~/.jux/config")
    assert (code, out) == (1, f"[jux]\nenabled\napi_key = {MASK}\n")
    assert err == "✗ ~/.jux/config:2: expected a line like `name = value`\n"
    assert jux_config("view", "--all")[0] == 1


def test_file_and_all_exclude_each_other(jux_config):
    assert jux_config("view", "--all", "pytest.ini")[0] == 64


# --- secrets ---------------------------------------------------------------------------------------------------------

HIDING_PLACES = {
    "plain": ".jux.conf:[jux]\napi_key = {0}\n",
    "with prefix": ".jux.conf:[jux]\njux_api_key={0}\n",
    "colon": ".jux.conf:[jux]\napi_key: {0}\n",
    "tabs": ".jux.conf:[jux]\napi_key\t=\t{0}\n",
    "continued": ".jux.conf:[jux]\napi_key = first\n   {0}\n",
    "continued after blank": ".jux.conf:[jux]\napi_key =\n\n   {0}\n",
    "continued after comment": ".jux.conf:[jux]\napi_key =\n# a comment here\n   {0}\n",
    "continued with equals": ".jux.conf:[jux]\napi_key =\n   sign = {0}\n",
    "in the next line": ".jux.conf:[jux]\napi_key =\n{0}\n",
    "in brackets": ".jux.conf:[jux]\napi_key =\n[{0}\n",
    "twice": ".jux.conf:[jux]\napi_key = {0}\napi_key = {0}\n",
    "commented out": ".jux.conf:[jux]\n# api_key = {0}\n",
    "commented out with semicolon": ".jux.conf:[jux]\n;api_key={0}\n",
    "commented out twice": ".jux.conf:[jux]\n  ## jux_api_key: {0}\n",
    "commented out without equals": ".jux.conf:[jux]\n# api_key {0}\n",
    "commented out and continued": ".jux.conf:[jux]\n# api_key = a\n#   {0}\n# c d\n",
    "commented out in the next line": ".jux.conf:[jux]\n# api_key =\n# {0}\n",
    "the old one beneath": ".jux.conf:[jux]\napi_key = new\n# {0}\n",
    "trailing comment": ".jux.conf:[jux]\nsign = true # was api_key = {0}\n",
    "capitals": ".jux.conf:[jux]\nAPI_KEY = {0}\n",
    "hyphen": ".jux.conf:[jux]\napi-key = {0}\n",
    "blank": ".jux.conf:[jux]\napi key = {0}\n",
    "joined": ".jux.conf:[jux]\napikey = {0}\n",
    "header": ".jux.conf:[jux]\nX-Api-Key: {0}\n",
    "misspelled": ".jux.conf:[jux]\napi_kee = {0}\n",
    "plural": ".jux.conf:[jux]\napi_keys = {0}\n",
    "passphrase": ".jux.conf:[jux]\nkey_passphrase = {0}\n",
    "other words": ".jux.conf:[jux]\nauth_token = {0}\n",
    "instead of a variable": ".jux.conf:[jux]\napi_key_env = {0}\n",
    "without section": ".jux.conf:api_key = {0}\n",
    "no separator": ".jux.conf:[jux]\napi_key {0}\n",
    "indented": ".jux.conf:[jux]\n  api_key = {0}\n",
    "form feed": ".jux.conf:[jux]\nsign = true\x0capi_key = {0}\n",
    "carriage return": ".jux.conf:[jux]\rapi_key = {0}\rsign = true\r",
    "pasted key": ".jux.conf:[jux]\nkey_path = -----BEGIN X\n  {0}\n  -----END X\n",
    "url": ".jux.conf:[jux]\napi_url = https://user:{0}@host/path\n",
    "url with slash": ".jux.conf:[jux]\napi_url = https://user:a/{0}@host/path\n",
    "pytest.ini": "pytest.ini:[pytest]\njux_api_key = {0}\n",
    "addopts": "pytest.ini:[pytest]\naddopts = -ra --jux-api-key {0}\njux_sign = true\n",
    "addopts with equals": "pytest.ini:[pytest]\naddopts = -o jux_api_key={0}\n",
    "addopts in lines": "pytest.ini:[pytest]\naddopts =\n    --jux-api-key\n    {0}\njux_sign = no\n",
    "env of a plugin": "pytest.ini:[pytest]\nenv =\n    JUX_API_KEY={0}\njux_sign = no\n",
    "tox": "tox.ini:[testenv]\nsetenv =\n    JUX_API_KEY = {0}\n    TWINE_PASSWORD = {0}\n[pytest]\njux_sign = no\n",
    "setup.cfg": "setup.cfg:[tool:pytest]\njux_api_key = {0}\n",
    "toml": 'pyproject.toml:[tool.pytest.ini_options]\njux_api_key = "{0}"\n',
    "toml quoted": "pyproject.toml:[tool.pytest.ini_options]\n'jux_api_key' = '{0}'\n",
    "toml dotted": 'pyproject.toml:tool.pytest.ini_options.jux_api_key = "{0}"\n',
    "toml inline": 'pyproject.toml:[tool.pytest]\nini_options = {{ jux_sign = "no", jux_api_key = "{0}" }}\n',
    "toml escaped": 'pyproject.toml:[tool.pytest.ini_options]\n"jux_api\\u005fkey" = "{0}"\n',
    "toml several lines": 'pyproject.toml:[tool.pytest.ini_options]\njux_api_key = """\n\nsign = 1\n{0}\n"""\nx = 1\n',
    "toml several lines, one quote": "pyproject.toml:[tool.pytest.ini_options]\njux_api_key = '''a\n{0}'''\n",
    "toml never closed": 'pyproject.toml:[tool.pytest.ini_options]\njux_api_key = """\na = 1\n{0}\n',
    "toml array": 'pyproject.toml:[tool.pytest.ini_options]\njux_api_key = [\n  "a",\n  "{0}",\n]\n',
    "toml commented out": 'pyproject.toml:[tool.pytest.ini_options]\n# jux_api_key = """\n# a = {0}\n# """\n',
    "pytest.toml": 'pytest.toml:[pytest]\njux_api_key = "{0}"\n',
    "broken toml": 'pyproject.toml:[tool.pytest.ini_options\njux_api_key = "{0}\n',
}
EVERY_OUTPUT = (
    ["list", "--verbose"],
    ["dump", "--all"],
    ["dump", "--all", "--json"],
    ["dump", "--format", "yaml"],
    ["view", "--all"],
    ["view", "--all", "--json"],
    ["validate", "--strict"],
    ["validate", "--strict", "--json"],
    ["get", "api_key"],
    ["get", "api_key_env"],
    ["get", "api_url"],
    ["get", "key_path", "--json"],
    ["explain", "api_key"],
    ["explain", "api_key", "--json"],
    ["explain", "api_key_env"],
    ["explain", "api_url"],
    ["explain", "key_path"],
)


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_a_secret_in_a_file_is_shown_nowhere(jux_config, project, place):
    name, _, text = HIDING_PLACES[place].partition(":")
    write(project / name, text.format(SECRET))
    for arguments in (*EVERY_OUTPUT, ["view", name], ["view", name, "--json"], ["view", name, "--format", "yaml"]):
        _, out, err = jux_config(*arguments)
        assert SECRET not in out + err, arguments


@pytest.mark.parametrize("variable", ["JUX_API_KEY", "JUX_API_KEYS", "JUX_API_KEY_ENV", "JUX_KEY_PASSPHRASE"])
def test_a_secret_in_the_environment_is_shown_nowhere(jux_config, project, monkeypatch, variable):
    monkeypatch.setenv(variable, SECRET)
    write(project / "pytest.ini", "[pytest]\njux_project = p\n")
    for arguments in (*EVERY_OUTPUT, ["dump", "--", "--jux-sign"]):
        _, out, err = jux_config(*arguments)
        assert SECRET not in out + err, arguments


def test_a_known_secret_is_hidden_in_a_file_wherever_it_stands(jux_config, project, monkeypatch):
    monkeypatch.setenv("JUX_API_KEY", SECRET)
    write(project / "pytest.ini", f"[pytest]\n# the one in use is {SECRET}, ask Ann\n")
    assert jux_config("view", "pytest.ini")[1] == f"[pytest]\n# the one in use is {MASK}, ask Ann\n"


def test_a_line_that_ends_as_base64_does_is_no_name():
    assert masked(f"[jux]\napi_key = abc\n{SECRET}==\n") == f"[jux]\napi_key = {MASK}\n{MASK}\n"
    assert masked(f"[jux]\napi_key =\n{SECRET.lower()}=1\n") == f"[jux]\napi_key =\n{MASK}\n"


HARMLESS = """\
# API keys are explained elsewhere, see JUX_API_KEY
[jux]
# Enable report signing (REQUIRED for publishing)
sign = true
key_path = ~/.jux/signing_key.pem   # not a secret
api_key_env = JUX_API_KEY  # Read from environment variable
api_key_file = ~/.jux/api_key
storage_mode = both    # local, api, both, cache
metadata_extra =
    team=payments
    tier=3
"""


def test_what_only_says_where_a_secret_is_stays_readable():
    assert masked(HARMLESS) == HARMLESS


def test_what_follows_a_secret_stays_readable():
    text = "[jux]\napi_key = abc\nsign = true\n\n[other]\na = 1\n# api_key = old\n\n; some more words\nb = 2\n"
    shown = text.replace("abc", MASK).replace("old", MASK)
    assert masked(text) == shown
    toml = '[tool.x]\n  jux_api_key = "abc" # mine\n  jux_sign = true\n[tool.y]\nz = """\n"""\n'
    assert masked(toml, is_toml=True) == toml.replace('"abc" # mine', MASK)


def test_masking_keeps_the_number_of_lines():
    for text in (place.partition(":")[2].format(SECRET) for place in HIDING_PLACES.values()):
        assert masked(text).count("\n") == text.count("\n")


def test_the_pieces_of_a_line_are_the_line():
    for line in [*TOML.split("\n"), *HARMLESS.split("\n"), "[a] # b", "[broken", "no name", ""]:
        assert "".join(piece.text for piece in pieces(line)) == line


# --- init ------------------------------------------------------------------------------------------------------------


def uncommented(text: str) -> str:
    return re.sub(r"(?m)^#\s*", "", text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [str, uncommented])
def test_a_template_is_read_back_without_error_or_warning(jux_config, project, kind, change):
    assert jux_config("init", "--path", ".jux.conf", "--template", kind)[0] == 0
    write(project / ".jux.conf", change((project / ".jux.conf").read_text()))
    errors = []
    settings = load(errors=errors)
    assert (errors, settings.warnings) == ([], ())
    changed = [name for name in settings if settings.explain(name).origin.layer.name == "PROJECT"]
    assert bool(changed) is (change is uncommented)
    assert jux_config("validate") == (0, "✓ Configuration is valid\n", "")


@pytest.mark.parametrize("kind", KINDS)
def test_every_single_line_of_a_template_can_be_uncommented(jux_config, project, kind):
    lines = template(kind).split("\n")
    for number, line in enumerate(lines):
        if line.startswith("#"):
            write(project / ".jux.conf", "\n".join([*lines[:number], uncommented(line), *lines[number + 1 :]]))
            assert load().warnings == (), line


def test_a_new_file_changes_nothing(jux_config, project):
    before = jux_config("dump", "--all", "--json")[1]
    for kind in KINDS:
        assert jux_config("init", "--path", ".jux.conf", "--template", kind, "--force")[0] == 0
        assert jux_config("dump", "--all", "--json")[1] == before


def test_the_full_template_has_every_option_with_its_description():
    text = template("full")
    for option in OPTIONS.values():
        pattern = rf"(?m)^; {re.escape(option.help)}.*\n# {option.short_name} =( .+)?$"
        assert re.search(pattern, text), option.name


def test_the_full_template_uncommented_sets_every_option_but_the_secret(project):
    write(project / ".jux.conf", uncommented(template("full")))
    settings = load()
    unset = [name for name in settings if settings.explain(name).origin.layer.name == "DEFAULT"]
    assert unset == ["jux_api_key"]
    for name, option in OPTIONS.items():
        if option.default not in {None, ()}:
            assert settings[name] == option.default, name


def test_a_new_file_and_its_directory_are_for_their_owner_alone(jux_config, home):
    (home / ".jux").rmdir()
    umask = os.umask(0)
    try:
        assert jux_config("init")[0] == 0
    finally:
        os.umask(umask)
    assert stat.S_IMODE((home / ".jux").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / ".jux" / "config").stat().st_mode) == 0o600
    assert list((home / ".jux").iterdir()) == [home / ".jux" / "config"]


def test_an_existing_file_is_kept_without_force(jux_config, home):
    user_file(home)
    code, out, err = jux_config("init")
    assert (code, out) == (1, "")
    assert "it exists already\n" in err
    assert "--force" in err
    assert (home / ".jux" / "config").read_text() == EXAMPLE
    assert jux_config("init", "--force")[0] == 0
    assert (home / ".jux" / "config").read_text() == template("minimal")


def test_force_makes_a_lax_file_private(jux_config, home):
    user_file(home).chmod(0o644)
    assert jux_config("init", "--force")[0] == 0
    assert stat.S_IMODE((home / ".jux" / "config").stat().st_mode) == 0o600


def test_a_link_is_followed_with_force_and_respected_without(jux_config, home, tmp_path):
    target = tmp_path / "dotfiles" / "jux"
    (home / ".jux" / "config").symlink_to(target)
    assert jux_config("init")[0] == 1  # a dangling link is something, too
    assert not target.exists()
    assert jux_config("init", "--force")[0] == 0
    assert (home / ".jux" / "config").is_symlink()
    assert target.read_text() == template("minimal")


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, "it is a directory"),
        (lambda path: path.symlink_to(path), ""),
        (os.mkfifo, ""),
    ],
)
def test_what_is_no_file_is_left_alone(jux_config, project, make, words, force):
    path = project / ".jux.conf"
    make(path)
    before = path.lstat()
    code, out, err = jux_config("init", "--path", ".jux.conf", *force)
    if code == 0:  # a link to itself is replaced by a file
        assert (force, path.is_file()) == (["--force"], True)
        return
    assert (code, out) == (1, "")
    assert err.startswith("jux-config: cannot write .jux.conf: ")
    assert words in err
    assert path.lstat() == before


@pytest.mark.parametrize("path", ["", "file/config"])
def test_a_path_that_cannot_be_is_an_error(jux_config, project, path):
    write(project / "file", "x")
    code, out, err = jux_config("init", "--path", path)
    assert (code, out) == (64 if not path else 1, "")
    assert len(lines_of(err)) <= 2
    assert (project / "file").read_text() == "x"


@pytest.mark.parametrize("name", ["pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg"])
def test_pytests_own_files_are_refused(jux_config, project, name):
    code, _, err = jux_config("init", "--path", name, "--force")
    assert code == 1
    assert "it is pytest's own file" in err
    assert not (project / name).exists()


def test_a_place_that_is_never_read_is_pointed_out(jux_config, project):
    code, out, err = jux_config("init", "--path", "my.conf")
    assert (code, out) == (0, "Created configuration file: my.conf\n")
    assert "and not my.conf" in err


def test_a_template_can_be_printed(jux_config, project):
    assert jux_config("init", "--path", "-", "--template", "ci") == (0, template("ci"), "")
    assert jux_config("init", "--path", "-", "--json")[0] == 64
    assert list(project.iterdir()) == [project / ".git"]


def test_init_for_programs(jux_config, project):
    code, out, _ = jux_config("init", "--path", ".jux.conf", "--template", "ci", "--json")
    assert (code, json.loads(out)) == (0, {"file": str(project / ".jux.conf"), "template": "ci"})


def test_a_directory_without_the_right_to_write_is_one_sentence(project, without_root_rights):
    (project / "locked").mkdir(mode=0o500)
    (project / "locked").chmod(0o500)
    arguments = [*without_root_rights, SCRIPT, "init", "--path", "locked/.jux.conf"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "jux-config: cannot write locked/.jux.conf: permission denied\n"
    assert list((project / "locked").iterdir()) == []


# --- validate --------------------------------------------------------------------------------------------------------


def test_every_error_is_told_with_file_line_and_what_was_expected(jux_config, project, home, monkeypatch):
    write(project / "pytest.ini", "[pytest]\njux_sing = true\njux_sign = maybe\n")
    write(project / ".jux.conf", "[jux]\nstorage_retention_days = -1\n")
    user_file(home, "sign = true\n")
    monkeypatch.setenv("JUX_ON_ERROR", "explode")
    code, out, _ = jux_config("validate")
    assert code == 1
    lines = lines_of(out)
    found = dict(zip([line.removeprefix("✗ Error: ") for line in lines[::2]], map(str.strip, lines[1::2]), strict=True))
    assert found == {
        "unknown option jux_sing, did you mean jux_sign?": "pytest.ini:2",
        "jux_sign has invalid value 'maybe' (expected: true|false)": "pytest.ini:3",
        "jux_storage_retention_days has invalid value '-1' (expected: an integer from 0)": ".jux.conf:2",
        "expected the section header [jux] before the first name": "~/.jux/config:1",
        "jux_on_error has invalid value 'explode' (expected: warn|fail)": "environment variable JUX_ON_ERROR",
    }


def test_problems_for_programs(jux_config, project, home):
    write(project / "pytest.ini", "[pytest]\njux_sign = maybe\njux_sing = 1\njux_storage_mode = cache\n")
    code, out, _ = jux_config("validate", "--strict", "--json")
    told = json.loads(out)
    assert (code, told["valid"]) == (1, False)
    place = {"file": str(project / "pytest.ini")}
    assert told["errors"] == [
        place
        | {
            "kind": "unknown-key",
            "message": "unknown option jux_sing, did you mean jux_sign?",
            "source": "pytest.ini:3",
            "line": 3,
        },
        place
        | {
            "kind": "error",
            "message": "jux_sign has invalid value 'maybe' (expected: true|false)",
            "source": "pytest.ini:2",
            "line": 2,
        },
    ]
    assert [(warning["kind"], warning["line"]) for warning in told["warnings"]] == [("missing", 4)]
    assert told == yaml.safe_load(jux_config("validate", "--strict", "--format", "yaml")[1])


def test_warnings_fail_only_if_asked_for(jux_config, project):
    write(project / "pytest.ini", "[pytest]\njux_enabled = true\njux_storage_mode = cache\n")
    assert jux_config("validate") == (0, "✓ Configuration is valid\n", "")
    assert jux_config("validate", "--strict")[0] == 0
    code, out, _ = jux_config("validate", "--strict-exit")
    assert code == 1
    assert "⚠ Warning: jux_storage_mode is 'cache' but jux_api_url not configured" in lines_of(out)
    assert json.loads(jux_config("validate", "--strict-exit", "--json")[1])["valid"] is True


def test_a_readable_secret_is_a_warning_without_strict(jux_config, project):
    write(project / ".jux.conf", "[jux]\napi_key = x\n", 0o644)
    code, out, _ = jux_config("validate")
    assert code == 0
    assert lines_of(out) == [
        "⚠ Warning: jux_api_key is in a file that other users can read",
        "    .jux.conf:2",
        "Configuration has warnings but is valid",
    ]
    assert jux_config("validate", "--strict-exit")[0] == 1


def test_an_unreadable_file_is_an_error(project, home, without_root_rights):
    user_file(home).chmod(0)
    done = subprocess.run(
        [*without_root_rights, SCRIPT, "validate"], capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert lines_of(done.stdout) == ["✗ Error: cannot be read: Permission denied", "    ~/.jux/config"]


# --- terminals and scripts -------------------------------------------------------------------------------------------


def on_terminal(arguments: list[str], columns: int, **variables: str) -> str:
    """Run the real command on a terminal of this width and return what it would show."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen([SCRIPT, *arguments], stdout=slave, env=environ | variables) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
        assert process.wait() == 0
    os.close(master)
    return shown.decode().replace("\r\n", "\n")


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@pytest.mark.parametrize("columns", [30, 59, 60, 80, 100])
def test_a_terminal_is_not_overrun(project, home, columns):
    longest = max(len(f"{name} ({option.type})") for name, option in OPTIONS.items())
    for line in without_colours(on_terminal(["list", "--verbose"], columns)).splitlines():
        assert len(line) <= max(columns, longest if line.startswith("jux_") else 34), line
    user_file(home)
    words = on_terminal(["dump"], columns).split()
    assert "(source:" in words
    assert all(name in words for name in OPTIONS)


def test_a_source_has_a_line_of_its_own_where_it_does_not_fit(project, home):
    user_file(home)
    assert "\njux_sign = true\n    (source: ~/.jux/config:3)\n" in on_terminal(["dump"], 40)
    assert "\njux_enabled = true                    (source: ~/.jux/config:2)\n" in on_terminal(["dump"], 80)


def test_a_wide_terminal_has_one_line_for_each_option(project, home):
    assert len(on_terminal(["list"], 200).splitlines()) == len(OPTIONS)


def test_files_are_highlighted_on_a_terminal_only(project, home):
    user_file(home)
    shown = on_terminal(["view", "~/.jux/config"], 80, TERM="xterm")
    assert "\x1b[36m[jux]\x1b[0m" in shown
    assert without_colours(shown) == EXAMPLE
    assert "\x1b" not in on_terminal(["view", "~/.jux/config"], 80, NO_COLOR="1")
    piped = [SCRIPT, "view", "~/.jux/config"]
    assert subprocess.run(piped, capture_output=True, text=True, check=True).stdout == EXAMPLE
    forced = subprocess.run(piped, capture_output=True, text=True, check=True, env=os.environ | {"FORCE_COLOR": "1"})
    assert "\x1b[36m[jux]" in forced.stdout


def test_marks_are_ascii_where_the_encoding_has_no_others(project, home):
    user_file(home)
    environ = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    for arguments, mark in ((["view"], "+ exists"), (["validate"], "+ Configuration"), (["explain", "sign"], "+ user")):
        done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False, env=environ)
        assert (done.returncode, done.stderr) == (0, "")
        assert mark in done.stdout


@pytest.mark.parametrize("subcommand", [["dump"], ["view"], ["validate"], ["list"], ["explain", "sign"]])
def test_a_closed_output_is_no_crash(project, home, subcommand):
    command_line = f"exec {SCRIPT} {' '.join(subcommand)} >&-"
    done = subprocess.run(["sh", "-c", command_line], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("subcommand", [["dump"], ["dump", "--json"], ["dump", "--format=yaml"], ["init", "--path=-"]])
def test_a_full_disk_is_no_success(project, home, subcommand):
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run([SCRIPT, *subcommand], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_without_a_home_the_rest_is_shown(project, monkeypatch):
    write(project / ".jux.conf", "[jux]\nproject = p\n")
    code = (
        "import os, pwd; os.environ.pop('HOME'); pwd.getpwuid = lambda number: {}[number];"
        "from pytest_jux.commands.config import main; main()"
    )
    for subcommand in ("dump", "view", "validate"):
        done = subprocess.run([sys.executable, "-c", code, subcommand], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), subcommand
    done = subprocess.run([sys.executable, "-c", code, "init"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (64, 2)
    assert "there is no such home directory" in done.stderr


def test_a_directory_that_is_gone_is_one_sentence(project):
    (project / "gone").mkdir()
    done = subprocess.run(
        ["sh", "-c", f"cd gone && rmdir ../gone && exec {SCRIPT} dump"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "working directory: cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_umbrella_has_the_same_command(project, home):
    user_file(home)
    outputs = [
        subprocess.run(line, capture_output=True, text=True, check=True).stdout
        for line in ([SCRIPT, "dump"], [SCRIPT.with_name("jux"), "config", "dump"])
    ]
    assert outputs[0] == outputs[1]
    assert "jux_storage_mode = cache" in outputs[0]


def test_a_mistyped_subcommand_is_a_usage_error_with_a_suggestion(jux_config):
    code, out, err = jux_config("dmp")
    assert (code, out) == (64, "")
    assert "dump" in err
    code, out, err = jux_config()
    assert (code, out) == (64, "")
    assert err.startswith("Usage: jux-config")


def test_dump_pays_for_nothing_that_it_does_not_need(project, home):
    user_file(home)
    costly = {"lxml", "cryptography", "pytest", "yaml", "json", "platformdirs", "tempfile", "difflib", "textwrap"}
    code = (
        "import sys; from pytest_jux.commands.config import command; from pytest_jux.commands import _cli;"
        f"_cli.run(command, ['dump'], 'jux-config'); print(sorted({costly} & {{*sys.modules}}), file=sys.stderr)"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stderr == "[]\n"

"""Configuration: the table, the values, the layers and where each value comes from."""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pytest_jux import config, config_sources
from pytest_jux.config import CONFIG_SCHEMA, MASK, OPTIONS, ORDER, Layer, Option, PytestSource, Secret
from pytest_jux.errors import ConfigError
from pytest_jux.pytest_files import find_pytest_source

SECRET = "s3cr3t-value"  # noqa: S105 - what must not be shown
needs_posix = pytest.mark.skipif(os.name != "posix", reason="file permissions of POSIX")


class World:
    """A machine of its own: home, system file, repository, working directory and environment."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.repository = root / "work" / "repository"
        self.start = self.repository / "sub" / "deeper"
        self.system_file = root / "etc" / "config"
        self.environ: dict[str, str] = {}
        for directory in (self.home / ".jux", self.repository / ".git", self.start, self.system_file.parent):
            directory.mkdir(parents=True)

    @property
    def user_file(self) -> Path:
        return self.home / ".jux" / "config"

    def places(self) -> dict[str, object]:
        places = {"start": self.start, "home": self.home, "system_file": self.system_file}
        return places | {"environ": self.environ}

    def load(self, **arguments) -> config.Settings:
        return config.load(**self.places() | arguments)

    def is_enabled(self, **arguments) -> bool:
        return config.is_enabled(**self.places() | arguments)

    def error(self, **arguments) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load(**arguments)
        return str(caught.value)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


# --- the table -------------------------------------------------------------------------------------------------------


def test_schema_has_type_default_description_choices_and_requires():
    assert CONFIG_SCHEMA["jux_enabled"] == {
        "type": "bool",
        "default": False,
        "description": "Enable pytest-jux plugin",
    }
    assert CONFIG_SCHEMA["jux_sign"]["requires"] == ["jux_key_path"]
    assert CONFIG_SCHEMA["jux_key_path"]["default"] is None
    assert CONFIG_SCHEMA["jux_storage_mode"] == {
        "type": "enum",
        "default": "local",
        "description": "Storage mode",
        "choices": ["local", "api", "both", "cache"],
    }


def test_everything_is_off_by_default(world):
    settings = world.load()
    assert {name: settings[name] for name in ("jux_enabled", "jux_sign", "jux_publish")} == {
        "jux_enabled": False,
        "jux_sign": False,
        "jux_publish": False,
    }
    assert settings["jux_storage_mode"] == "local"
    assert str(settings.explain("jux_sign")) == "jux_sign = false (default)"
    assert str(settings.explain("jux_key_path")) == "jux_key_path = <not set> (default)"
    assert settings.warnings == ()


def test_flags_give_argparse_what_load_takes(world):
    parser = argparse.ArgumentParser()
    for option in OPTIONS.values():
        for flag, arguments in option.arguments():
            parser.add_argument(flag, **arguments)
    line = ["--jux-sign", "--jux-key=k.pem", "--jux-storage-mode=cache", "--no-jux-enabled", "--jux-metadata-env=A_*,B"]
    command_line = config.given(parser.parse_args([*line, "--jux-metadata-env", "C"]))
    settings = world.load(command_line=command_line)
    assert settings["jux_sign"] is True
    assert settings["jux_enabled"] is False
    assert settings["jux_key_path"] == world.start / "k.pem"
    assert settings["jux_storage_mode"] == "cache"
    assert settings["jux_metadata_env"] == ("A_*", "B", "C")
    assert str(settings.explain("jux_enabled").origin) == "command line --no-jux-enabled"
    assert "local|api|both|cache" in parser.format_help()


def test_given_has_every_option_and_none_where_nothing_was_given():
    assert config.given(argparse.Namespace()) == dict.fromkeys(OPTIONS)
    found = config.given(argparse.Namespace(jux_publish=True, other=1))
    assert found == {**dict.fromkeys(OPTIONS), "jux_publish": True}


def test_names_of_an_option():
    option = OPTIONS["jux_storage_mode"]
    assert (option.variable, option.short_name, option.flag) == (
        "JUX_STORAGE_MODE",
        "storage_mode",
        "--jux-storage-mode",
    )


# --- layers ----------------------------------------------------------------------------------------------------------


def test_each_layer_wins_over_the_ones_below(world):
    assert tuple(Layer) == ORDER
    write(world.system_file, "[jux]\nproject = system\n")
    assert world.load()["jux_project"] == "system"
    write(world.user_file, "[jux]\nproject = user\n")
    assert world.load()["jux_project"] == "user"
    write(world.repository / "pytest.ini", "[pytest]\njux_project = pytest\n")
    assert world.load()["jux_project"] == "pytest"
    write(world.repository / ".jux.conf", "[jux]\nproject = project\n")
    assert world.load()["jux_project"] == "project"
    world.environ["JUX_PROJECT"] = "environment"
    assert world.load()["jux_project"] == "environment"
    assert world.load(command_line={"jux_project": "line"})["jux_project"] == "line"


def test_explain_shows_every_layer_that_set_an_option(world):
    write(world.system_file, "[jux]\nproject = system\n")
    write(world.user_file, "# mine\n\n[jux]\nproject = user\n")
    write(world.start / "pytest.ini", "[pytest]\n; hm\njux_project = pytest\n")
    world.environ["JUX_PROJECT"] = "environment"
    setting = world.load(command_line={"jux_project": "line"}).explain("jux_project")
    assert str(setting) == "jux_project = line (command line --jux-project)"
    assert [str(lower) for lower in setting.shadowed] == [
        "jux_project = environment (environment variable JUX_PROJECT)",
        "jux_project = pytest (pytest.ini:3)",
        "jux_project = user (~/.jux/config:4)",
        f"jux_project = system ({world.system_file}:2)",
        "jux_project = <not set> (default)",
    ]


def test_layers_shows_every_layer_also_those_that_are_silent(world):
    write(world.user_file, "[jux]\nproject = user\n")
    write(world.start / "pytest.ini", "[pytest]\njux_project = pytest\n")
    world.environ["JUX_PROJECT"] = ""
    source = {"pytest_arguments": ["-o", "jux_project=over", "--jux-project=line"]}
    said = world.load(**source).layers("jux_project")
    assert list(said) == list(reversed(ORDER))
    assert {layer: [setting.value for setting in settings] for layer, settings in said.items()} == {
        Layer.COMMAND_LINE: ["line", "over"],
        Layer.ENVIRONMENT: [],
        Layer.PROJECT: [],
        Layer.PROJECT_PYTEST: ["pytest"],
        Layer.USER: ["user"],
        Layer.SYSTEM: [],
        Layer.DEFAULT: [None],
    }
    assert all(setting.shadowed == () for settings in said.values() for setting in settings)


def test_written_in_lists_what_a_file_sets_in_its_order_also_what_is_hidden(world):
    write(world.user_file, "[jux]\nproject = user\nfrobnicate = 1\nsign = yes\napi_key = " + SECRET)
    settings = world.load(command_line={"jux_project": "line"})
    written = settings.written_in(world.user_file)
    assert [(setting.option.name, setting.text) for setting in written] == [
        ("jux_project", "user"),
        ("jux_sign", "true"),
        ("jux_api_key", MASK),
    ]
    assert SECRET not in repr(written)
    assert settings.written_in(world.system_file) == []


def test_the_text_as_it_was_written_is_kept_and_a_secret_masked(world):
    write(world.user_file, f"[jux]\nsign = YES # of course\nkey_path = ~/k\napi_key = {SECRET}\n")
    settings = world.load()
    assert settings.explain("jux_sign").raw == "YES"
    assert settings.explain("jux_key_path").raw == "~/k"
    assert str(settings.explain("jux_api_key").raw) == MASK
    assert settings.explain("jux_project").raw == ""


def test_a_command_gives_its_own_spelling_of_a_flag(world):
    settings = world.load(command_line={"jux_key_path": "k.pem"}, flags={"jux_key_path": "--key"})
    assert str(settings.explain("jux_key_path").origin) == "command line --key"


def test_settings_are_a_frozen_mapping(world):
    settings = world.load()
    assert list(settings) == list(OPTIONS)
    assert len(settings) == len(OPTIONS)
    assert settings == dict(settings)
    with pytest.raises(AttributeError):
        settings.warnings = ()


def test_files_lists_what_was_looked_for_in_order(world):
    write(world.user_file, "[jux]\n")
    pytest_ini = write(world.start / "pytest.ini", "[pytest]\njux_sign = false\n")
    assert world.load().files == (
        (Layer.SYSTEM, world.system_file, False),
        (Layer.USER, world.user_file, True),
        (Layer.PROJECT_PYTEST, pytest_ini, True),
        (Layer.PROJECT, world.start / ".jux.conf", False),
    )


def test_files_names_the_first_place_where_pytest_would_look_if_it_reads_none(world):
    assert (Layer.PROJECT_PYTEST, world.start / "pytest.ini", False) in world.load().files


def test_all_files_finds_pytest_s_file_also_where_it_does_not_speak_of_us(world):
    tox = write(world.repository / "tox.ini", "[pytest]\naddopts = -ra\n")
    assert (Layer.PROJECT_PYTEST, tox, True) not in world.load().files
    assert (Layer.PROJECT_PYTEST, tox, True) in world.load(all_files=True).files


def test_a_flag_of_a_command_is_not_taken_for_the_one_in_the_variable(world):
    world.environ["PYTEST_ADDOPTS"] = "--jux-project=variable"
    setting = world.load(command_line={"jux_project": "mine"}, flags={"jux_project": "--project"}).explain(
        "jux_project"
    )
    assert [str(setting), *map(str, setting.shadowed)] == [
        "jux_project = mine (command line --project)",
        "jux_project = variable (command line --jux-project in PYTEST_ADDOPTS)",
        "jux_project = <not set> (default)",
    ]


def test_pytest_s_arguments_are_read_from_the_given_working_directory(world):
    """Also where the process has another one, from which pytest would start."""
    (world.start / "tests").mkdir()
    write(world.start / "tests" / "pytest.ini", "[pytest]\njux_project = tests\n")
    write(world.start / "other.ini", "[pytest]\njux_project = other\n")
    for arguments, value in ((["tests"], "tests"), (["-c", "other.ini"], "other"), (["-c", "other.ini", "x"], "other")):
        assert world.load(pytest_arguments=arguments)["jux_project"] == value
    write(world.start / "tests" / ".jux.conf", "[jux]\nproject = conf\n")
    assert world.load(start=world.repository, pytest_arguments=["--rootdir=sub/deeper/tests"])["jux_project"] == "conf"
    assert world.load(start=world.home, pytest_arguments=[f"--rootdir={world.start}/tests"])["jux_project"] == "conf"


def test_files_of_arguments_that_name_each_other_are_an_error(world):
    write(world.start / "words", "@words\n")
    error = world.error(pytest_arguments=["@words"])
    assert error == "pytest's arguments: files of arguments name each other too deeply"


def test_a_value_that_pytest_itself_refuses_is_one_sentence(world):
    (world.start / "tests").mkdir()
    error = world.error(pytest_arguments=["--unknown-option", "tests", "--tb=sideways"])
    assert error.startswith("pytest's arguments: ")
    assert "--tb" in error
    assert "\n" not in error


def test_the_working_directory_is_where_a_search_starts_by_default(world, monkeypatch):
    write(world.start / ".jux.conf", "[jux]\nproject = here\n")
    monkeypatch.chdir(world.start)
    assert world.load(start=None)["jux_project"] == "here"


def test_the_environment_is_the_process_own_by_default(world, monkeypatch):
    monkeypatch.setenv("JUX_PROJECT", "mine")
    assert world.load(environ=None)["jux_project"] == "mine"


def test_the_user_file_is_found_by_HOME(world, monkeypatch):  # noqa: N802 - the variable's name
    write(world.user_file, "[jux]\nproject = user\n")
    monkeypatch.setenv("HOME", str(world.home))
    monkeypatch.setenv("USERPROFILE", str(world.home))
    assert world.load(home=None)["jux_project"] == "user"


def test_without_a_home_directory_the_user_layer_is_skipped(world, monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    write(world.user_file, "[jux]\nproject = user\nenabled = true\n")
    settings = world.load(home=None)
    assert settings["jux_project"] is None
    assert Layer.USER not in {file.layer for file in settings.files}
    assert not world.is_enabled(home=None)
    assert "no home directory" in world.error(home=None, command_line={"jux_key_path": "~/k.pem"})


@needs_posix
def test_a_working_directory_that_was_removed_is_one_sentence(tmp_path):
    code = """
        import os, pathlib, tempfile
        directory = tempfile.mkdtemp(); os.chdir(directory); os.rmdir(directory)
        from pytest_jux import config
        print(config.is_enabled(environ={}))
        try: config.load(environ={})
        except config.ConfigError as error: print(error)
    """
    code = "\n".join(line.strip() for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "working directory: cannot be used: No such file or directory"]


# --- .jux.conf -------------------------------------------------------------------------------------------------------


def test_jux_conf_is_found_upwards_to_the_repository(world):
    write(world.repository / ".jux.conf", "[jux]\nproject = repository\n")
    setting = world.load().explain("jux_project")
    assert setting.value == "repository"
    assert setting.origin.path == world.repository / ".jux.conf"


def test_jux_conf_above_the_repository_is_not_read(world):
    write(world.repository.parent / ".jux.conf", "[jux]\nproject = another\n")
    assert world.load()["jux_project"] is None


def test_the_nearest_jux_conf_counts(world):
    write(world.repository / ".jux.conf", "[jux]\nproject = repository\nsign = true\n")
    write(world.start / ".jux.conf", "[jux]\nproject = nearest\n")
    settings = world.load()
    assert (settings["jux_project"], settings["jux_sign"]) == ("nearest", False)


def test_jux_conf_above_home_is_not_read(world):
    write(world.home.parent / ".jux.conf", "[jux]\nproject = above\n")
    start = world.home / "project"
    start.mkdir()
    assert world.load(start=start)["jux_project"] is None


def test_a_project_elsewhere_is_where_jux_conf_is_sought(world, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere / ".jux.conf", "[jux]\nproject = elsewhere\n")
    write(world.start / ".jux.conf", "[jux]\nproject = here\n")
    assert world.load(pytest_source=PytestSource(rootdir=elsewhere))["jux_project"] == "elsewhere"
    assert world.load(pytest_source=PytestSource(rootdir=world.repository))["jux_project"] == "here"


# --- [jux] files -----------------------------------------------------------------------------------------------------


def test_names_in_a_jux_file_go_with_and_without_prefix(world):
    write(world.user_file, "[jux]\nsign = true\njux_project = p\n")
    settings = world.load()
    assert (settings["jux_sign"], settings["jux_project"]) == (True, "p")


def test_both_names_of_one_option_in_a_file_are_an_error_that_names_both_lines(world):
    write(world.user_file, "[jux]\nsign = true\n\njux_sign = false\n")
    assert world.error() == ("~/.jux/config:4: sign and jux_sign are one option, set in line 2 already; expected one")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("project = local        # local, api, both", "local"),
        ("project = a#b", "a#b"),
        ("project = a # b # c", "a"),
        ("project = a\t# tab", "a"),
        ("project = # nothing", None),
        ("project = a ; b", "a ; b"),
        ("project = 100%", "100%"),
        ("project = %(home)s", "%(home)s"),
        ("project : colon", "colon"),
        ("project = https://host/?a=b", "https://host/?a=b"),
        ("project=tight", "tight"),
        ("project =", None),
        ("project = Jürgen", "Jürgen"),
        ("# project = a", None),
        ("; project = a", None),
        ("  # project = a", None),
    ],
)
def test_a_line_is_read_as_a_user_means_it(world, line, value):
    write(world.user_file, f"[jux] # mine\n{line}\n")
    assert world.load()["jux_project"] == value


def test_crlf_and_a_byte_order_mark_do_no_harm(world):
    write(world.user_file, b"\xef\xbb\xbf[jux]\r\n\r\nsign = true\r\nproject = p # c\r\n")
    settings = world.load()
    assert (settings["jux_sign"], settings["jux_project"]) == (True, "p")
    assert settings.explain("jux_project").origin.line == 4


def test_a_list_is_split_at_commas_and_lines(world):
    write(world.user_file, "[jux]\nmetadata_env = A_*, B ,, C # first\n  D\n  # none\n  E#1\n")
    assert world.load()["jux_metadata_env"] == ("A_*", "B", "C", "D", "E#1")


def test_the_spec_s_own_example_is_understood(world):
    text = """
[jux]
# Enable pytest-jux plugin
enabled = true

# Enable report signing (REQUIRED for publishing)
sign = true
key_path = ~/.jux/signing_key.pem
cert_path = ~/.jux/signing_key.crt

# Storage configuration
storage_mode = both                                  # local, api, both, cache
storage_path = ~/.local/share/jux/reports           # Optional: custom path

# API configuration (for publishing)
publish = true
api_url = https://jux.example.com/api/v1/reports
api_key = secret-api-key-here
"""
    write(world.user_file, text)
    settings = world.load()
    assert settings["jux_key_path"] == world.home / ".jux" / "signing_key.pem"
    assert settings["jux_storage_path"] == world.home / ".local/share/jux/reports"
    assert settings["jux_storage_mode"] == "both"
    assert settings["jux_api_key"].reveal() == "secret-api-key-here"
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sign = true\n", "config:1: expected the section header [jux] before the first name"),
        ("[jux]\nsign = true\nsign = true\n", "config:3: duplicate name 'sign', expected it once"),
        ("[jux]\n[a]\n[jux]\n", "config:3: duplicate section 'jux', expected it once"),
        (f"[jux]\napi_key {SECRET}\n", "config:2: expected a line like `name = value`"),
        ("\n  [jux]\n", "config:2: unexpected indentation, expected `name = value` at the start of the line"),
        ("[]\n", "config:1: empty section name"),
        (b"[jux]\n# caf\xe9\n", "config:2: expected UTF-8 text"),
        ("[jux]\n\nproject = a\0b\n", "config:3: expected text, found a NUL character"),
        ("#" * (config_sources.LARGEST_FILE + 1), "config: is larger than 1,048,576 bytes"),
    ],
)
def test_a_broken_file_is_named_with_its_line_and_what_was_expected(world, text, message):
    write(world.user_file, text)
    error = world.error()
    assert error.startswith(f"~/.jux/{message}")
    assert SECRET not in error
    assert not world.is_enabled()


def test_a_directory_in_place_of_a_file_is_an_error(world):
    (world.start / ".jux.conf").mkdir()
    assert world.error() == ".jux.conf: is a directory, expected a file"
    assert not world.is_enabled()


@needs_posix
def test_a_pipe_in_place_of_a_file_is_an_error_and_does_not_hang(world):
    os.mkfifo(world.start / ".jux.conf")
    os.mkfifo(world.start / "pytest.ini")
    assert world.error() == ".jux.conf: is not a regular file"
    assert not world.is_enabled()


@needs_posix
def test_dev_null_in_place_of_a_file_says_nothing(world):
    world.user_file.symlink_to(os.devnull)
    assert world.load()["jux_sign"] is False


@needs_posix
def test_a_device_without_an_end_is_an_error_and_does_not_hang(world):
    world.user_file.symlink_to("/dev/zero")
    assert world.error() == "~/.jux/config: is larger than 1,048,576 bytes, expected a configuration file"


@needs_posix
def test_a_pipe_as_pytest_s_file_is_an_error_and_does_not_hang(world):
    os.mkfifo(world.start / "pipe.ini")
    assert world.error(pytest_arguments=["-c", "pipe.ini"]) == "pipe.ini: is not a regular file"


@needs_posix
def test_a_dangling_link_is_an_error(world):
    world.user_file.symlink_to(world.home / "gone")
    assert world.error() == "~/.jux/config: cannot be read: No such file or directory"


@needs_posix
def test_a_file_without_read_permission_is_an_error():
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        home.chmod(0o755)
        (home / ".jux").mkdir(mode=0o755)
        write(home / ".jux" / "config", "[jux]\n").chmod(0)
        places = {"start": home / "work", "home": home, "environ": {}, "system_file": home / "none"}
        with without_root_rights(), pytest.raises(ConfigError) as caught:
            config.load(**places)
        assert str(caught.value) == "~/.jux/config: cannot be read: Permission denied"
        with without_root_rights():
            assert not config.is_enabled(**places)


@contextlib.contextmanager
def without_root_rights():
    """Root may read everything; as `nobody` the test shows the same on every machine."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@for_all(st.binary(max_size=80) | st.text("[]jux=:#; \n\tsign", max_size=80).map(str.encode))
@hypothesis_settings(max_examples=300, deadline=None)
def test_no_file_raises_anything_but_config_errors(data):
    with tempfile.TemporaryDirectory() as directory:
        path = write(Path(directory) / ".jux.conf", data)
        places = {"start": path.parent, "home": path.parent, "environ": {}, "system_file": path / "none"}
        assert config.is_enabled(**places) in (True, False)
        errors: list[ConfigError] = []
        config.load(**places, errors=errors)
        assert all(error.source.startswith(".jux.conf") for error in errors)


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["true", "TRUE", "Yes", "on", "1"])
def test_words_for_true(world, text):
    world.environ["JUX_SIGN"] = text
    assert world.load()["jux_sign"] is True


@pytest.mark.parametrize("text", ["false", "False", "NO", "off", "0"])
def test_words_for_false(world, text):
    write(world.user_file, "[jux]\nsign = true\n")
    world.environ["JUX_SIGN"] = text
    assert world.load()["jux_sign"] is False


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SIGN", "ja", "jux_sign has invalid value 'ja' (expected: true|false)"),
        (
            "STORAGE_MODE",
            "invalid",
            "jux_storage_mode has invalid value 'invalid' (expected: local|api|both|cache)",
        ),
        ("STORAGE_MODE", "Local", "jux_storage_mode has invalid value 'Local' (expected: local|api|both|cache)"),
        ("PROJECT", "a\nb", "jux_project has invalid value 'a\\nb' (expected: one line of text)"),
        (
            "KEY_PATH",
            "$NO/k",
            "jux_key_path has invalid value '$NO/k' (expected: a path; the environment variable NO is not set)",
        ),
        (
            "KEY_PATH",
            "~no-such-user-here/k",
            "jux_key_path has invalid value '~no-such-user-here/k' (expected: a path; there is no such user)",
        ),
        ("API_KEY", f"{SECRET}\n2", f"jux_api_key has invalid value {MASK} (expected: one line of text)"),
        ("KEY_PATH", f"-----BEGIN KEY-----\n{SECRET}", f"jux_key_path has invalid value {MASK} (expected: a path)"),
        (
            "SIGN",
            "x" * 500,
            f"jux_sign has invalid value '{'x' * 199}… (expected: true|false)",
        ),
        (
            "STORAGE_MAX_SIZE",
            "much",
            "jux_storage_max_size has invalid value 'much' (expected: a size such as 500 MB)",
        ),
        (
            "METADATA_EXTRA",
            "team",
            "jux_metadata_extra has invalid value 'team' (expected: name=value, separated by commas or new lines)",
        ),
    ],
)
def test_a_bad_value_is_named_with_its_source_and_what_was_expected(world, name, value, expected):
    world.environ["JUX_" + name] = value
    assert world.error() == f"environment variable JUX_{name}: {expected}"


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        (Option("jux_n", "int", "", minimum=1, maximum=9), "1", 1),
        (Option("jux_n", "int", "", minimum=1, maximum=9), "9", 9),
        (Option("jux_n", "int", ""), "-5", -5),
        (Option("jux_n", "float", "", minimum=0), "2.5", 2.5),
    ],
)
def test_numbers_are_read(world, option, text, value, monkeypatch):
    monkeypatch.setattr(config, "OPTIONS", {option.name: option})
    write(world.user_file, f"[jux]\nn = {text}\n")
    assert world.load()["jux_n"] == value


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        (Option("jux_n", "int", "", minimum=1, maximum=9), "0", "an integer from 1 to 9"),
        (Option("jux_n", "int", "", minimum=1, maximum=9), "10", "an integer from 1 to 9"),
        (Option("jux_n", "int", ""), "1.5", "an integer"),
        (Option("jux_n", "float", "", minimum=0), "nan", "a number from 0"),
        (Option("jux_n", "float", "", maximum=30), "31", "a number to 30"),
        (Option("jux_n", "float", ""), "inf", "a number"),
        (Option("jux_n", "float", ""), "1s", "a number"),
    ],
)
def test_numbers_out_of_range_say_the_range(world, option, text, expected, monkeypatch):
    monkeypatch.setattr(config, "OPTIONS", {option.name: option})
    write(world.user_file, f"[jux]\nn = {text}\n")
    assert world.error() == f"~/.jux/config:2: jux_n has invalid value '{text}' (expected: {expected})"


def test_a_relative_path_starts_from_its_file(world):
    write(world.user_file, "[jux]\nkey_path = key.pem\n")
    assert world.load()["jux_key_path"] == world.home / ".jux" / "key.pem"
    write(world.repository / "pytest.ini", "[pytest]\njux_key_path = keys/key.pem\n")
    assert world.load()["jux_key_path"] == world.repository / "keys" / "key.pem"
    write(world.repository / ".jux.conf", "[jux]\nkey_path = ./key.pem\n")
    assert world.load()["jux_key_path"] == world.repository / "key.pem"


def test_a_relative_path_on_the_command_line_starts_from_the_working_directory(world):
    world.environ["JUX_KEY_PATH"] = "key.pem"
    assert world.load()["jux_key_path"] == world.start / "key.pem"
    assert world.load(command_line={"jux_key_path": Path("../k")})["jux_key_path"] == world.start / ".." / "k"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~", "{home}"),
        ("~/k.pem", "{home}/k.pem"),
        ("~//k.pem", "{home}/k.pem"),
        ("$KEYS/k.pem", "/keys/k.pem"),
        ("${KEYS}k.pem", "/keysk.pem"),
        ("$TILDE/k.pem", "{home}/k.pem"),
        ("a$/k.pem", "{start}/a$/k.pem"),
        ("/a b/k.pem", "/a b/k.pem"),
    ],
)
def test_home_and_variables_are_expanded_in_paths(world, text, path):
    world.environ |= {"KEYS": "/keys", "TILDE": "~"}
    setting = world.load(command_line={"jux_key_path": text}).explain("jux_key_path")
    assert setting.value == Path(path.format(home=world.home, start=world.start))
    assert setting.raw == text
    assert setting.shown == str(setting.value)


@needs_posix
def test_another_user_s_home_is_expanded(world):
    import pwd

    user = pwd.getpwuid(os.getuid())
    expected = Path(user.pw_dir) / "k.pem"
    assert world.load(command_line={"jux_key_path": f"~{user.pw_name}/k.pem"})["jux_key_path"] == expected


def test_an_empty_value_leaves_it_to_the_layers_below(world):
    write(world.user_file, "[jux]\nproject = user\n")
    write(world.start / ".jux.conf", "[jux]\nproject =\n")
    world.environ["JUX_PROJECT"] = ""
    source = PytestSource(overrides={"jux_project": ""})
    setting = world.load(pytest_source=source, command_line={"jux_metadata_env": []}).explain("jux_project")
    assert str(setting) == "jux_project = user (~/.jux/config:2)"


def test_an_empty_value_after_a_flag_is_an_error(world):
    assert world.error(command_line={"jux_key_path": ""}) == (
        "command line --jux-key: jux_key_path has invalid value '' (expected: a path)"
    )


def test_a_bad_value_that_is_shadowed_is_a_warning(world):
    write(world.user_file, "[jux]\nstorage_mode = nowhere\n")
    settings = world.load(command_line={"jux_storage_mode": "both"})
    assert settings["jux_storage_mode"] == "both"
    (warning,) = settings.warnings
    assert str(warning) == (
        "~/.jux/config:2: jux_storage_mode has invalid value 'nowhere' (expected: local|api|both|cache);"
        " command line --jux-storage-mode counts"
    )


def test_all_errors_can_be_collected(world):
    write(world.system_file, "sign = true\n")
    write(world.user_file, "[jux]\nsign = perhaps\nproject = p\n")
    write(world.start / "pyproject.toml", "[tool.pytest.ini_options]\njux_sign = \n")
    errors: list[ConfigError] = []
    settings = world.load(errors=errors)
    assert [error.source.rpartition("/")[2] for error in errors] == ["pyproject.toml:2", "config:1", "config:2"]
    assert settings["jux_project"] == "p"
    assert settings["jux_sign"] is False


# --- warnings --------------------------------------------------------------------------------------------------------


def test_an_unknown_name_in_a_jux_file_gets_a_suggestion(world):
    write(world.user_file, "[jux]\nstoragemode = local\nkey = k.pem\nfrobnicate = 1\nkey-path = k\nENABLED = 1\n")
    assert [str(warning) for warning in world.load().warnings] == [
        "~/.jux/config:2: unknown option storagemode, did you mean storage_mode?",
        "~/.jux/config:3: unknown option key, did you mean key_path?",
        "~/.jux/config:4: unknown option frobnicate",
        "~/.jux/config:5: unknown option key-path, did you mean key_path?",
        "~/.jux/config:6: unknown option ENABLED, did you mean enabled?",
    ]


def test_an_unknown_name_in_pytest_s_file_gets_a_suggestion(world):
    write(world.start / "pytest.ini", "[pytest]\nmarkers =\n    x\njux_sgin = true\n")
    warning = world.load().warnings[0]
    assert str(warning) == "pytest.ini:4: unknown option jux_sgin, did you mean jux_sign?"
    assert warning.kind == "unknown-key"


@pytest.mark.parametrize(
    "name", ["key_passphrase", "jux_key_passphrase", "passphrase", "key_password", "key_pasphrase"]
)
def test_a_passphrase_in_a_file_is_told_where_it_belongs_and_not_shown(world, name):
    write(world.user_file, f"[jux]\n{name} = {SECRET}\n")
    (warning,) = world.load().warnings
    assert str(warning) == (
        f"~/.jux/config:2: unknown option {name.removeprefix('jux_')}; a passphrase does not belong into a"
        " configuration file: name the environment variable that holds it with key_passphrase_env,"
        " or a file with key_passphrase_file"
    )
    assert "did you mean" not in str(warning)


def test_a_misspelt_name_for_the_place_of_a_passphrase_gets_a_suggestion(world):
    write(world.user_file, "[jux]\nkey_pasphrase_env = NAME\nkey_passphrase_fil = f\n")
    assert [warning.message for warning in world.load().warnings] == [
        "unknown option key_pasphrase_env, did you mean key_passphrase_env?",
        "unknown option key_passphrase_fil, did you mean key_passphrase_file?",
    ]


def test_a_variable_with_a_passphrase_is_ours_if_an_option_names_it(world):
    world.environ |= {"JUX_KEY_PASSPHRASE": SECRET}
    (warning,) = world.load().warnings
    assert str(warning) == (
        "environment variable JUX_KEY_PASSPHRASE: unknown option JUX_KEY_PASSPHRASE;"
        " to use this variable, give its name with jux_key_passphrase_env"
    )
    assert world.load(command_line={"jux_key_passphrase_env": "JUX_KEY_PASSPHRASE"}).warnings == ()


def test_values_of_unknown_names_are_never_shown(world):
    names = ("api_token", "api_keyy", "token", "secret", "api_key_", "password")
    write(world.user_file, "[jux]\n" + "".join(f"{name} = {SECRET}\n" for name in names))
    warnings = world.load().warnings
    assert [warning.kind for warning in warnings] == ["unknown-key"] * len(names)
    assert SECRET not in "".join(map(str, warnings))
    assert "_env?" not in "".join(map(str, warnings))


def test_an_unknown_variable_is_mentioned_only_if_it_is_close_to_a_known_one(world):
    world.environ |= {"JUX_DEBUG": "1", "JUX_COLOUR": "x", "JUX_STORAGE_MOD": "local", "jux_sign": "1", "JUX_KEY": "k"}
    assert [str(warning) for warning in world.load().warnings] == [
        "environment variable JUX_STORAGE_MOD: unknown option JUX_STORAGE_MOD, did you mean JUX_STORAGE_MODE?",
        "environment variable JUX_KEY: unknown option JUX_KEY, did you mean JUX_KEY_PATH?",
    ]


@needs_posix
def test_a_variable_in_mixed_case_is_not_ours(world):
    world.environ["JUX_Project"] = "x"
    settings = world.load()
    assert (settings["jux_project"], settings.warnings) == (None, ())


def test_an_unknown_section_is_a_warning(world):
    write(world.user_file, "[pytest]\njux_sign = true\n[jux]\nproject = p\n")
    settings = world.load()
    assert [str(warning) for warning in settings.warnings] == [
        "~/.jux/config:1: unknown section [pytest], expected [jux]"
    ]
    assert (settings["jux_sign"], settings["jux_project"]) == (False, "p")


@needs_posix
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True), (0o400, False)])
def test_a_file_with_a_secret_that_others_can_read_is_a_warning(world, mode, warned):
    write(world.user_file, f"[jux]\n\napi_key = {SECRET}\n").chmod(mode)
    world.environ["JUX_API_KEY"] = "another"
    assert [str(warning) for warning in world.load().warnings] == (
        ["~/.jux/config:3: jux_api_key is in a file that other users can read"] if warned else []
    )


@needs_posix
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o644, True)])
def test_a_passphrase_file_that_others_can_read_is_a_warning(world, mode, warned):
    passphrase = write(world.home / "passphrase", SECRET)
    passphrase.chmod(mode)
    warnings = world.load(command_line={"jux_key_passphrase_file": "~/passphrase"}).warnings
    assert [warning.kind for warning in warnings] == (["exposed-secret"] if warned else [])


def test_a_passphrase_file_that_is_not_there_is_not_our_business(world):
    assert world.load(command_line={"jux_key_passphrase_file": "~/none"}).warnings == ()


def test_options_for_publishing_are_known(world):
    text = "jux_publish = false\njux_api_url = u\njux_api_key = k\njux_api_key_env = E\njux_api_key_file = f\n"
    write(world.start / "pytest.ini", "[pytest]\n" + text)
    settings = world.load()
    assert settings.warnings == ()
    assert settings["jux_api_key_file"] == world.start / "f"


# --- check -----------------------------------------------------------------------------------------------------------


def test_signing_without_a_key_is_a_problem_at_its_source(world):
    write(world.start / "pytest.ini", "[pytest]\njux_sign = true\n")
    assert [str(problem) for problem in config.check(world.load())] == [
        "pytest.ini:2: jux_sign enabled but jux_key_path not set"
    ]


def test_signing_with_a_key_is_no_problem(world):
    assert config.check(world.load(command_line={"jux_sign": True, "jux_key_path": "k"})) == []


def test_publishing_needs_signing_and_an_address(world):
    write(world.user_file, "[jux]\npublish = true\n")
    assert [problem.message for problem in config.check(world.load())] == [
        "jux_publish enabled but jux_sign not set",
        "jux_publish enabled but jux_api_url not set",
    ]


# --- examine ---------------------------------------------------------------------------------------------------------


def examined(world, **arguments) -> list[str]:
    return [str(problem) for problem in config.examine(world.load(**arguments), world.environ)]


@pytest.fixture
def key(world) -> Path:
    return write(world.home / ".jux" / "key.pem", "")


def test_nothing_is_wrong_with_nothing(world):
    assert examined(world) == []


def test_signing_without_key_and_certificate(world):
    write(world.start / "pytest.ini", "[pytest]\njux_enabled = true\njux_sign = true\n")
    assert examined(world) == [
        "pytest.ini:3: jux_sign enabled but jux_key_path not set",
        "pytest.ini:3: jux_sign enabled but jux_cert_path not set",
    ]


def test_publishing_without_signing_and_url(world):
    write(world.user_file, "[jux]\nenabled = true\npublish = true\n")
    assert examined(world) == [
        "~/.jux/config:3: jux_publish enabled but jux_sign not enabled",
        "~/.jux/config:3: jux_publish enabled but jux_api_url not set",
    ]


@pytest.mark.parametrize("mode", ["api", "both", "cache"])
def test_a_mode_that_needs_an_api_without_one(world, mode):
    world.environ["JUX_STORAGE_MODE"] = mode
    assert examined(world) == [
        f"environment variable JUX_STORAGE_MODE: jux_storage_mode is '{mode}' but jux_api_url not configured"
    ]
    world.environ["JUX_API_URL"] = "https://jux.example.com"
    assert examined(world) == []


def test_something_is_on_but_the_plugin_is_not(world, key):
    write(world.user_file, "[jux]\nsign = true\nkey_path = key.pem\ncert_path = /dev/../etc/passwd\n")
    assert examined(world) == ["~/.jux/config:2: jux_sign is on but jux_enabled is not: the plugin stays off"]
    assert examined(world, command_line={"jux_enabled": True}) == []
    assert examined(world, command_line={"jux_sign": True}) == []


@pytest.mark.parametrize("name", ["jux_key_path", "jux_cert_path", "jux_key_passphrase_file", "jux_api_key_file"])
def test_a_file_that_is_not_there(world, name):
    write(world.user_file, f"[jux]\n{name} = none.pem\n")
    path = f"{world.home}/.jux/none.pem"
    assert examined(world) == [
        f"~/.jux/config:2: {name} names a file that cannot be used: {path} (No such file or directory)"
    ]


def test_a_directory_where_a_file_is_expected(world):
    assert examined(world, command_line={"jux_key_path": world.home}) == [
        f"command line --jux-key: jux_key_path names something that is not a file: {world.home}"
    ]


@needs_posix
def test_a_file_that_may_not_be_read(without_root_rights, tmp_path):
    path = write(tmp_path / "key.pem", "")
    path.chmod(0)
    code = "from pytest_jux import config; s = config.load(environ={}); print(*config.examine(s), sep='\\n')"
    command = [*without_root_rights, sys.executable, "-c", code]
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    write(tmp_path / ".jux.conf", "[jux]\nkey_path = key.pem\n")
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == f".jux.conf:2: jux_key_path names a file that you may not read: {path}\n"


@needs_posix
def test_a_private_key_that_others_can_read(world, key):
    key.chmod(0o640)
    problems = config.examine(world.load(command_line={"jux_key_path": key}), {})
    assert [problem.kind for problem in problems] == ["exposed-secret"]
    assert str(problems[0]) == (
        f"command line --jux-key: jux_key_path names a private key that other users can read: {key}"
    )


@pytest.mark.parametrize("name", ["jux_api_key_env", "jux_key_passphrase_env"])
def test_a_variable_that_is_named_but_not_set(world, name):
    write(world.user_file, f"[jux]\n{name} = MY_VARIABLE\n")
    assert examined(world) == [
        f"~/.jux/config:2: {name} names an environment variable MY_VARIABLE, which is empty or not set"
    ]
    world.environ["MY_VARIABLE"] = "x"
    assert examined(world) == []


def test_a_secret_in_place_of_a_variable_s_name_is_not_shown(world):
    write(world.user_file, f"[jux]\nkey_passphrase_env = {SECRET}\n")
    assert examined(world) == [
        "~/.jux/config:2: jux_key_passphrase_env names an environment variable, which is empty or not set"
    ]


def test_key_and_certificate_in_one_file(world, key):
    (key.parent / "link.pem").symlink_to(key)
    write(world.user_file, "[jux]\nkey_path = key.pem\ncert_path = link.pem\n")
    assert examined(world) == [
        f"~/.jux/config:3: jux_key_path and jux_cert_path are the same file: {key.parent}/link.pem"
    ]


def test_a_secret_that_is_given_in_more_than_one_way(world):
    word = write(world.home / "word", "x")
    world.environ |= {"JUX_API_KEY": SECRET, "JUX_API_KEY_ENV": "HOME", "JUX_KEY_PASSPHRASE_ENV": "HOME", "HOME": "x"}
    write(world.user_file, "[jux]\nkey_passphrase_file = ~/word\n")
    assert word.exists()
    both = "jux_key_passphrase_env and jux_key_passphrase_file"
    assert examined(world) == [
        "environment variable JUX_API_KEY: jux_api_key and jux_api_key_env are both set, expected one of them",
        f"environment variable JUX_KEY_PASSPHRASE_ENV: {both} are both set, expected one of them",
    ]
    world.environ["JUX_API_KEY_FILE"] = "~/word"
    assert "jux_api_key, jux_api_key_env, jux_api_key_file are all set, expected one of them" in examined(world)[0]


def test_a_path_that_the_system_refuses_is_a_problem_and_no_traceback(world):
    (problem,) = examined(world, command_line={"jux_cert_path": "x" * 5000})
    assert problem.startswith("command line --jux-cert: jux_cert_path names a file that cannot be used: ")


def test_what_a_run_ignores_is_an_error_to_who_asks(world):
    write(world.user_file, "[jux]\nenabled = perhaps\nsing = true\n[other]\n")
    write(world.start / ".jux.conf", "enabled = true\n")
    assert not world.is_enabled()
    errors: list[ConfigError] = []
    settings = world.load(errors=errors)
    assert [str(error) for error in errors] == [
        ".jux.conf:1: expected the section header [jux] before the first name",
        "~/.jux/config:2: jux_enabled has invalid value 'perhaps' (expected: true|false)",
    ]
    assert {problem.kind for problem in settings.warnings} == {"unknown-key", "unknown-section"}
    assert {problem.kind for problem in settings.warnings} <= config.ERRORS


# --- the user's document, verbatim -----------------------------------------------------------------------------------

EXAMPLE_1 = """[pytest]
jux_enabled = true
jux_sign = true
jux_key_path = ~/.jux/signing_key.pem
jux_storage_mode = local
"""
EXAMPLE_2 = """[pytest]
jux_enabled = true
jux_sign = true
jux_publish = true
jux_storage_mode = cache
jux_api_url = https://jux.example.com/api/v1/reports
jux_api_key_env = JUX_API_KEY
jux_key_path = ~/.jux/signing_key.pem
"""
EXAMPLE_3 = """[jux]
enabled = true
sign = true
publish = true
storage_mode = both
api_url = https://jux.example.com/api/v1/reports
api_key = secret-api-key-here
key_path = ~/.jux/signing_key.pem
"""
EXAMPLE_5 = """[jux]
enabled = true
sign = true
key_path = ~/.jux/signing_key.pem
storage_mode = cache
"""
STORY_3 = """[pytest]
jux_publish = true
jux_api_url = https://jux.example.com/api/v1/reports
jux_api_key = secret-api-key-here
jux_key_path = ~/.jux/signing_key.pem
jux_cert_path = ~/.jux/signing_key.crt
"""
# The document says "OR" between the two; pytest refuses a name that a file sets twice.
EXAMPLE_INI_LOCAL = """[pytest]
# Enable pytest-jux and signing
jux_enabled = true
jux_sign = true
jux_key_path = ~/.jux/signing_key.pem

# Enable local storage only (no API)
jux_storage_mode = local
"""
EXAMPLE_INI_CACHE = """[pytest]
# Enable pytest-jux and signing
jux_enabled = true
jux_sign = true
jux_key_path = ~/.jux/signing_key.pem

# OR: Enable API publishing with local caching
jux_storage_mode = cache
jux_publish = true
jux_api_url = https://jux.example.com/api/v1/reports
jux_api_key_env = JUX_API_KEY  # Read from environment variable
"""
URL = "https://jux.example.com/api/v1/reports"
KEY = "{home}/.jux/signing_key.pem"
ON = {"jux_enabled": True, "jux_sign": True, "jux_key_path": KEY}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EXAMPLE_1, ON | {"jux_storage_mode": "local"}),
        (
            EXAMPLE_2,
            ON
            | {"jux_publish": True, "jux_storage_mode": "cache", "jux_api_url": URL, "jux_api_key_env": "JUX_API_KEY"},
        ),
        (EXAMPLE_3, ON | {"jux_publish": True, "jux_storage_mode": "both", "jux_api_url": URL, "jux_api_key": MASK}),
        (EXAMPLE_5, ON | {"jux_storage_mode": "cache"}),
        (
            STORY_3,
            {
                "jux_publish": True,
                "jux_api_url": URL,
                "jux_api_key": MASK,
                "jux_key_path": KEY,
                "jux_cert_path": "{home}/.jux/signing_key.crt",
            },
        ),
        (EXAMPLE_INI_LOCAL, ON | {"jux_storage_mode": "local"}),
        (
            EXAMPLE_INI_CACHE,
            ON
            | {"jux_storage_mode": "cache", "jux_publish": True, "jux_api_url": URL, "jux_api_key_env": "JUX_API_KEY"},
        ),
        *(
            (f"[jux]\nstorage_mode = {mode}\n", {"jux_storage_mode": mode})
            for mode in ("local", "api", "both", "cache")
        ),
        (
            "[jux]\n# Store locally only (no API)\nstorage_mode = local\nstorage_path = ~/.local/share/jux/reports\n",
            {"jux_storage_mode": "local", "jux_storage_path": "{home}/.local/share/jux/reports"},
        ),
    ],
)
def test_the_examples_of_the_users_document_mean_what_they_say(world, text, expected):
    is_pytest = text.startswith("[pytest]")
    path = write(world.start / "pytest.ini" if is_pytest else world.user_file, text)
    settings = world.load()
    changed = {
        name: settings.explain(name) for name in settings if settings.explain(name).origin.layer != Layer.DEFAULT
    }
    wanted = {n: v.format(home=world.home) if isinstance(v, str) else v for n, v in expected.items()}
    assert {name: setting.shown for name, setting in changed.items()} == wanted
    lines = text.splitlines()
    for name, setting in changed.items():
        assert setting.origin.path == path
        assert lines[setting.origin.line - 1].startswith(name if is_pytest else name.removeprefix("jux_"))
    assert settings.warnings == ()


def test_the_warnings_of_the_users_document_are_given_in_its_words(world):
    write(world.home / ".jux" / "signing_key.pem", "")
    write(world.user_file, EXAMPLE_5)
    assert [problem.message for problem in config.examine(world.load(), {})] == [
        "jux_sign enabled but jux_cert_path not set",
        "jux_storage_mode is 'cache' but jux_api_url not configured",
    ]
    write(world.user_file, "[jux]\nenabled = 1\nsign = true\npublish = true\nstorage_mode = invalid\n")
    errors: list[ConfigError] = []
    messages = [problem.message for problem in config.examine(world.load(errors=errors), {})]
    assert "jux_sign enabled but jux_key_path not set" in messages
    assert "jux_publish enabled but jux_api_url not set" in messages
    assert [error.reason for error in errors] == [
        "jux_storage_mode has invalid value 'invalid' (expected: local|api|both|cache)"
    ]


# --- is_enabled ------------------------------------------------------------------------------------------------------


def test_the_plugin_is_off_unless_something_says_otherwise(world):
    assert not world.is_enabled()


@pytest.mark.parametrize("place", ["system_file", "user_file"])
def test_a_file_switches_the_plugin_on(world, place):
    write(getattr(world, place), "[jux]\nenabled = true\n")
    assert world.is_enabled()


def test_pytest_s_file_switches_the_plugin_on_without_being_opened(world):
    source = PytestSource(world.start / "pytest.ini", world.start, {"jux_enabled": "true  # yes"})
    assert world.is_enabled(pytest_source=source)


def test_sign_on_the_command_line_enables_by_itself(world):
    command_line = {"jux_sign": True, "jux_key_path": "k"}
    world.environ["JUX_ENABLED"] = "false"
    assert world.is_enabled(command_line=command_line)
    assert str(world.load(command_line=command_line).explain("jux_enabled")) == (
        "jux_enabled = true (command line --jux-sign)"
    )


def test_sign_in_a_file_or_in_the_environment_does_not_enable(world):
    write(world.user_file, "[jux]\nsign = true\n")
    world.environ["JUX_SIGN"] = "true"
    source = PytestSource(overrides={"jux_sign": "true"})
    for command_line in (None, {"jux_sign": None}, {"jux_sign": False}):
        assert not world.is_enabled(command_line=command_line, pytest_source=source)
        assert not world.load(command_line=command_line, pytest_source=source)["jux_enabled"]


def test_no_jux_enabled_wins_over_everything(world):
    write(world.user_file, "[jux]\nenabled = true\n")
    world.environ["JUX_ENABLED"] = "true"
    source = PytestSource(overrides={"jux_enabled": "true"})
    command_line = {"jux_enabled": False, "jux_sign": True}
    assert not world.is_enabled(command_line=command_line, pytest_source=source)
    assert not world.load(command_line=command_line, pytest_source=source)["jux_enabled"]


def test_what_is_broken_says_nothing_about_being_enabled(world):
    write(world.start / ".jux.conf", "enabled = false\n")
    write(world.user_file, "[jux]\nenabled = true\n")
    world.environ["JUX_ENABLED"] = "perhaps"
    assert world.is_enabled()


def test_a_higher_layer_spares_reading_the_files(world):
    write(world.user_file, "[jux]\nenabled = true\n")
    world.environ["JUX_ENABLED"] = "false"
    assert not world.is_enabled()


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_shows_asterisks():
    secret = Secret(SECRET)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>40}", f"{secret:>20}", "%s" % secret, str([secret])]  # noqa: UP031
    assert all(SECRET not in text and MASK in text for text in shown)
    assert secret.reveal() == SECRET


def test_secrets_compare_by_what_they_hold():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_a_secret_is_copied_but_not_pickled():
    secret = Secret(SECRET)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret]) == [secret]
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_no_secret_shows_in_settings_or_in_what_they_are_made_of(world):
    write(world.user_file, f"[jux]\napi_key = {SECRET}\n").chmod(0o644)
    write(world.start / "pytest.ini", f"[pytest]\njux_api_key = {SECRET}2\n")
    world.environ["JUX_API_KEY"] = SECRET + "3"
    settings = world.load()
    setting = settings.explain("jux_api_key")
    assert setting.value.reveal() == SECRET + "3"
    assert setting.shown == MASK
    places = config._places(world.start, world.environ, world.home, world.system_file)
    source = find_pytest_source(places)
    sources = config._sources(places, source, {"jux_api_key": SECRET}, None)
    entries = [entry for layer in ORDER for entry in sources.read(layer)[0]]
    assert len(entries) == 4
    things = [settings, setting, setting.shadowed, settings.warnings, settings.files, places, source, sources, entries]
    for thing in things:
        assert SECRET not in repr(thing)
        assert SECRET not in str(thing)
    assert f"jux_api_key = {MASK} (environment variable JUX_API_KEY)" in repr(settings)


# --- cost ------------------------------------------------------------------------------------------------------------


def test_importing_config_loads_nothing_that_pytest_has_not_loaded():
    code = (
        "import sys, pytest; before = set(sys.modules); import pytest_jux.config;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {"pytest_jux", "pytest_jux.errors", "pytest_jux.config", "pytest_jux.config_values"}
    ours |= {"pytest_jux.config_sources", "pytest_jux.options", "pytest_jux.pytest_files"}
    ours |= {"pytest_jux.pytest_arguments", "pytest_jux.config_problems"}
    assert set(done.stdout.split()) <= ours


@pytest.mark.parametrize(
    "text", ["jux_project = p", "addopts = -q --jux-project=p", "addopts = --strict-config -o jux_project=p"]
)
def test_a_command_reads_pytest_s_file_without_all_of_pytest_and_leaves_pytest_whole(tmp_path, text):
    write(tmp_path / "pytest.ini", f"[pytest]\n{text}\n")
    write(
        tmp_path / "test_it.py", "def test_it(pytestconfig): assert str(pytestconfig.inipath).endswith('pytest.ini')\n"
    )
    code = """
        import sys
        from pytest_jux import config
        settings = config.load(environ={})
        assert settings.explain("jux_project").origin.layer is not config.Layer.DEFAULT or "-o" in sys.argv[1]
        assert "_pytest.config" not in sys.modules and "_pytest.config.findpaths" not in sys.modules
        import _pytest.config.findpaths, _pytest.config.exceptions, pytest
        assert pytest.UsageError is _pytest.config.exceptions.UsageError is _pytest.config.findpaths.UsageError
        assert _pytest.config.determine_setup is _pytest.config.findpaths.determine_setup
        assert config.load(environ={}) == settings  # now by pytest's own module
        sys.exit(pytest.main(["-q", "-p", "no:cacheprovider"]))
    """
    code = "\n".join(line.strip() for line in code.splitlines())
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JUX_", "PYTEST_"))}
    command = [sys.executable, "-c", code, text]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_where_pytest_s_rules_cannot_be_loaded_by_themselves_all_of_pytest_is(tmp_path):
    write(tmp_path / "pytest.ini", "[pytest]\njux_project = p\n")
    code = """
        import sys
        from importlib.abc import MetaPathFinder
        class Refusing(MetaPathFinder):
            def find_spec(self, name, *_):
                if name == "_jux_pytest_config.findpaths": raise ImportError(name)
        sys.meta_path.insert(0, Refusing())
        from pytest_jux import config
        project = config.load(environ={})["jux_project"]
        loaded = [name in sys.modules for name in ("_pytest.config", "_jux_pytest_config")]
        print(project, *loaded)
    """
    code = "\n".join(line.removeprefix(" " * 8) for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["p", "True", "False"]


def test_the_short_options_known_here_are_those_of_pytest():
    from _pytest.config import get_config

    from pytest_jux import pytest_arguments

    groups = get_config()._parser._groups
    options = [(name, option.attrs()) for group in groups for option in group.options for name in option.names()]
    short = {name[1]: attrs.get("nargs") for name, attrs in options if len(name) == 2}
    switches = {letter for letter, nargs in short.items() if nargs == 0}
    assert switches == set(pytest_arguments._SHORT_SWITCHES)
    assert set(short) - switches == set(pytest_arguments._SHORT_VALUED)
    assert {name for name, _ in options} >= pytest_arguments._LONG_VALUED


def test_a_command_without_options_in_pytest_s_files_does_not_import_pytest(tmp_path):
    write(tmp_path / "pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-ra'\n")
    code = "import sys; from pytest_jux import config; config.load(environ={}); print('_pytest.config' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_secret_that_goes_on_in_the_next_line_is_not_quoted_as_an_unknown_option(world):
    write(world.start / ".jux.conf", "[jux]\napi_key = abc\nU0VDUkVUVEVYVA==\n")
    assert [str(warning) for warning in world.load().warnings] == [".jux.conf:3: unknown option in this line"]


def test_settings_that_are_appended_under_a_second_header_count_with_their_own_lines(world):
    write(world.start / ".jux.conf", "[jux]\n# sign = true\n\n[jux]  # mine\nproject = tool\n")
    setting = world.load().explain("jux_project")
    assert (setting.value, str(setting.origin)) == ("tool", ".jux.conf:5")


def test_the_same_setting_under_both_headers_is_an_error_with_its_line(world):
    write(world.start / ".jux.conf", "[jux]\nproject = one\n[jux]\nproject = two\n")
    with pytest.raises(ConfigError, match=r"\.jux\.conf:4"):
        world.load()

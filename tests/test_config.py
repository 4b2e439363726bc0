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


def test_given_leaves_out_what_the_plugin_has_no_flag_for():
    assert "jux_publish" not in config.given(argparse.Namespace())
    assert set(config.given(argparse.Namespace()).values()) == {None}


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
    assert [str(warning) for warning in settings.warnings] == [
        "~/.jux/config:16: this version of pytest-jux does not act on jux_publish"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sign = true\n", "config:1: expected the section header [jux] before the first name"),
        ("[jux]\nsign = true\nsign = true\n", "config:3: duplicate name 'sign', expected it once"),
        ("[jux]\n[jux]\n", "config:2: duplicate section 'jux', expected it once"),
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
def test_a_dangling_link_is_an_error(world):
    world.user_file.symlink_to(world.home / "gone")
    assert world.error() == "~/.jux/config: cannot be read: No such file or directory"


@needs_posix
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
    assert [error.source.rpartition("/")[2] for error in errors] == ["pytest's configuration", "config:1", "config:2"]
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
        ["~/.jux/config:3: holds jux_api_key, and other users can read the file"] if warned else []
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


def test_what_this_version_does_not_do_has_no_requirements(world):
    write(world.user_file, "[jux]\npublish = true\n")
    assert config.check(world.load()) == []


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
    source = config_sources.find_pytest_source(places)
    sources = config._sources(places, source, {"jux_api_key": SECRET}, None)
    entries = [entry for layer in ORDER for entry in sources.read(layer)[0]]
    assert len(entries) == 4
    things = [settings, setting, setting.shadowed, settings.warnings, settings.files, places, source, sources, entries]
    for thing in things:
        assert SECRET not in repr(thing)
        assert SECRET not in str(thing)
    assert f"jux_api_key = {MASK} (environment variable JUX_API_KEY)" in repr(settings)


# --- a model ---------------------------------------------------------------------------------------------------------

_BOOLEANS = st.sampled_from([(True, "true"), (True, "Yes"), (True, "1"), (False, "off"), (False, "FALSE"), (None, "")])
_WORDS = st.text("abcXYZ019#%;-", min_size=1, max_size=6).filter(lambda text: text[0].isalnum())
_MODES = st.sampled_from(["local", "api", "both", "cache"])
_PATHS = st.sampled_from(["k.pem", "../k.pem", "/keys/k.pem", "~/k.pem", "$KEYS/k.pem", "a b/${KEY}"])
_VALUES = {
    "jux_enabled": _BOOLEANS,
    "jux_sign": _BOOLEANS,
    "jux_storage_mode": _MODES.map(lambda mode: (mode, mode)),
    "jux_project": _WORDS.map(lambda word: (word, word)),
    "jux_key_path": _PATHS.map(lambda path: (path, path)),
    "jux_metadata_env": st.lists(_WORDS, min_size=1, max_size=3).map(lambda words: (tuple(words), ", ".join(words))),
}
_SETS = st.fixed_dictionaries({}, optional=_VALUES)
_NOISE = st.lists(st.sampled_from(["", "# a comment", "; another"]), max_size=2)
_PYTEST_FILES = {
    "pytest.ini": "[pytest]",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
    "pyproject.toml": "[tool.pytest.ini_options]",
}


def _write_layer(draw, path: Path, header: str, values: dict, *, prefix: bool) -> dict[str, int]:
    """Write a file with random noise; return the lines of the options."""
    toml = path.suffix == ".toml"
    lines, numbers = [*(() if toml else draw(_NOISE)), header], {}
    for name, (_, text) in values.items():
        lines += () if toml else draw(_NOISE)
        key = name if prefix or draw(st.booleans()) else name.removeprefix("jux_")
        value = json.dumps(text) if toml else text
        lines.append(
            f"{key}{draw(st.sampled_from([' = ', '=', '  =   ']))}{value}{draw(st.sampled_from(['', '  # c']))}"
        )
        numbers[name] = len(lines)
    write(path, draw(st.sampled_from(["\n", "\r\n"])).join([*lines, ""]))
    return numbers


@for_all(st.data())
@hypothesis_settings(max_examples=150, deadline=None)
def test_every_value_and_its_origin_are_what_a_model_says(data):
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(os.path.realpath(directory)))
        world.environ |= {"KEYS": "/keys", "KEY": "k"}
        pytest_file = world.repository / data.draw(st.sampled_from(sorted(_PYTEST_FILES)))
        files = [(world.system_file, "[jux]", False), (world.user_file, "[jux]", False)]
        files += [
            (pytest_file, _PYTEST_FILES[pytest_file.name], True),
            (world.repository / ".jux.conf", "[jux]", False),
        ]
        written = []  # (values, directory of relative paths, where), lowest first
        for path, header, prefix in files:
            values = data.draw(_SETS)
            lines = _write_layer(data.draw, path, header, values, prefix=prefix)
            written.append((values, path.parent, {name: (path, line) for name, line in lines.items()}))
        values = data.draw(_SETS)
        world.environ |= {name.upper(): text for name, (_, text) in values.items()}
        written.append((values, world.start, {name: (None, name.upper()) for name in values}))
        values = {name: value for name, value in data.draw(_SETS).items() if value[1]}
        command_line = {name: value[0] if name != "jux_metadata_env" else [value[1]] for name, value in values.items()}
        written.append((values, world.start, dict.fromkeys(values, (None, "command line"))))

        def model(name: str) -> tuple[object, object]:
            value, where = OPTIONS[name].default, (None, "default")
            for values, base, wheres in written:
                if name in values and values[name][1] != "":
                    value, where = values[name][0], wheres[name]
                    if name == "jux_key_path":
                        text = value.replace("$KEYS", "/keys").replace("${KEY}", "k")
                        value = base / text.replace("~", str(world.home))
            if name == "jux_enabled" and command_line.get("jux_sign") is True and name not in command_line:
                value, where = True, (None, "command line")
            return value, where

        settings = world.load(command_line=command_line)
        for name in _VALUES:
            value, (path, place) = model(name)
            setting = settings.explain(name)
            assert setting.value == value
            assert setting.origin.path == path
            assert setting.origin.line == place if path else place in str(setting.origin)
        places = config._places(world.start, world.environ, world.home, world.system_file)
        source = config_sources.find_pytest_source(places)
        assert world.is_enabled(command_line=command_line, pytest_source=source) is settings["jux_enabled"]


# --- cost ------------------------------------------------------------------------------------------------------------


def test_importing_config_loads_nothing_that_pytest_has_not_loaded():
    code = (
        "import sys, pytest; before = set(sys.modules); import pytest_jux.config;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {"pytest_jux", "pytest_jux.errors", "pytest_jux.config", "pytest_jux.config_values"}
    ours |= {"pytest_jux.config_sources", "pytest_jux.options"}
    assert set(done.stdout.split()) <= ours


def test_a_command_without_options_in_pytest_s_files_does_not_import_pytest(tmp_path):
    write(tmp_path / "pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-ra'\n")
    code = "import sys; from pytest_jux import config; config.load(environ={}); print('_pytest.config' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

"""Where secrets come from: each source alone, which of several counts, and what a source says that has none."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback

import keyring.backend
import keyring.core
import keyring.errors
import pytest

from pytest_jux import config, credentials
from pytest_jux.config import PytestSource
from pytest_jux.config_values import Secret
from pytest_jux.credentials import KEYRING_SERVICE, SOURCES, read_api_key, read_passphrase
from pytest_jux.errors import ClientMisconfigured, FileProblem, PassphraseMissing

URL = "https://jux.example.com/api/v1/reports"
KEY = "k3y-that-nobody-may-see"


@pytest.fixture
def settings_of(tmp_path):
    """Return a function that loads a configuration from nothing but its arguments and a project file."""

    def load(project="", environ=(), **command_line):
        (tmp_path / ".jux.conf").write_text(f"[jux]\n{project}\n")
        return config.load(
            start=tmp_path,
            home=tmp_path / "home",
            system_file=tmp_path / "none",
            environ=dict(environ),
            pytest_source=PytestSource(),
            command_line=command_line,
        )

    return load


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key.txt"
    path.write_text(f"{KEY}\n")
    return path


# --- passphrases -----------------------------------------------------------------------------------------------------


def test_no_source_is_no_passphrase():
    assert read_passphrase(None, None) is None
    assert read_passphrase("", None) is None


def test_a_passphrase_from_a_variable():
    assert read_passphrase("P", None, {"P": " open sesame "}) == b" open sesame "


def test_a_passphrase_from_this_process_environment(monkeypatch):
    passphrase = "caf\u00e9".encode()
    monkeypatch.setenv("JUX_TEST_PASSPHRASE", os.fsdecode(passphrase))
    assert read_passphrase("JUX_TEST_PASSPHRASE", None) == passphrase


def test_bytes_in_a_variable_that_are_no_text_are_the_same_bytes():
    assert read_passphrase("P", None, {"P": os.fsdecode(b"\xff\xfe")}) == b"\xff\xfe"


@pytest.mark.parametrize("environ", [{}, {"P": ""}])
def test_a_variable_without_a_passphrase(environ):
    with pytest.raises(PassphraseMissing, match="P for the key"):
        read_passphrase("P", None, environ)


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [
        (b"open sesame", b"open sesame"),
        (b"open sesame\n", b"open sesame"),
        (b"open sesame\r\n", b"open sesame"),
        (b" open \nsecond line\n", b" open "),
        (b"\xff\xfe\n", b"\xff\xfe"),
        (b"x" * 4096, b"x" * 4096),
        (b"x\n" + b"y" * 10_000, b"x"),
    ],
)
def test_a_passphrase_is_the_first_line_of_a_file(tmp_path, content, passphrase):
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    assert read_passphrase(None, path) == passphrase


def test_a_file_counts_before_a_variable(key_file):
    assert read_passphrase("P", key_file, {"P": "other"}) == KEY.encode()


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\nsecond line"])
def test_an_empty_first_line_is_no_passphrase(tmp_path, content):
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    with pytest.raises(FileProblem, match="passphrase in its first line is empty"):
        read_passphrase(None, path)


def test_a_passphrase_file_that_is_not_there(tmp_path):
    with pytest.raises(FileProblem, match="passphrase"):
        read_passphrase(None, tmp_path / "passphrase")


def test_a_first_line_that_is_too_long_is_refused_and_not_cut(tmp_path, settings_of):
    path = tmp_path / "long"
    path.write_bytes(b"x" * 4097)
    with pytest.raises(FileProblem, match="too long for a passphrase"):
        read_passphrase(None, path)
    with pytest.raises(FileProblem, match=r"too long for an? API key") as caught:
        read_api_key(settings_of(jux_api_key_file=str(path)))
    assert "xxx" not in str(caught.value)


# --- the API key: each source ----------------------------------------------------------------------------------------


def test_no_source_is_no_key(settings_of):
    assert read_api_key(settings_of()) is None


def test_a_key_that_is_given(settings_of):
    assert read_api_key(settings_of(jux_api_key=KEY)) == Secret(KEY)


def test_a_key_in_a_variable(settings_of):
    assert read_api_key(settings_of(jux_api_key_env="K"), {"K": f" {KEY}\n"}) == Secret(KEY)


def test_a_key_in_a_variable_of_this_process(settings_of, monkeypatch):
    monkeypatch.setenv("JUX_TEST_KEY", KEY)
    assert read_api_key(settings_of(jux_api_key_env="JUX_TEST_KEY")) == Secret(KEY)


def test_a_key_in_a_file(settings_of, key_file):
    assert read_api_key(settings_of(jux_api_key_file=str(key_file))) == Secret(KEY)


def test_a_key_is_always_kept_secret(settings_of, key_file):
    for given in ({"jux_api_key": KEY}, {"jux_api_key_env": "K"}, {"jux_api_key_file": str(key_file)}):
        key = read_api_key(settings_of(**given), {"K": KEY})
        assert KEY not in f"{key} {key!r}"


@pytest.mark.parametrize("environ", [{}, {"K": ""}, {"K": " \n"}])
def test_a_variable_without_a_key(settings_of, environ):
    with pytest.raises(ClientMisconfigured, match="environment variable K for the API key") as caught:
        read_api_key(settings_of(jux_api_key_env="K"), environ)
    assert "jux_api_key_env" in caught.value.hint


@pytest.mark.parametrize("mistake", [KEY, "caf\u00e9", "a b", "\x1b[2J"])
def test_a_key_in_place_of_a_variables_name_is_not_shown(settings_of, mistake):
    with pytest.raises(ClientMisconfigured, match="environment variable for the API key") as caught:
        read_api_key(settings_of(jux_api_key_env=mistake), {})
    assert mistake not in f"{caught.value} {caught.value.hint}"


def test_an_empty_file_is_no_key(settings_of, tmp_path):
    path = tmp_path / "key.txt"
    path.write_text("\n")
    with pytest.raises(FileProblem, match="API key in its first line is empty"):
        read_api_key(settings_of(jux_api_key_file=str(path)))


def test_a_key_file_that_is_not_there_is_named(settings_of, tmp_path):
    with pytest.raises(FileProblem, match=r"missing\.txt"):
        read_api_key(settings_of(jux_api_key_file=str(tmp_path / "missing.txt")))


@pytest.fixture(params=["\n{key}\n", "{key}" * 400], ids=["second line", "too long"])
def unusable_file(tmp_path, request):
    path = tmp_path / "key.txt"
    path.write_text(request.param.format(key=KEY))
    return path


def test_no_traceback_shows_what_a_file_holds(settings_of, unusable_file):
    """`pytest --showlocals` and programs that collect errors show variables, too."""
    try:
        read_api_key(settings_of(jux_api_key_file=str(unusable_file)))
    except FileProblem as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert "key.txt" in str(shown)
    assert KEY not in "".join(shown.format())


# --- which source counts ---------------------------------------------------------------------------------------------


def test_the_sources_are_options():
    assert set(SOURCES) <= set(config.OPTIONS)


def test_within_a_layer_the_value_counts_first_and_then_variable_and_file(settings_of, key_file, tmp_path):
    every = {"jux_api_key": "value", "jux_api_key_env": "K", "jux_api_key_file": str(key_file), "jux_api_keyring": True}
    for name, key in (("jux_api_key", "value"), ("jux_api_key_env", "variable"), ("jux_api_key_file", KEY)):
        assert read_api_key(settings_of(**every), {"K": "variable"}) == Secret(key)
        del every[name]


@pytest.mark.parametrize(
    ("project", "environ", "command_line", "key"),
    [
        ("api_key = low", {}, {"jux_api_key_env": "K"}, "variable"),
        ("api_key_env = K", {}, {"jux_api_key": "high"}, "high"),
        ("api_key = low", {"JUX_API_KEY_ENV": "K"}, {}, "variable"),
        ("api_key = low", {"JUX_API_KEY_ENV": "K"}, {"jux_api_key": "high"}, "high"),
        ("api_keyring = true", {"JUX_API_KEY_ENV": "K"}, {}, "variable"),
    ],
)
def test_the_highest_layer_says_where_the_key_is(settings_of, project, environ, command_line, key):
    settings = settings_of(project, environ, **command_line)
    assert read_api_key(settings, {"K": "variable"}) == Secret(key)


def test_a_source_that_counts_and_has_no_key_does_not_fall_back(settings_of):
    """Otherwise a typing error would send another key than the one that was meant."""
    with pytest.raises(ClientMisconfigured):
        read_api_key(settings_of("api_key = low", jux_api_key_env="MISSPELLED"), {})


def test_a_keyring_that_is_switched_off_is_no_source(settings_of):
    assert read_api_key(settings_of("api_key = low", jux_api_keyring=False)) == Secret("low")


# --- the keyring -----------------------------------------------------------------------------------------------------


class Backend(keyring.backend.KeyringBackend):
    """A keyring in memory, or one that does what `instead` does."""

    priority = 1  # type: ignore[assignment]

    def __init__(self, instead=None):
        super().__init__()
        self.stored = {}
        self.instead = instead

    def get_password(self, service, username):
        return self.stored.get((service, username)) if self.instead is None else self.instead()

    def set_password(self, service, username, password):
        self.stored[service, username] = password

    def delete_password(self, service, username):
        del self.stored[service, username]


@pytest.fixture
def use_keyring(monkeypatch):
    """Return a function that makes a keyring the system's."""

    def use(instead=None):
        backend = Backend(instead)
        monkeypatch.setattr(keyring.core, "_keyring_backend", backend)
        return backend

    return use


@pytest.fixture
def asking(settings_of):
    return settings_of(f"api_url = {URL}\napi_keyring = true")


def test_a_key_in_the_keyring_is_found_by_its_url(use_keyring, asking):
    use_keyring()
    keyring.set_password(KEYRING_SERVICE, URL, KEY)
    keyring.set_password(KEYRING_SERVICE, "https://other.example.com/", "another")
    assert read_api_key(asking) == Secret(KEY)


@pytest.mark.parametrize("stored", [None, ""])
def test_a_keyring_without_the_key_says_how_to_put_it_there(use_keyring, asking, stored):
    backend = use_keyring()
    if stored is not None:
        backend.set_password(KEYRING_SERVICE, URL, stored)
    with pytest.raises(ClientMisconfigured, match="keyring has no API key") as caught:
        read_api_key(asking)
    assert f"keyring set jux {URL}" in caught.value.hint


def fails_with(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        keyring.errors.KeyringLocked(f"locked, and {KEY}"),
        keyring.errors.InitError("no D-Bus"),
        keyring.errors.NoKeyringError("none"),
        RuntimeError("a backend's own"),
        OSError(5, "Input/output error"),
        ImportError("no such backend"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_keyring_that_fails_is_a_clear_error(use_keyring, asking, capfd, error):
    use_keyring(fails_with(error))
    with pytest.raises(ClientMisconfigured, match="keyring cannot be asked") as caught:
        read_api_key(asking)
    assert type(error).__name__ in str(caught.value)
    assert KEY not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_keyring_that_does_not_answer_is_waited_for_only_so_long(use_keyring, asking, monkeypatch):
    """As one that is locked does, where nobody sits before the screen."""
    may_answer = threading.Event()
    use_keyring(lambda: may_answer.wait(30) and KEY)
    monkeypatch.setattr(credentials, "_KEYRING_TIME", 0.05)
    with pytest.raises(ClientMisconfigured, match=r"within 0\.05 s"):
        read_api_key(asking)
    may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "jux-keyring":
            thread.join(30)


def test_without_the_package_the_error_says_how_to_get_it(asking, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ClientMisconfigured, match="not installed") as caught:
        read_api_key(asking)
    assert "pip install 'pytest-jux[keyring]'" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    ["https://me:pa55word@jux.example.com/", "https://a.test/\x1b[2J", "https://a.test/; rm ~", "https://a.test/$(rm)"],
)
def test_the_hint_is_safe_to_show_and_to_type(use_keyring, settings_of, url):
    """The address is checked only when the client is made, which is later."""
    use_keyring()
    with pytest.raises(ClientMisconfigured) as caught:
        read_api_key(settings_of(jux_api_keyring=True, jux_api_url=url))
    said = f"{caught.value} {caught.value.hint}"
    assert said.isprintable()
    assert "pa55word" not in said
    assert "rm" not in said or f"'{url}'" in said


def program(tmp_path, backend):
    """Return what a program of its own does that asks the keyring."""
    code = f"""
from pathlib import Path
from pytest_jux import config
from pytest_jux.credentials import read_api_key
from pytest_jux.errors import ClientMisconfigured
settings = config.load(start=Path({str(tmp_path)!r}), home=Path({str(tmp_path)!r}), system_file=Path("none"),
    environ={{}}, command_line={{"jux_api_keyring": True, "jux_api_url": {URL!r}}})
try:
    print(read_api_key(settings).reveal())
except ClientMisconfigured as error:
    print(error)
"""
    environ = {**os.environ, "PYTHON_KEYRING_BACKEND": backend, "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_a_backend_that_the_environment_names_is_asked(tmp_path):
    (tmp_path / "my_backend.py").write_text(
        "import keyring.backend\n"
        "class Keyring(keyring.backend.KeyringBackend):\n"
        "    priority = 1\n"
        "    def get_password(self, service, username): return f'{service}|{username}'\n"
        "    def set_password(self, *_): pass\n"
        "    def delete_password(self, *_): pass\n"
    )
    done = program(tmp_path, "my_backend.Keyring")
    assert (done.stdout, done.stderr) == (f"jux|{URL}\n", "")


def test_a_backend_that_is_not_there_is_a_clear_error(tmp_path):
    done = program(tmp_path, "no.such.Backend")
    assert "keyring cannot be asked" in done.stdout
    assert done.stderr == ""


def test_the_null_backend_has_no_key(tmp_path):
    done = program(tmp_path, "keyring.backends.null.Keyring")
    assert "has no API key" in done.stdout


def test_the_failing_backend_is_a_clear_error(tmp_path):
    """Which is what there is on a machine without any keyring."""
    done = program(tmp_path, "keyring.backends.fail.Keyring")
    assert "keyring cannot be asked" in done.stdout
    assert done.stderr == ""

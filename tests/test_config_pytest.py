"""What we say about pytest's own files is what a real pytest says, side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from hypothesis import given as for_all
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from interop.environments import ENVIRONMENTS, build_wheel
from interop.sharing import made_once

from pytest_jux import config
from pytest_jux.config import Layer
from pytest_jux.errors import ConfigError

PYTEST_9 = pytest.version_tuple >= (9, 0)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="many pytests at little cost, where processes fork")
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
    ("text", "line"),
    [
        ("tool.pytest.ini_options.jux_project = 'p'\n", 1),
        ("[tool]\npytest.ini_options.jux_project = 'p'\n", 2),
        ("[tool]\npytest.ini_options = { addopts = '-ra', jux_project = 'p' }\n", 2),
        ("[tool.pytest]\nini_options = { \"jux_project\" = 'p' }\n", 2),
        ('[tool.pytest.ini_options]\naddopts = """\njux_project = 1\n"""\njux_project = \'p\'\n', 5),
        ("[tool.x]\njux_project = 'x'\n[tool.pytest.ini_options]\n'jux_project' = 'p'\n", 4),
        ("[tool.pytest.ini_options]\n# jux_project = 'c'\n\tjux_project\t=\t'p'\n", 3),
        ("[tool.pytest.ini_options]\njux_sign = false\njux_project = 'p' # jux_project = 'c'\n", 3),
        ("[tool.pytest.ini_options]\njux_metadata_env = [\n  'jux_project = 1',\n]\njux_project = 'p'\n", 5),
        ("[[tool.x]]\n[tool.pytest.ini_options.other]\n[tool.pytest.ini_options]\njux_project = 'p'\n", 4),
    ],
)
def test_a_line_in_toml_is_found_however_it_is_written(project, text, line):
    (project / "pyproject.toml").write_text(text)
    setting = ask_us(project).explain("jux_project")
    assert setting.value == "p"
    assert str(setting.origin) == f"pyproject.toml:{line}"


def test_a_line_that_is_not_found_for_sure_is_not_named(project):
    (project / "pyproject.toml").write_text('[tool.pytest.ini_options]\n"jux\\u005fproject" = "p"\n')
    setting = ask_us(project).explain("jux_project")
    assert (setting.value, str(setting.origin)) == ("p", "pyproject.toml")


def test_lines_are_counted_as_editors_count_them(project):
    (project / "pytest.ini").write_bytes("[pytest]\r\n# form\f# feed \u2028# and so on\r\njux_project = p\r\n".encode())
    assert str(ask_us(project).explain("jux_project").origin) == "pytest.ini:3"
    (project / "pytest.ini").write_bytes(b"[pytest]\n# form\f# feed\njux_project\n")
    with pytest.raises(ConfigError, match=r"^pytest\.ini:3: expected a line like"):
        ask_us(project)


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
        ("pyproject.toml", "[tool.pytest.ini_options]\njux_sign =\n", "pyproject.toml:2: Invalid value"),
        ("pyproject.toml", "[tool]\npytest = 'jux_sign'\n", "pyproject.toml: pytest cannot use it: "),
        ("setup.cfg", "[pytest]\njux_sign = 1\n", "setup.cfg: pytest cannot use it: "),
        ("pytest.ini", b"[pytest]\njux_project = \xff\n", "pytest.ini:2: expected UTF-8 text"),
        (
            "pytest.ini",
            "[pytest]\njux_sign = 1\naddopts = 's3cr3t\n",
            "addopts of pytest.ini:3: cannot be split into words",
        ),
        ("pytest.ini", "[pytest]\naddopts = --jux-key\n", "addopts of pytest.ini:2: --jux-key expects a value"),
        ("pytest.ini", "[pytest]\naddopts = --jux-sign=s3cr3t\n", "addopts of pytest.ini:2: --jux-sign takes no value"),
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
    with pytest.raises(ConfigError, match=r"^pytest\.ini: cannot be read: Permission denied$"):
        ask_us(project)


def test_the_values_of_pytest_8_are_understood(tmp_path):
    raw = {"jux_sign": "true", "jux_metadata_env": ["A"], "addopts": "-ra"}
    overrides = ["jux_sign=false", "addopts=", "jux_project=a=b"]
    old = SimpleNamespace(inicfg=raw, _override_ini=overrides, inipath=tmp_path / "tox.ini", rootpath=tmp_path)
    old.invocation_params = SimpleNamespace(args=(), dir=tmp_path)
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("jux_project = " + "[" * 3000, "maximum recursion depth"),
        ("jux_storage_retention_days = " + "9" * 5000, "Exceeds the limit"),
    ],
)
def test_toml_that_is_too_much_for_its_parser_is_one_sentence(project, text, reason):
    (project / "pyproject.toml").write_text(f"[tool.pytest.ini_options]\n{text}\n")
    with pytest.raises(ConfigError, match=rf"^pyproject\.toml: pytest cannot use it: {reason}"):
        ask_us(project)


@for_all(
    text=st.text("jux_sgn[]pytes.=\n #'\"{},-o", max_size=60),
    name=st.sampled_from(["pytest.ini", "pyproject.toml", "setup.cfg", "pytest.toml"]),
    arguments=st.lists(
        st.sampled_from(["-c", "-o", "--rootdir", "--", "@x", "-", "", "\0", "x" * 300, "~", "-qo", "tests", "::"])
        | st.text("-ocjux=@/.:", max_size=8),
        max_size=4,
    ),
    addopts=st.text("-oc jux='\"\\@", max_size=10),
)
@hypothesis_settings(max_examples=300, deadline=None, derandomize="CI" in os.environ)
def test_nothing_in_a_file_or_in_arguments_raises_anything_but_config_errors(text, name, arguments, addopts):
    with TemporaryDirectory() as directory:
        root = Path(directory)
        (root / name).write_text(f"{text}\njux_", encoding="utf-8")
        (root / "tests").mkdir()
        errors: list[ConfigError] = []
        places = {"start": root, "home": root, "system_file": root / "none"}
        config.load(**places, environ={"PYTEST_ADDOPTS": addopts}, pytest_arguments=arguments, errors=errors)
        assert all(error.source and "\n" not in error.source for error in errors)


# --- side by side ----------------------------------------------------------------------------------------------------

# Reads layouts as JSON, answers as JSON. Each layout is given to the loader as a command calls it, without pytest in
# memory unless the arguments need pytest's own parser, and to a real pytest in a process of its own (forked, so that
# pytest is imported only once).
DRIVER = """
import json, os, sys
from pathlib import Path

layouts = json.load(sys.stdin)

def described(settings, names):
    return {
        "settings": {name: [str(settings.explain(name)), *map(str, settings.explain(name).shadowed)] for name in names},
        "paths": {name: str(settings.explain(name).origin.path) for name in names},
        "values": {name: settings.explain(name).shown for name in names},
        "warnings": [str(warning) for warning in settings.warnings],
    }

def places(root, start):
    environ = {"PYTEST_ADDOPTS": os.environ["PYTEST_ADDOPTS"]} if "PYTEST_ADDOPTS" in os.environ else {}
    return {"start": start, "home": root / "home", "system_file": root / "none", "environ": environ}

def alone(root, start, arguments):
    from pytest_jux import config

    errors = []
    settings = config.load(**places(root, start), pytest_arguments=arguments, errors=errors)
    if errors:
        return {"errors": [str(error) for error in errors]}
    return described(settings, config.OPTIONS)

def within(root, start, arguments):
    import pytest

    class Probe:
        # Ahead of the plugin itself, which is registered before this is.
        @pytest.hookimpl(tryfirst=True)
        def pytest_configure(self, config):
            from pytest_jux import config as jux

            source = jux.PytestSource.from_pytest_config(config)
            given = jux.given(config.option)
            try:
                where = places(root, config.invocation_params.dir)
                settings = jux.load(**where, pytest_source=source, command_line=given)
                answer = described(settings, jux.OPTIONS)
            except jux.ConfigError as error:
                answer = {"errors": [str(error)]}
            (root / "answer.json").write_text(json.dumps(answer))
            os._exit(0)

    class Early:
        def pytest_load_initial_conftests(self, early_config):
            early_config.pluginmanager.register(Probe())

    child = os.fork()
    if child == 0:
        quiet = os.open(root / "output", os.O_WRONLY | os.O_CREAT)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        try:
            pytest.main(arguments, plugins=[Early()])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    answer = root / "answer.json"
    return json.loads(answer.read_text()) if answer.exists() else {"errors": [(root / "output").read_text()]}

def asked(ask, layout):
    root, start = Path(layout["root"]), Path(layout["root"], layout["start"])
    os.chdir(start)
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ.update(layout["environ"])
    return ask(root, start, layout["arguments"])

answers = {layout["root"]: [asked(alone, layout)] for layout in layouts if not layout["slow"]}
assert "_pytest.config" not in sys.modules
answers |= {layout["root"]: [asked(alone, layout)] for layout in layouts if layout["slow"]}
assert "_pytest.config" in sys.modules
for layout in layouts:
    answers[layout["root"]].append(asked(within, layout))
print(json.dumps([answers[layout["root"]] for layout in layouts]))
"""


def layout(files=(), arguments=(), start=".", addopts=None, **more):
    environ = {} if addopts is None else {"PYTEST_ADDOPTS": addopts}
    return {
        "files": dict(files),
        "arguments": list(arguments),
        "start": start,
        "environ": environ,
        "slow": False,
        **more,
    }


SIMPLE = "[pytest]\njux_project = {}\n"
SIMPLE_TOML = "[tool.pytest.ini_options]\njux_project = '{}'\n"


def simple(name: str, value: str) -> tuple[str, str]:
    form = SIMPLE_TOML if name.endswith("pyproject.toml") else SIMPLE
    form = form.replace("[pytest]", "[tool:pytest]") if name.endswith(".cfg") else form
    form = "[pytest]\njux_project = '{}'\n" if name.endswith("pytest.toml") else form
    return name, form.format(value)


TESTS = [("tests/test_a.py", ""), ("tests/unit/test_b.py", ""), ("other/test_c.py", "")]
EVERY_NAME = ["pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg"]
ADDOPTS = "[pytest]\n\naddopts = -ra\n  --jux-project 'from addopts' --jux-metadata-env A_*\njux_project = file\n"

LAYOUTS = {
    "nothing": layout(),
    **{f"only {name}": layout([simple(name, "p")]) for name in EVERY_NAME},
    **{
        f"{one} before {other}": layout([simple(one, "one"), simple(other, "two")])
        for one, other in pairwise(EVERY_NAME)
    },
    "all files": layout([simple(name, name) for name in EVERY_NAME]),
    "every kind of value": layout([FILES["setup.cfg"]]),
    "native toml": layout([FILES["pyproject.toml tool.pytest"]]),
    "both tables": layout(
        [("pyproject.toml", "[tool.pytest]\njux_project='a'\n[tool.pytest.ini_options]\njux_project='b'\n")]
    ),
    "native values": layout([("pytest.toml", "[pytest]\njux_sign = false\njux_metadata_exclude = ['a', 'b']\n")]),
    "numbers in pyproject": layout(
        [
            (
                "pyproject.toml",
                "[tool.pytest.ini_options]\njux_project = 7\njux_sign = false\njux_storage_retention_days = 3\n",
            )
        ]
    ),
    "dotted keys": layout([("pyproject.toml", "tool.pytest.ini_options.jux_project = 'p'\n")]),
    "a tox.ini that is not pytest's": layout([("tox.ini", "[tox]\njux_project = x\n"), simple("setup.cfg", "cfg")]),
    "an empty pytest.ini": layout([("pytest.ini", ""), simple("tox.ini", "tox")]),
    "a pyproject without pytest": layout(
        [("pyproject.toml", "[project]\nname = 'jux_x'\n"), ("sub/x", "")], start="sub"
    ),
    "broken ini": layout([("pytest.ini", "[pytest]\njux_project\n")]),
    "broken toml": layout([("pyproject.toml", "[tool.pytest.ini_options]\njux_project =\n")]),
    "old section of setup.cfg": layout([("setup.cfg", "[pytest]\njux_project = p\n")]),
    "a misspelt option": layout([("pytest.ini", "[pytest]\njux_projekt = p\n")]),
    "a comment behind the value": layout([("tox.ini", "[pytest]\njux_project = p   # of mine\n")]),
    "windows lines and a byte order mark": layout([("pytest.ini", "\ufeff[pytest]\r\n\r\njux_project = p\r\n")]),
    "from a directory below": layout([simple("pytest.ini", "p"), *TESTS], start="tests/unit"),
    "nearest file": layout([simple("pytest.ini", "far"), simple("tests/tox.ini", "near"), *TESTS], start="tests/unit"),
    "a path": layout([simple("pytest.ini", "top"), simple("other/pytest.ini", "other"), *TESTS], ["other"]),
    "a node id": layout(
        [simple("pytest.ini", "top"), simple("other/pytest.ini", "other"), *TESTS], ["other/test_c.py::test_x[a]"]
    ),
    "a path that is not there": layout(
        [simple("pytest.ini", "top"), simple("other/pytest.ini", "other")], ["other/none.py"]
    ),
    "two paths": layout(
        [simple("pytest.ini", "top"), simple("other/pytest.ini", "other"), *TESTS], ["other", "tests/unit"]
    ),
    "two paths without a file above": layout([simple("other/pytest.ini", "other"), *TESTS], ["tests", "other"]),
    "a path elsewhere": layout(
        [simple("pytest.ini", "top"), ("elsewhere/x", ""), simple("elsewhere/tox.ini", "there"), *TESTS],
        ["../elsewhere"],
        start="tests",
    ),
    "setup.py": layout(
        [("tests/setup.py", ""), simple("tests/unit/pytest.ini", "u"), *TESTS], ["tests/unit", "tests/test_a.py"]
    ),
    "a path behind a switch": layout(
        [simple("pytest.ini", "top"), simple("other/pytest.ini", "o"), *TESTS], ["-vv", "other", "-x"]
    ),
    "a path behind a value": layout(
        [simple("pytest.ini", "top"), simple("other/pytest.ini", "o"), *TESTS], ["-k", "tests", "other"]
    ),
    "a value that is a path": layout(
        [simple("pytest.ini", "top"), simple("other/pytest.ini", "o"), *TESTS],
        ["--ignore", "tests", "other"],
        slow=True,
    ),
    "a switch before a path": layout(
        [simple("pytest.ini", "top"), simple("other/pytest.ini", "o"), *TESTS], ["--strict-markers", "other"], slow=True
    ),
    "a value of ours that is a path": layout(
        [simple("pytest.ini", "top"), simple("other/pytest.ini", "o"), *TESTS], ["--jux-key", "other/test_c.py"]
    ),
    "paths after two dashes": layout(
        [simple("pytest.ini", "top"), simple("other/pytest.ini", "o"), *TESTS], ["-q", "--", "other"]
    ),
    "-c": layout([simple("pytest.ini", "top"), simple("other.ini", "other")], ["-c", "other.ini"]),
    "-c joined": layout([simple("pytest.ini", "top"), simple("other/other.cfg", "other")], ["-cother/other.cfg"]),
    "-c in a cluster": layout([simple("pytest.ini", "top"), simple("other.ini", "other")], ["-qc", "other.ini"]),
    "-c with an equals sign": layout([simple("pytest.ini", "top"), simple("other.ini", "other")], ["-c=other.ini"]),
    "--config-file": layout(
        [simple("pytest.ini", "top"), ("x.toml", SIMPLE_TOML.format("x"))], ["--config-file=x.toml"]
    ),
    "--config-file with our table": layout([("x.toml", "[pytest]\njux_project = 'x'\n")], ["--config-file", "x.toml"]),
    "-c from below": layout(
        [simple("pytest.ini", "top"), simple("o.ini", "o"), *TESTS], ["-c", "../o.ini"], start="tests"
    ),
    "-c twice": layout([simple("a.ini", "a"), simple("b.ini", "b")], ["-c", "a.ini", "-c", "b.ini"]),
    "-c nowhere": layout([simple("pytest.ini", "top")], ["-c", "none.ini"]),
    "-c /dev/null": layout([simple("pytest.ini", "top")], ["-c", "/dev/null"]),
    "-c a directory": layout([("other.ini/x", "")], ["-c", "other.ini"]),
    "-c broken": layout([("other.ini", "jux_project = p\n")], ["-c", "other.ini"]),
    "-c without a value": layout([simple("pytest.ini", "top")], ["-c"]),
    "--rootdir": layout([simple("pytest.ini", "top"), simple("other/pytest.ini", "o"), *TESTS], ["--rootdir", "other"]),
    "--rootdir of .jux.conf": layout(
        [("other/.jux.conf", "[jux]\nproject = o\n"), *TESTS], ["--rootdir=../other"], start="tests"
    ),
    "--rootdir nowhere": layout([simple("pytest.ini", "top")], ["--rootdir=none"]),
    "-o": layout([simple("pytest.ini", "top")], ["-o", "jux_project=over"]),
    "-o in other ways": layout(
        [simple("pytest.ini", "top")],
        ["-ojux_project=a b", "-qo", "jux_storage_mode=both", "--override-ini=jux_sign=0"],
    ),
    "-o twice": layout([], ["-o", "jux_project=a", "-o", "jux_project=b"]),
    "-o empty": layout([simple("pytest.ini", "top")], ["-o", "jux_project="]),
    "-o without a value": layout([simple("pytest.ini", "top")], ["-o", "jux_project"]),
    "-o addopts": layout([("pytest.ini", ADDOPTS)], ["-o", "addopts=--jux-project over"]),
    "-o addopts away": layout([("pytest.ini", ADDOPTS)], ["-o", "addopts="]),
    "flags": layout(
        [simple("pytest.ini", "top")],
        ["--jux-project=line", "--no-jux-sign", "--jux-metadata-env", "A,B", "--jux-metadata-env=C"],
    ),
    "flags that switch it on": layout([simple("pytest.ini", "top")], ["--jux-sign", "--jux-key", "k.pem"]),
    "flags that are taken back": layout([], ["--jux-enabled", "--no-jux-enabled", "--jux-metadata-extra", "a=1"]),
    "a flag without a value": layout([], ["--jux-project"]),
    "a bad value of a flag": layout([], ["--jux-storage-mode=nowhere"]),
    "addopts": layout([("pytest.ini", ADDOPTS)]),
    "addopts and the command line": layout(
        [("pytest.ini", ADDOPTS)], ["--jux-project=line", "--jux-metadata-env", "B"]
    ),
    "addopts in toml": layout(
        [("pyproject.toml", "[tool.pytest.ini_options]\naddopts = ['-q', '--jux-project', 'a b']\n")]
    ),
    "addopts as text in toml": layout(
        [("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-q --no-jux-sign'\n")]
    ),
    "addopts in native toml": layout([("pytest.toml", "[pytest]\naddopts = ['--jux-project', 'a b']\n")]),
    "addopts as text in native toml": layout([("pytest.toml", "[pytest]\naddopts = '--jux-project a'\n")]),
    "addopts with -c": layout(
        [("pytest.ini", "[pytest]\naddopts = -c other.ini\njux_project = top\n"), simple("other.ini", "o")]
    ),
    "addopts with -o": layout([("pytest.ini", "[pytest]\naddopts = -o jux_project=over\njux_project = top\n")]),
    "addopts with -o and -o": layout(
        [("pytest.ini", "[pytest]\naddopts = -o jux_project=over\n")], ["-o", "jux_project=line"]
    ),
    "addopts with a path": layout(
        [("pytest.ini", "[pytest]\naddopts = other\njux_project = top\n"), simple("other/pytest.ini", "o")]
    ),
    "addopts with --rootdir": layout(
        [("pytest.ini", "[pytest]\naddopts = --rootdir=other\njux_project = top\n"), ("other/x", "")]
    ),
    "addopts that cannot be split": layout([("pytest.ini", "[pytest]\naddopts = 'a\njux_project = p\n")]),
    "the variable": layout([simple("pytest.ini", "top")], addopts="--jux-project 'a b' -q"),
    "the variable without any file": layout(addopts="--jux-sign --jux-key k.pem -o jux_project=x"),
    "the variable with -c": layout([simple("pytest.ini", "top"), simple("other.ini", "o")], addopts="-c other.ini"),
    "the variable with -c and -c": layout(
        [simple("a.ini", "a"), simple("b.ini", "b")], ["-c", "b.ini"], addopts="-c a.ini"
    ),
    "the variable with -o and -o": layout(
        [simple("pytest.ini", "top")], ["-o", "jux_project=line"], addopts="-o jux_project=v -o jux_storage_mode=api"
    ),
    "the variable with a path": layout(
        [simple("pytest.ini", "top"), simple("other/pytest.ini", "o"), *TESTS], addopts="other"
    ),
    "the variable with --rootdir": layout(
        [("other/.jux.conf", "[jux]\nproject = o\n"), *TESTS], start="tests", addopts="--rootdir=../other"
    ),
    "the variable and addopts": layout([("pytest.ini", ADDOPTS)], addopts="--jux-project=v --jux-metadata-env V"),
    "the variable, addopts and the command line": layout(
        [("pytest.ini", ADDOPTS)], ["--jux-project=line"], addopts="--jux-project=v"
    ),
    "the variable that cannot be split": layout([simple("pytest.ini", "top")], addopts="--jux-project 'a"),
    "the variable and -o addopts": layout([("pytest.ini", ADDOPTS)], addopts="-o addopts=--jux-project=v"),
    "arguments in a file": layout([("words", "-o\njux_project=a b\n--jux-storage-mode=both\n")], ["@words"]),
    "arguments in files": layout([("words", "@more\n"), ("more", "--no-jux-sign\n")], addopts="@words"),
    ".jux.conf beside it": layout([simple("pytest.ini", "top"), (".jux.conf", "[jux]\nproject = mine\n")]),
    "our user's file": layout(
        [simple("pytest.ini", "top"), ("home/.jux/config", "[jux]\nproject = user\nsign = no\n")]
    ),
}


def answers(python: Path | str, base: Path) -> dict[str, tuple[dict, dict]]:
    """Write every layout and let that Python ask both sides about it."""
    wanted = []
    for number, case in enumerate(LAYOUTS.values()):
        root = base / f"layout{number}"
        (root / "home").mkdir(parents=True)
        (root / case["start"]).mkdir(parents=True, exist_ok=True)
        for name, text in case["files"].items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(text.encode())
        wanted.append(case | {"root": str(root)})
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "TMPDIR"} or "COVERAGE" in name}
    kept["HOME"] = str(base)
    done = subprocess.run(
        [str(python), "-c", DRIVER], input=json.dumps(wanted), env=kept, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(LAYOUTS, json.loads(done.stdout), strict=True))


def assert_agreement(asked: dict[str, tuple[dict, dict]]) -> None:
    differing = {}
    for name, (alone, within) in asked.items():
        if "errors" in alone or "errors" in within:
            if ("errors" in alone) != ("errors" in within):
                differing[name] = (alone, within)
        elif any(alone[key] != within[key] for key in alone):
            differing[name] = {key: (alone[key], within[key]) for key in alone if alone[key] != within[key]}
    assert not differing, json.dumps(differing, indent=1)


@needs_fork
def test_a_command_says_what_pytest_says_in_every_layout(tmp_path):
    asked = answers(sys.executable, tmp_path)
    assert_agreement(asked)
    assert len(asked) > 90
    assert sum("errors" in alone for alone, _ in asked.values()) < 20


@needs_fork
@pytest.mark.parametrize("name", ["3.11-8.0", "3.12-8.4", "3.13-9"])
@pytest.mark.matrix
def test_a_command_says_what_other_pytests_say(name, tmp_path, tmp_path_factory):
    wheel = made_once(tmp_path_factory, "wheel", build_wheel)
    (environment,) = (environment for environment in ENVIRONMENTS if environment.name == name)
    with environment.in_use(wheel):
        assert_agreement(answers(environment.program("python"), tmp_path))

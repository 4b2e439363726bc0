"""Other Pythons with other pytests, each in a virtual environment that is made once and kept.

An environment holds exactly what a hashed requirements file says, and pytest-jux from a wheel of this checkout. Nothing
here knows where packages come from; that is the machine's configuration.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interop.oracles import unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "interop"
PYTHONS = ("3.11", "3.12", "3.13")
PYTESTS = ("8.0", "8.4", "9")
_UV = (sys.executable, "-m", "uv")
# The system's certificates, as pip uses them: a company's proxy may have its own.
_UV_SETTINGS = {
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_NO_PROGRESS": "1",
    "UV_NO_CONFIG": "1",
    "UV_SYSTEM_CERTS": "1",
}


@dataclass(frozen=True, slots=True)
class Environment:
    """One combination of a Python and a pytest, named by their versions."""

    python: str
    pytest: str

    @property
    def name(self) -> str:
        """Such as `3.11-8.0`."""
        return f"{self.python}-{self.pytest}"

    @property
    def path(self) -> Path:
        """Where the virtual environment is."""
        return CACHE / self.name

    @property
    def requirements(self) -> Path:
        """The hashed requirements file."""
        return ROOT / "requirements" / "interop" / f"pytest-{self.pytest}.txt"

    def program(self, name: str) -> Path:
        """The path of a program in the environment."""
        return self.path / "bin" / name

    @contextlib.contextmanager
    def in_use(self, wheel: Path) -> Iterator[Environment]:
        """Make the environment, if need be, with pytest-jux from `wheel`; nobody changes it as long as this lasts."""
        CACHE.mkdir(parents=True, exist_ok=True)
        wanted = self._state(wheel)
        with (CACHE / f"{self.name}.lock").open("a") as lock:
            while True:
                fcntl.flock(lock, fcntl.LOCK_SH)
                if self._state_found() == wanted:
                    break
                fcntl.flock(lock, fcntl.LOCK_UN)
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._make(wanted, wheel)  # and look again: another process may want another wheel
                fcntl.flock(lock, fcntl.LOCK_UN)
            yield self

    @property
    def _marker(self) -> Path:
        return self.path / "jux-interop.json"

    def _state(self, wheel: Path) -> dict[str, str]:
        return {
            "interpreter": str(find_python(self.python)),
            "requirements": _sha256(self.requirements),
            "wheel": _sha256(wheel),
        }

    def _state_found(self) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads(self._marker.read_text())
        except (OSError, ValueError):
            return {}
        return found if _version_of(self.program("python")) == self.python else {}

    def _make(self, wanted: dict[str, str], wheel: Path) -> None:
        found = self._state_found()
        if found == wanted:
            return
        self._marker.unlink(missing_ok=True)
        if {**found, "wheel": ""} != {**wanted, "wheel": ""}:
            shutil.rmtree(self.path, ignore_errors=True)
            _uv("venv", "--quiet", "--no-project", "--python", wanted["interpreter"], str(self.path))
            self._install("--require-hashes", "--only-binary", ":all:", "--requirement", str(self.requirements))
        self._install("--no-deps", "--no-index", "--reinstall", str(wheel))
        self._marker.write_text(json.dumps(wanted))

    def _install(self, *arguments: str) -> None:
        _uv("pip", "install", "--quiet", "--python", str(self.program("python")), *arguments)


@contextlib.contextmanager
def published_client() -> Iterator[Path]:
    """Give the programs of the published tool of the same name, unchanged, in an environment of its own."""
    requirements = ROOT / "requirements" / "interop" / "published-client.txt"
    path = CACHE / "published-client"
    marker = path / "jux-interop.txt"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "published-client.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = _sha256(requirements)
        if not marker.is_file() or marker.read_text() != wanted:
            shutil.rmtree(path, ignore_errors=True)
            _uv("venv", "--quiet", "--no-project", "--python", sys.executable, str(path))
            install = ("--quiet", "--python", str(path / "bin" / "python"), "--require-hashes")
            _uv("pip", "install", *install, "--requirement", str(requirements))
            marker.write_text(wanted)
    yield path / "bin"


ENVIRONMENTS = tuple(Environment(python, version) for python in PYTHONS for version in PYTESTS)


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout into `folder`."""
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    (wheel,) = folder.glob("*.whl")
    return wheel


def find_python(version: str) -> Path:
    """Return a Python such as `3.12` that really runs; where there is none, see `oracles.unavailable`."""
    found = _find_python(version)
    if found is None:
        unavailable(f"Python {version} is not installed")
    return found


@functools.cache
def _find_python(version: str) -> Path | None:
    for candidate in _candidates(version):
        if _version_of(candidate) == version:
            return candidate
    return None


def _candidates(version: str) -> Iterator[Path]:
    """Yield what may be an interpreter, the cheapest to find first; a pyenv shim may not run, so none is sure."""
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)
    done = subprocess.run(
        [*_UV, "python", "find", version], env=os.environ | _UV_SETTINGS, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        yield Path(done.stdout.strip())
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from sorted(pyenv.glob(f"{version}.*/bin/python"), key=_numbers, reverse=True)
    yield from (Path(folder) / f"python{version}" for folder in ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"))


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parts[-3])]


def _version_of(python: Path) -> str:
    """Return the version of an interpreter, such as `3.12`, or "" if it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _uv(*arguments: str) -> None:
    _run(*_UV, *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | _UV_SETTINGS, capture_output=True, text=True, errors="replace", check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

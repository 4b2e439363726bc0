"""Two fresh environments that differ in nothing but pytest-jux, for what it costs while it is switched off."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_REQUIREMENTS = ROOT / "requirements" / "interop" / "pytest-9.txt"
# Other plugins would add their own cost to both sides, and so make ours look smaller.
_OTHER_PLUGINS = ("pytest-xdist", "pytest-rerunfailures", "execnet")


class CouldNotMeasure(Exception):
    """Something that a measurement needs is missing; the message says what."""


@dataclass(frozen=True)
class Environments:
    """The directories of the programs of both, and the variables to run them with."""

    without: Path
    installed: Path
    variables: dict[str, str]


def make(directory: Path) -> Environments:
    """Make both under `directory`, every module compiled; raises CouldNotMeasure."""
    (wheel,) = _build_wheel(directory / "wheel")
    without, installed = _new(directory / "without"), _new(directory / "with")
    _uv("pip", "install", "--python", installed / "python", "--no-deps", "--compile-bytecode", wheel)
    home = directory / "home"
    home.mkdir()
    return Environments(without, installed, variables(home))


def variables(home: Path) -> dict[str, str]:
    """Return a plain environment, in which no setting of the developer's changes what is measured."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C.UTF-8"}


def _build_wheel(directory: Path) -> list[Path]:
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory)
    return list(directory.glob("*.whl"))


def _new(directory: Path) -> Path:
    _uv("venv", "--python", sys.executable, directory)
    programs = directory / ("Scripts" if sys.platform == "win32" else "bin")
    python = ("--python", programs / "python")
    _uv("pip", "install", *python, "--require-hashes", "--compile-bytecode", "--requirements", _REQUIREMENTS)
    _uv("pip", "uninstall", *python, *_OTHER_PLUGINS)
    return programs


def _uv(*arguments: str | Path) -> None:
    _run(Path(sysconfig.get_path("scripts")) / "uv", *arguments, "--quiet")


def _run(*command: str | Path) -> None:
    try:
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CouldNotMeasure(f"there is no {error.filename}") from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip() or error.stdout.strip() or "no message").splitlines()[-1]
        words = " ".join(str(word) for word in (Path(command[0]).name, *command[1:3]))
        raise CouldNotMeasure(f"`{words}` failed: {reason}") from None

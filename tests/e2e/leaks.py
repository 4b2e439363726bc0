"""Secrets that are made to be looked for, and projects that hold them in the places they can be read from."""

from __future__ import annotations

import base64
import io
import os
import random
import string
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LETTERS = string.ascii_lowercase + string.digits
_LENGTH = 14  # characters of a fragment: none of them turns up by chance
_AROUND = 60  # bytes shown on each side of a secret that was found
_DROPPED = b" \t\r\n\0%"
GUARD = 120  # seconds; only so that a hang ends

SCRIPTS = Path(sys.executable).parent


class Artefact(NamedTuple):
    """Something that was put out: a stream of a program, or a file that it wrote."""

    name: str
    data: bytes


class Secrets:
    """Makes secrets and finds them again.

    Every secret is made of random fragments with odd characters between them. A fragment that is found gives the secret
    away, so it does not matter how the odd characters were escaped, nor whether all of the secret is there.
    """

    def __init__(self) -> None:
        self._forms: dict[bytes, str] = {}
        self._exact_forms: dict[bytes, str] = {}

    def make(self, name: str, pattern: str = "{}") -> str:
        """Return a new secret; each `{}` in the pattern becomes a random fragment."""
        fragments = ["".join(random.choices(_LETTERS, k=_LENGTH)) for _ in range(pattern.count("{}"))]  # noqa: S311 - nobody guesses them
        for fragment in fragments:
            self.know(name, fragment)
        return pattern.format(*fragments)

    def know(self, name: str, text: str | bytes) -> None:
        """Look for a text or for bytes, too, that are secret as they are."""
        data = text.encode() if isinstance(text, str) else text
        forms, form = (self._forms, data.lower()) if isinstance(text, str) else (self._exact_forms, data)
        forms[_without_blanks(form)] = name
        self._forms[data.hex().encode()] = name
        for before in range(3):  # base64 differs with the place in what was encoded
            encoded = base64.b64encode(b"\0" * before + data)
            begin, end = -(-before * 8 // 6), (before + len(data)) * 8 // 6
            self._exact_forms[encoded[begin:end]] = name
            self._exact_forms[base64.urlsafe_b64encode(b"\0" * before + data)[begin:end]] = name

    def found_in(self, data: bytes) -> dict[str, int]:
        """Return the names of the secrets that are in `data`, in whatever form, and how often."""
        found: dict[str, int] = {}
        for readable in _readable(data):
            lowered = readable.lower()
            for text, forms in ((lowered, self._forms), (readable, self._exact_forms)):
                for form, name in forms.items():
                    if number := text.count(form):
                        found[name] = found.get(name, 0) + number
        return found

    def excerpt(self, data: bytes, name: str) -> str:
        """Return what stands around the first fragment of a secret."""
        for readable in _readable(data):
            for text, forms in ((readable.lower(), self._forms), (readable, self._exact_forms)):
                places = [text.find(form) for form, owner in forms.items() if owner == name and form in text]
                if places:
                    return repr(readable[max(min(places) - _AROUND, 0) : min(places) + _AROUND])
        return ""


def _readable(data: bytes) -> Iterator[bytes]:
    """Give the data without blanks, line ends, zero bytes (UTF-16 has them) and `%`, and what is packed in it."""
    yield _without_blanks(data)
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from _readable(name.encode())
                yield from _readable(archive.read(name))
    if data.startswith(b"\x1f\x8b"):
        yield from _readable(zlib.decompress(data, zlib.MAX_WBITS | 16))


def _without_blanks(data: bytes) -> bytes:
    return data.translate(None, _DROPPED)


@dataclass
class Finished:
    """A program that has ended, and what it put out."""

    command: str
    code: int
    stdout: Artefact
    stderr: Artefact


class Project:
    """A directory with a home of its own, in which programs are run that see nothing of this machine's settings."""

    def __init__(self, directory: Path, secrets: Secrets) -> None:
        self.directory = directory / "project"
        self.home = directory / "home"
        self.temporary = directory / "tmp"
        for each in (self.directory, self.home, self.temporary):
            each.mkdir(mode=0o700)
        self.secrets = secrets
        self.planted: set[Path] = set()
        self.arguments: list[str] = []  # of pytest, on its command line
        self.said = b""  # by all programs that were run
        self.environ = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        self.environ |= {"HOME": str(self.home), "TMPDIR": str(self.temporary)}

    def write(self, path: Path | str, text: str | bytes) -> Path:
        """Write a file that only its owner can read; one that holds a secret is not searched later."""
        path = self.directory / path
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode() if isinstance(text, str) else text
        path.write_bytes(data)
        path.chmod(0o600)
        if self.secrets.found_in(data):
            self.planted.add(path)
        return path

    def run(self, *command: str, stdin: bytes = b"", **environ: str) -> Finished:
        """Run a program of this Python's environment in the project."""
        done = subprocess.run(
            [str(SCRIPTS / command[0]), *command[1:]],
            cwd=self.directory,
            env=self.environ | environ,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=GUARD,
        )
        self.said += done.stdout + done.stderr
        line = " ".join([*environ, *command])
        return Finished(line, done.returncode, Artefact("stdout", done.stdout), Artefact("stderr", done.stderr))

    def written(self) -> Iterator[Artefact]:
        """Give every file there is, apart from those that the secrets were put into."""
        for root in (self.directory, self.home, self.temporary):
            for path in root.rglob("*"):
                if path.is_file() and path not in self.planted:
                    yield Artefact(f"{path.relative_to(root.parent)}", path.read_bytes())

    def leaks(self, artefacts: Iterable[Artefact], label: str = "") -> list[str]:
        """Describe each secret that is in an artefact."""
        return [
            f"{label} {artefact.name}: {secret}: {self.secrets.excerpt(artefact.data, secret)}"
            for artefact in artefacts
            for secret in self.secrets.found_in(artefact.data)
        ]

    def leaks_of(self, *command: str, stdin: bytes = b"", **environ: str) -> list[str]:
        """Run a program so that it shows tracebacks, and if it did, without; describe each secret in its output."""
        leaks = []
        for debugging in ({"JUX_DEBUG": "1", "PYTHONDEVMODE": "1"}, {}):
            done = self.run(*command, stdin=stdin, **environ, **debugging)
            leaks += self.leaks((done.stdout, done.stderr), done.command)
            if b"Traceback" not in done.stderr.data:
                break
        return leaks

    def leaks_of_pytest(self, *arguments: str, **environ: str) -> list[str]:
        """Run pytest and describe each secret in its output or in a file.

        pytest itself shows words of its command line, addopts and PYTEST_ADDOPTS (in the log of --debug) and lines of
        its own file that it cannot read. So what it shows in the same run without the plugin is not the plugin's doing.
        """
        command = ("pytest", *self.arguments, *arguments)
        done = self.run(*command, **environ)
        artefacts = [done.stdout, done.stderr, *self.written()]
        hits = {artefact.name: self.secrets.found_in(artefact.data) for artefact in artefacts}
        own = {name: hits.get(name, {}) for name in ("stdout", "stderr", "project/pytestdebug.log")}
        if any(own.values()):
            alone = self.run(*command, "-p", "no:jux", "--junit-xml=report-without.xml", **environ)
            log = self.directory / "pytestdebug.log"
            shown = {"stdout": alone.stdout.data, "stderr": alone.stderr.data}
            shown["project/pytestdebug.log"] = log.read_bytes() if log.exists() else b""
            for name, secrets in own.items():
                without = self.secrets.found_in(shown[name])
                hits[name] = {secret: n for secret, n in secrets.items() if n > without.get(secret, 0)}
        return [
            f"{done.command} {artefact.name}: {secret}: {self.secrets.excerpt(artefact.data, secret)}"
            for artefact in artefacts
            for secret in hits[artefact.name]
        ]

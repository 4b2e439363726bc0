"""The main job on real input: sign, store, inspect and verify the report of a test suite that is not ours.

Exits with 0 only if everything that it shows held.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "demo-output"
SUITE = OUTPUT / "suite"
STORE = OUTPUT / "store"
KEY = OUTPUT / "keys" / "signing_key.pem"
CERTIFICATE = KEY.with_suffix(".crt")
REPORT = OUTPUT / "report.xml"
TAMPERED = OUTPUT / "tampered.xml"
DATABASE = OUTPUT / "jux-server.db"

BREAK_ONE_FUNCTION = '''\
"""toolz is sound, so one function is broken on purpose here: a demonstration needs a failure to hide."""

import toolz.itertoolz

_count = toolz.itertoolz.count
toolz.itertoolz.count = lambda seq: _count(seq) + 1
'''

failures: list[str] = []


def heading(text: str) -> None:
    """Print what comes next."""
    print(f"\n== {text}", flush=True)


def run(*command: str | Path, expect: int) -> None:
    """Show a command and run it; a wrong exit code is a failure of the demonstration."""
    shown = show(*command)
    code = subprocess.run(shown, check=False, cwd=ROOT, env=environment()).returncode
    if code != expect:
        failures.append(f"{shown[0]} exited with {code} instead of {expect}")


def show(*command: str | Path) -> list[str]:
    """Print a command as it is run, and return its words."""
    shown = [os.path.relpath(word, ROOT) if isinstance(word, Path) else word for word in command]
    print("$", " ".join(shown), flush=True)
    return shown


def environment() -> dict[str, str]:
    """Neither the developer's own configuration nor a proxy or colour setting may change what is shown."""
    ours = ("JUX_", "PYTEST_", "XDG_")
    environ = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
    environ["HOME"] = str(OUTPUT / "home")
    environ["NO_PROXY"] = "127.0.0.1"
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", "")])
    return environ


@contextmanager
def server() -> Iterator[str]:
    """Start the Jux API server on a free port, give its address, and stop it at the end."""
    words = show("jux-server", "serve", "--port", "0", "--database", DATABASE)
    with (OUTPUT / "server.log").open("w") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=log, text=True)
    output = process.stdout
    line = output.readline() if output else ""
    print(line, end="", flush=True)
    found = re.search(r"http://[\w.:\[\]]+", line)
    try:
        check("The server listens", holds=found is not None)
        yield found[0] if found else "http://127.0.0.1:1"
    finally:
        process.send_signal(signal.SIGINT)
        check("The server stopped as it should", holds=process.wait(60) == 0)
        if output:
            output.close()


def ask(url: str, name: str) -> list[dict[str, Any]]:
    """Show a question to the server, and return the list of that name in its answer."""
    print("$ curl", url, flush=True)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)[name]
    return found


def check(what: str, *, holds: bool) -> None:
    """Print a statement, and whether it holds."""
    print(f"{what}: {'yes' if holds else 'NO'}", flush=True)
    if not holds:
        failures.append(what)


def prepare() -> None:
    """Make an empty directory with the foreign test suite in it."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    (OUTPUT / "home").mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--target", str(SUITE), "--requirement", str(ROOT / "requirements" / "demo.txt")]
    subprocess.run(command, check=True)
    (SUITE / "conftest.py").write_text(BREAK_ONE_FUNCTION)
    (SUITE / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider --tb=short\n")


def main() -> int:
    """Run the demonstration and return its exit status."""
    heading("A real test suite: the tests of toolz, which come with it (one function is broken on purpose)")
    prepare()
    print(f"{len(list(SUITE.glob('toolz/tests/test_*.py')))} test modules in {SUITE.relative_to(ROOT)}")

    heading("1. Make a key and its certificate")
    run("jux-keygen", "--type", "rsa", "--cert", "--subject", "demo", "--output", KEY, expect=0)

    heading("2. Run the suite: pytest's own report is signed and stored when the run ends")
    sign = ["--jux-sign", f"--jux-key={KEY}", f"--jux-cert={CERTIFICATE}", f"--jux-storage-path={STORE}"]
    sign = [word.replace(f"{ROOT}{os.sep}", "") for word in sign]
    run("pytest", "-q", SUITE, f"--junit-xml={REPORT.relative_to(ROOT)}", *sign, expect=1)
    stored = sorted((STORE / "reports").glob("sha256-*.xml"))
    check("One report is in the store", holds=len(stored) == 1)
    check(
        "The stored file and the report are the same bytes",
        holds=bool(stored) and REPORT.is_file() and stored[0].read_bytes() == REPORT.read_bytes(),
    )
    if failures:
        return finish()
    print(f"Stored as {stored[0].relative_to(ROOT)}")

    heading("3. Inspect it")
    run("jux-inspect", "--cert", CERTIFICATE, REPORT, expect=0)

    heading("4. Verify it")
    run("jux-verify", "--cert", CERTIFICATE, REPORT, expect=0)

    heading("5. Take one failure out of a copy, and verify that")
    data = REPORT.read_bytes()
    tampered, removed = re.subn(rb"<failure .*?</failure>", b"", data, count=1, flags=re.DOTALL)
    TAMPERED.write_bytes(tampered)
    check("There was a failure to remove", holds=removed == 1)
    run("jux-verify", "--cert", CERTIFICATE, TAMPERED, expect=1)

    heading("6. Ask xmlsec1, which is not ours")
    if shutil.which("xmlsec1"):
        xmlsec1: list[str | Path] = ["xmlsec1", "--verify", "--enabled-key-data", "x509", "--trusted-pem", CERTIFICATE]
        run(*xmlsec1, REPORT, expect=0)
        run(*xmlsec1, TAMPERED, expect=1)
    else:
        print("xmlsec1 is not installed here, so this was left out (Debian: apt-get install xmlsec1)")

    heading("7. Look into the store, and check every file in it")
    run("jux-cache", "list", "--storage-path", STORE, expect=0)
    run("jux-cache", "verify", "--storage-path", STORE, "--cert", CERTIFICATE, expect=0)
    original = stored[0].read_bytes()
    stored[0].write_bytes(original.replace(b"</failure>", b"!</failure>", 1))
    print("(one character of the stored file is changed)")
    run("jux-cache", "verify", "--storage-path", STORE, expect=1)
    stored[0].write_bytes(original)
    serve()
    return finish()


def serve() -> None:
    """Publish the report to a server, and ask for it."""
    heading("8. Start a server, and tell it whose signatures to trust")
    with server() as url:
        run("jux-server", "signer", "add", CERTIFICATE, "--database", DATABASE, expect=0)

        heading("9. Publish the report")
        api = ("--api-url", f"{url}/api/v1/reports")
        run("jux-publish", REPORT, *api, expect=0)
        print("(the same again: the server has it, which is exit code 2)")
        run("jux-publish", REPORT, *api, expect=2)
        print("(jux-publish itself does not send a report whose signature is broken)")
        run("jux-publish", TAMPERED, *api, expect=1)

        heading("10. Ask the server")
        reports = ask(f"{url}/api/v1/reports?state=trusted", "reports")
        check("The server has one report", holds=len(reports) == 1)
        if reports:
            names = ("project", "status", "tests", "failures", "signature_state", "signer", "canonical_hash")
            print("\n".join(f"  {name}: {reports[0][name]}" for name in names))
            failed = ask(f"{url}/api/v1/reports/{reports[0]['id']}/cases?status=failed", "cases")
            print("\n".join(f"  {case['classname']}.{case['name']}: {case['message']}" for case in failed))
            check("It knows which test failed", holds=len(failed) == reports[0]["failures"] > 0)


def finish() -> int:
    """Say whether everything held."""
    if failures:
        print("\nThe demonstration failed:", *failures, sep="\n  - ")
        return 1
    print("\nEverything held: the report is signed, stored, verified and published, and the changed copy is found out.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

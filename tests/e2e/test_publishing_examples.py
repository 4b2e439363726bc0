"""The examples of the requirements that publish, as they stand there, against a server at the address that they name.

`https://jux.example.com` is reached through a proxy that knows where it is; its certificate is by an authority that is
trusted as one trusts a private one on a whole machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from publishing.authorities import authority_file, server_side
from publishing.hostile import RecordingServer, answers, stores
from publishing.proxies import ForwardProxy

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.signer import sign_report
from pytest_jux.verifier import Trust, verify_report

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the examples are for a POSIX shell")

URL = "https://jux.example.com/api/v1/reports"
FIRST = "def test_a(): pass\ndef test_b(): assert not 'this'\ndef test_c(): assert not 'that'\n"
SECOND = "def test_a(): pass\ndef test_b(): assert not 'this'\n"
STORED = r"✓ Stored locally: ~/\.local/share/jux/reports/sha256-[0-9a-f]{64}\.xml"
PUBLISHED = r"✓ Published to API: https://jux\.example\.com/reports/report-\d+"

PYTEST_CONFIGURATION = """\
[pytest]
jux_publish = true
jux_api_url = https://jux.example.com/api/v1/reports
jux_api_key = secret-api-key-here
jux_key_path = ~/.jux/signing_key.pem
jux_cert_path = ~/.jux/signing_key.crt
"""
USER_CONFIGURATION = """\
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
# Of the example's two ways the second: a file cannot have both.
PROJECT_CONFIGURATION = """\
[pytest]
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


class Machine:
    """Somebody's machine: a home with a key, a project with tests, and a shell."""

    def __init__(self, directory, server, proxy, signer):
        self.server, self.proxy, self.signer = server, proxy, signer
        self.home, self.project = directory / "home", directory / "project"
        for each in (self.home / ".jux", self.project):
            each.mkdir(parents=True)
        (self.home / ".jux" / "signing_key.pem").write_bytes(signer.key_path.read_bytes())
        (self.home / ".jux" / "signing_key.pem").chmod(0o600)
        (self.home / ".jux" / "signing_key.crt").write_bytes(signer.cert_path.read_bytes())
        self.test(FIRST)
        self.environ = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        self.environ |= {"HOME": str(self.home), "LANG": "C.UTF-8", "HTTPS_PROXY": proxy.address}
        self.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environ["SSL_CERT_FILE"] = str(authority_file(directory))

    def test(self, text):
        (self.project / "test_it.py").write_text(text)

    def shell(self, lines, code=0, **environ):
        """Type these lines; return what is shown."""
        done = subprocess.run(
            ["bash", "-c", lines],
            cwd=self.project,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def has_signed(self, name):
        """Return the bytes of a report of the project, whose signature is right."""
        data = (self.project / name).read_bytes()
        assert verify_report(data, Trust([self.signer.certificate])).trusted_by
        return data

    @property
    def keys(self):
        """The keys that the server was shown, each once."""
        return {request.header("x-api-key") for request in self.server.requests}

    def write_signed(self, name="signed-report.xml", suite="by hand"):
        """Put a signed report into the project."""
        text = f'<testsuite name="{suite}"><testcase classname="a" name="b"/></testsuite>'
        data = sign_report(text.encode(), self.signer.key, self.signer.certificate)
        (self.project / name).write_bytes(data)
        return data


@pytest.fixture
def machine(tmp_path, p256):
    with (
        RecordingServer(tls=server_side("jux.example.com"), name="jux.example.com") as server,
        ForwardProxy({"jux.example.com": server}) as proxy,
    ):
        yield Machine(tmp_path, server, proxy, p256)
        assert {request.path for request in proxy.requests} <= {"jux.example.com:443"}
        assert b"X-API-Key" not in proxy.received
        assert all(request.is_tls for request in server.requests)


def shows(output, *patterns):
    """Assert that lines like these are shown, in this order."""
    lines = iter(output.splitlines())
    for pattern in patterns:
        assert any(re.fullmatch(pattern, line) for line in lines), f"{pattern}\n{output}"


# --- publishing by the plugin ----------------------------------------------------------------------------------------


def test_the_configuration_and_the_command_of_the_automatic_publishing(machine):
    (machine.project / "pytest.ini").write_text(PYTEST_CONFIGURATION)
    output = machine.shell(
        r"""pytest --junit-xml=report.xml \
       --jux-sign \
       --jux-publish \
       --jux-api-url=https://jux.example.com/api/v1/reports \
       --jux-api-key=secret-api-key
""",
        code=1,
    )
    shows(output, r".* store and publish to https://jux\.example\.com/api/v1/reports")
    shows(output, r"✓ Report signed: report\.xml", STORED, PUBLISHED)
    assert [report.data for report in machine.server.reports.values()] == [machine.has_signed("report.xml")]
    assert machine.keys == {"secret-api-key"}
    assert "secret-api-key" not in output


def test_the_configuration_of_the_automatic_publishing_alone_leaves_the_plugin_off(machine):
    (machine.project / "pytest.ini").write_text(PYTEST_CONFIGURATION)
    assert "jux --" not in machine.shell("pytest --junit-xml=report.xml", code=1)
    assert not machine.server.connections


def test_the_example_of_a_user_s_file(machine):
    (machine.home / ".jux" / "config").write_text(USER_CONFIGURATION)
    (machine.home / ".jux" / "config").chmod(0o600)
    output = machine.shell("pytest --junit-xml=report.xml", code=1)
    shows(output, r"-+ jux -+", r"✓ Report signed: report\.xml", STORED, PUBLISHED)
    assert machine.keys == {"secret-api-key-here"}
    assert "⚠" not in output
    assert "secret-api-key" not in output


def test_the_example_of_a_project_s_file(machine):
    (machine.project / "pytest.ini").write_text(PROJECT_CONFIGURATION)
    output = machine.shell("pytest --junit-xml=report.xml", code=1, JUX_API_KEY="secret-api-key")
    shows(output, r"-+ jux -+", r"✓ Report signed: report\.xml", STORED, PUBLISHED)
    assert machine.keys == {"secret-api-key"}


@pytest.mark.parametrize(
    ("mode", "stored", "after"), [("api", False, 0), ("both", True, 1), ("cache", True, 1), ("local", True, 1)]
)
def test_the_storage_modes_of_a_file(machine, mode, stored, after):
    lines = ["[jux]", "enabled = true", "sign = true", "publish = true", f"storage_mode = {mode}"]
    (machine.project / ".jux.conf").write_text("\n".join(lines))
    variables = {"JUX_KEY_PATH": "~/.jux/signing_key.pem", "JUX_API_URL": URL, "JUX_API_KEY": "secret-api-key"}
    output = machine.shell("pytest", code=1, **variables)
    assert ("✓ Stored locally: " in output) == stored
    assert ("✓ Published to API: " in output) == (mode != "local")
    assert len([*(machine.home / ".local/share/jux/reports").glob("*.xml")]) == after
    assert len(machine.server.reports) == (mode != "local")


def test_sign_store_and_publish_on_the_command_line(machine):
    output = machine.shell(
        r"""pytest --jux-enabled --jux-sign --jux-publish \
       --jux-api-url=https://jux.example.com/api/v1/reports \
       --jux-storage-mode=both
""",
        code=1,
        JUX_KEY_PATH="~/.jux/signing_key.pem",
        JUX_API_KEY="secret-api-key",
    )
    shows(output, "✓ Report signed", STORED, PUBLISHED)
    assert machine.keys == {"secret-api-key"}


def test_cache_on_the_command_line_with_and_without_the_server(machine):
    command = """pytest --jux-enabled --jux-sign --jux-publish \\
       --jux-storage-mode=cache
# If API unavailable, reports are queued locally for later publishing
"""
    variables = {"JUX_KEY_PATH": "~/.jux/signing_key.pem", "JUX_API_URL": URL, "JUX_API_KEY": "secret-api-key"}
    shows(machine.shell(command, code=1, **variables), "✓ Report signed", STORED, PUBLISHED)
    machine.server.behave(answers(503))
    output = machine.shell(command, code=1, **variables, JUX_API_RETRIES="0")
    shows(output, "✓ Report signed", STORED, "⚠ API unavailable, queued for retry.*")
    machine.server.behave(stores)
    output = machine.shell(command, code=1, **variables)
    shows(output, "✓ Report signed", STORED, PUBLISHED, "⚠ 1 report of earlier runs still queued .*")  # not due yet


# --- publishing by hand ----------------------------------------------------------------------------------------------


def test_publishing_a_signed_report(machine):
    data = machine.write_signed()
    output = machine.shell(
        r"""# Publish a signed report
jux-publish --input signed-report.xml \
  --api-url https://jux.example.com/api/v1/reports \
  --api-key secret-api-key
"""
    )
    assert output == "✓ Published successfully (report-1)\n"
    assert machine.server.reports[canonical_hash(data)].data == data
    assert machine.keys == {"secret-api-key"}


def test_publishing_with_json(machine):
    data = machine.write_signed()
    variables = {"JUX_API_URL": URL, "JUX_API_KEY": "secret-api-key"}
    output = machine.shell("jux-publish --input signed-report.xml --json", **variables)
    said = json.loads(output)
    expected = {"status": "published", "id": "report-1", "canonical_hash": canonical_hash(data)}
    assert {name: said[name] for name in expected} == expected
    said = json.loads(machine.shell("jux-publish --input signed-report.xml --json", code=2, **variables))
    assert said["status"] == "duplicate"


def test_publishing_from_standard_input(machine):
    data = machine.write_signed()
    line = "cat signed-report.xml | jux-publish --api-url https://jux.example.com/api/v1/reports"
    assert "Published successfully (report-1)" in machine.shell(line)
    assert machine.server.reports[canonical_hash(data)].data == data


def test_the_manual_workflow(machine, real_report):
    for path in (machine.home / ".jux").iterdir():
        path.unlink()
    (machine.project / "report.xml").write_bytes(real_report)
    output = machine.shell(
        r"""
set -e
# 1. Generate key
jux-keygen --type rsa --bits 2048 --cert --output ~/.jux/signing_key.pem

# 2. Sign report manually
jux-sign --input report.xml --output signed-report.xml \
  --key ~/.jux/signing_key.pem --cert ~/.jux/signing_key.crt

# 3. Inspect signed report
jux-inspect signed-report.xml

# 4. Verify signature
jux-verify --input signed-report.xml --cert ~/.jux/signing_key.crt

# 5. Publish manually
jux-publish --input signed-report.xml \
  --api-url https://jux.example.com/api/v1/reports \
  --api-key secret-api-key
"""
    )
    shows(output, ".*Canonical Hash: sha256:[0-9a-f]{64}.*", "✓ Signature valid.*", r"✓ Published successfully \(.*\)")
    (sent,) = machine.server.reports.values()
    assert sent.data == (machine.project / "signed-report.xml").read_bytes()
    assert sent.canonical_hash == canonical_hash(real_report)


# --- the cache -------------------------------------------------------------------------------------------------------

EXAMPLE_2 = """cat > pytest.ini << EOF
[pytest]
jux_enabled = true
jux_sign = true
jux_publish = true
jux_storage_mode = cache
jux_api_url = https://jux.example.com/api/v1/reports
jux_api_key_env = JUX_API_KEY
jux_key_path = ~/.jux/signing_key.pem
EOF
"""


def offline_by_network(machine):
    """Be where neither the server nor the proxy is."""
    return {"HTTPS_PROXY": "http://127.0.0.1:1"}


def offline_by_url(machine):
    """Simulate that with an invalid URL, as the example says."""
    return {"JUX_API_URL": "https://jux.invalid/api/v1/reports", "HTTPS_PROXY": ""}


@pytest.mark.parametrize("offline", [offline_by_network, offline_by_url])
def test_cache_mode_with_offline_fallback(machine, offline):
    key = {"JUX_API_KEY": "secret-api-key"}
    machine.shell(EXAMPLE_2)
    output = machine.shell("pytest --junit-xml=report.xml", code=1, **key)
    shows(output, r"-+ jux -+", r"✓ Report signed: report\.xml", STORED, PUBLISHED)
    machine.test(SECOND)
    output = machine.shell("pytest --junit-xml=report2.xml", code=1, JUX_API_RETRIES="0", **key, **offline(machine))
    shows(output, r"-+ jux -+", r"✓ Report signed: report2\.xml", STORED, "⚠ API unavailable, queued for retry: .*")
    first, second = (canonical_hash(machine.has_signed(name)) for name in ("report.xml", "report2.xml"))
    listed = machine.shell("jux-cache list")
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    lines = {  # the example has shorter hashes
        re.sub(r"^\s*(sha256:\w{6})\S*", r"\1", line) for line in listed.splitlines() if line.strip()
    }
    assert any(re.fullmatch(rf"{first[:13]} \| {time} \| 3 tests, 2 failed \| published", line) for line in lines), (
        listed
    )
    assert any(re.fullmatch(rf"{second[:13]} \| {time} \| 2 tests, 1 failed \| queued", line) for line in lines), listed
    output = machine.shell("jux-cache push", **key)
    shows(
        output,
        r"Publishing queued reports\.\.\.",
        rf"✓ {second[:13]}\S* published successfully.*",
        "Published 1 report, 0 failed",
    )
    assert list(machine.server.reports) == [first, second]
    assert "queued" not in machine.shell("jux-cache list")
    assert machine.keys == {"secret-api-key"}


def test_store_locally_and_publish(machine):
    output = machine.shell(
        """
# 1. Configure pytest to both store locally and publish
cat > ~/.jux/config << EOF
[jux]
enabled = true
sign = true
publish = true
storage_mode = both
api_url = https://jux.example.com/api/v1/reports
api_key = secret-api-key-here
key_path = ~/.jux/signing_key.pem
EOF

# 2. Run tests (stores locally AND publishes)
pytest --junit-xml=report.xml
""",
        code=1,
    )
    shows(output, r"✓ Report signed: report\.xml", STORED, PUBLISHED)
    assert machine.keys == {"secret-api-key-here"}
    identity = canonical_hash(machine.has_signed("report.xml"))
    shown = machine.shell(f"jux-cache show {identity[:13]}")
    assert identity in shown
    assert re.search("(?i)published", shown)
    assert "Removed 0 reports" in machine.shell("jux-cache clean --days 30")
    assert "secret-api-key" not in output + shown


def test_pushing_what_waits_counts_what_failed(machine):
    names = [f"report-{number}.xml" for number in range(4)]
    reports = [machine.write_signed(name, suite=name) for name in names]
    variables = {"JUX_API_URL": URL, "JUX_API_KEY": "secret-api-key"}
    machine.shell(f"jux-cache add --queue {' '.join(names)}", **variables)
    machine.server.behave(stores, answers(503), stores)
    output = machine.shell("jux-cache push", code=1, JUX_API_RETRIES="0", **variables)
    assert "Published 3 reports, 1 failed" in output.splitlines()
    assert len({canonical_hash(data) for data in reports} & {*machine.server.reports}) == 3

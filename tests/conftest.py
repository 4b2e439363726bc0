"""Keys, certificates and a real report, made once, for all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from pytest_jux.keys import certificate_pem, generate_private_key, private_key_pem, self_signed_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from pytest_jux.keys import PrivateKey

pytest_plugins = ["pytester"]

# `pytest --hypothesis-profile=long` looks longer than anybody wants to wait for.
settings.register_profile("long", max_examples=20_000, deadline=None)

_FOREIGN = (
    *("JUX_", "GIT_", "XDG_", "CI_", "GITHUB_", "GITLAB_", "RUNNER_", "JENKINS_", "CIRCLE", "SYSTEM_", "BUILD_"),
    *("BITBUCKET_", "TRAVIS", "BUILDKITE", "TEAMCITY_", "DRONE", "APPVEYOR", "CODEBUILD_"),
)
_EXACT = {
    *("CI", "JOB_NAME", "BRANCH_NAME", "TF_BUILD", "BUILDER_OUTPUT", "PROJECT_ID"),
    *("NO_COLOR", "FORCE_COLOR", "PYTEST_ADDOPTS"),
}


SUITE = """
import pytest

def test_passes(record_property):
    record_property("ticket", "42")
    print("captured output & <markup>")

def test_fails():
    assert 1 + 1 == 3

@pytest.mark.skip(reason="not today")
def test_skipped():
    pass
"""


@dataclass(frozen=True)
class Signer:
    """A key pair, as objects and as files."""

    key: PrivateKey = field(repr=False)
    certificate: x509.Certificate
    key_path: Path
    cert_path: Path


@pytest.fixture
def clean_environment(monkeypatch):
    """Hide what this machine, its user and its CI would tell the code under test."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name in _EXACT:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def make_signer(tmp_path_factory):
    """Return a function that makes a signer; `arguments` are those of `self_signed_certificate`."""

    def make(name, kind="ecdsa", *, passphrase=None, bits=2048, curve="P-256", **arguments):
        directory = tmp_path_factory.mktemp("signer")
        key = generate_private_key(kind, bits=bits, curve=curve)
        certificate = self_signed_certificate(key, name, **arguments)
        signer = Signer(key, certificate, directory / "key.pem", directory / "cert.crt")
        signer.key_path.write_bytes(private_key_pem(key, passphrase))
        signer.cert_path.write_bytes(certificate_pem(certificate))
        return signer

    return make


@pytest.fixture(scope="session")
def rsa(make_signer):
    return make_signer("rsa signer", "rsa")


@pytest.fixture(scope="session")
def p256(make_signer):
    return make_signer("p256 signer")


@pytest.fixture(scope="session")
def p384(make_signer):
    return make_signer("p384 signer", curve="P-384")


@pytest.fixture(scope="session")
def ed25519(make_signer):
    return make_signer("ed25519 signer", "ed25519")


@pytest.fixture(scope="session")
def real_report(tmp_path_factory) -> bytes:
    """Return what a real pytest wrote about three tests: passed, failed, skipped."""
    directory = tmp_path_factory.mktemp("real-report")
    (directory / "test_real.py").write_text(SUITE)
    (directory / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "--junit-xml=report.xml", "-p", "no:cacheprovider"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JUX_", "PYTEST_"))}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, check=False)
    assert done.returncode == 1, done.stdout
    return (directory / "report.xml").read_bytes()


@pytest.fixture(scope="session")
def without_root_rights():
    """Return the start of a command whose rest is then bound by file permissions, also where tests run as root."""
    if os.name != "posix":
        pytest.skip("file permissions of POSIX")
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root may write everywhere, and there is no setpriv")
    capabilities = "-dac_override,-dac_read_search"
    command = [setpriv, f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this root may not give up its rights")
    return command


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI everything is there that a test may need, so a test that is skipped there has failed."""
    report = yield
    if report.skipped and "CI" in os.environ and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report

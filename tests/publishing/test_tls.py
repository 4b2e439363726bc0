"""Trust: whose certificates are good enough to get a report and a key, and what the client shows of itself."""

from __future__ import annotations

import pytest
from publishing.authorities import authority, authority_file, client_files, self_signed, server_side
from publishing.hostile import RecordingServer, stores
from publishing.stages import CANARY, KEY

from pytest_jux.api_client import JuxAPIClient
from pytest_jux.errors import ClientMisconfigured
from pytest_jux.outcomes import Published, Unavailable

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.fixture
def publish(report_of_size):
    """Return a function that publishes a report once, without patience."""

    def go(server, url=None, **options):
        options = {"read_timeout": 5, "deadline": 10, "retries": 1, **options}
        with JuxAPIClient(url or server.url, KEY, **options) as client:
            return client.publish(report_of_size()[0])

    return go


def assert_nothing_secret(server):
    assert KEY.encode() not in server.received
    assert CANARY not in server.received
    assert not server.requests


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_systems_own_trust_counts(publish, tmp_path, monkeypatch, variable):
    """These are OpenSSL's own variables for the system's trust store."""
    path = authority_file(tmp_path)
    if variable == "SSL_CERT_DIR":
        import subprocess

        subprocess.run(["openssl", "rehash", tmp_path], check=True)
        monkeypatch.setenv(variable, str(tmp_path))
    else:
        monkeypatch.setenv(variable, str(path))
    with RecordingServer(tls=server_side()) as server:
        assert isinstance(publish(server), Published)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_other_programs_trust_does_not_count(publish, tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, str(authority_file(tmp_path)))
    with RecordingServer(tls=server_side()) as server:
        assert isinstance(publish(server), Unavailable)
        assert_nothing_secret(server)


def test_an_own_authority_is_not_all_that_is_trusted(publish, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path)))
    with RecordingServer(tls=server_side()) as server:
        assert isinstance(publish(server, ca=authority_file(tmp_path, "somebody else")), Published)


def test_an_own_authority_may_come_with_others_in_one_file(publish, tmp_path):
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(
        b"# ours\n" + authority("somebody else").cert_pem.bytes() + authority("our own").cert_pem.bytes()
    )
    with RecordingServer(tls=server_side()) as server:
        assert isinstance(publish(server, ca=bundle), Published)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_certificate_must_name_the_host_as_it_was_asked_for(publish, tmp_path, name):
    with RecordingServer(tls=server_side(name), name="localhost") as server:
        outcome = publish(server, ca=authority_file(tmp_path))
        assert isinstance(outcome, Published) == (name == "localhost"), outcome
        if name != "localhost":
            assert_nothing_secret(server)


def test_trust_is_asked_for_on_each_new_connection(publish, tmp_path, report_of_size):
    """A server that is exchanged for another between two reports gets nothing."""
    with RecordingServer(tls=server_side()) as server:
        with JuxAPIClient(server.url, KEY, ca=authority_file(tmp_path), retries=0, deadline=10) as client:
            server.behave(lambda line: (stores(line), line.close()))
            assert isinstance(client.publish(report_of_size()[0]), Published)
            server.wait_for(lambda one: not one.is_busy(0))
            server.present(self_signed("127.0.0.1"))
            outcome = client.publish(report_of_size(100)[0])
        assert isinstance(outcome, Unavailable)
        assert not outcome.is_passing
        assert len(server.requests) == 1


def test_the_hint_names_the_option_for_an_own_authority(publish):
    with RecordingServer(tls=server_side()) as server:
        outcome = publish(server)
        assert "jux_api_ca" in outcome.hint
        assert "127.0.0.1" in outcome.reason


def test_the_server_sees_the_clients_certificate(publish, tmp_path):
    files = client_files(tmp_path)
    with RecordingServer(tls=server_side(wants_client=True)) as server:
        outcome = publish(
            server, ca=authority_file(tmp_path), client_cert=files.cert, client_key=files.key, read_timeout=5
        )
        assert isinstance(outcome, Published)
        assert "client@example.test" in str(server.connections[0].client_certificate)


def test_certificate_and_key_of_the_client_may_be_one_file(publish, tmp_path):
    files = client_files(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
    with RecordingServer(tls=server_side(wants_client=True)) as server:
        assert isinstance(publish(server, ca=authority_file(tmp_path), client_cert=both), Published)


@pytest.fixture
def encrypted_client(tmp_path):
    from cryptography.hazmat.primitives import serialization

    files = client_files(tmp_path)
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    return files


def test_an_encrypted_key_of_the_client_is_opened(publish, tmp_path, encrypted_client):
    with RecordingServer(tls=server_side(wants_client=True)) as server:
        outcome = publish(
            server,
            ca=authority_file(tmp_path),
            client_cert=encrypted_client.cert,
            client_key=encrypted_client.key,
            client_key_passphrase=b"open sesame",
        )
        assert isinstance(outcome, Published)


@pytest.mark.parametrize("passphrase", [None, b"", b"open barley"])
def test_an_encrypted_key_without_its_passphrase_is_a_clear_error(encrypted_client, passphrase):
    with pytest.raises(ClientMisconfigured) as caught:
        JuxAPIClient(
            "https://127.0.0.1:9/",
            client_cert=encrypted_client.cert,
            client_key=encrypted_client.key,
            client_key_passphrase=passphrase,
        )
    assert "passphrase" in f"{caught.value} {caught.value.hint}"
    assert "barley" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\x00\xff" * 100])
@pytest.mark.parametrize("option", ["ca", "client_cert"])
def test_an_unusable_file_is_a_clear_error(tmp_path, option, content):
    path = tmp_path / "bad\x1b[2J.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClientMisconfigured, match="bad") as caught:
        JuxAPIClient("https://127.0.0.1:9/", **{option: path})
    assert f"jux_api_{option}" in str(caught.value) or "client certificate" in str(caught.value)


def test_a_directory_is_no_authority(tmp_path):
    with pytest.raises(ClientMisconfigured):
        JuxAPIClient("https://127.0.0.1:9/", ca=tmp_path)


def test_a_key_that_does_not_fit_its_certificate_is_a_clear_error(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = client_files(tmp_path / "a"), client_files(tmp_path / "b")
    with pytest.raises(ClientMisconfigured, match="client certificate"):
        JuxAPIClient("https://127.0.0.1:9/", client_cert=one.cert, client_key=other.key)

"""What can go wrong, as types that carry facts. This module imports nothing and prints nothing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_jux.verifier import Verified


class JuxError(Exception):
    """Base of every error that pytest-jux raises on purpose; its text is one sentence for people.

    `hint` is the next step to take, or "" where there is none to name.
    """

    hint = ""


# --- reports ---------------------------------------------------------------------------------------------------------


class ReportError(JuxError):
    """The bytes cannot be used as a JUnit XML report."""


class NotAReport(ReportError):
    """The document is something else than JUnit XML; `found` names what it is."""

    hint = "Give a JUnit XML report, such as pytest writes with --junit-xml."

    def __init__(self, found: str) -> None:
        super().__init__(f"not a JUnit XML report: {found}")
        self.found = found


class ReportMalformed(ReportError):
    """The document is not well-formed XML; `line` and `column` are 1-based, 0 where unknown."""

    def __init__(self, reason: str, line: int = 0, column: int = 0) -> None:
        where = f" at line {line}, column {column}" if line else ""
        super().__init__(f"not well-formed XML{where}: {reason}")
        self.reason = reason
        self.line = line
        self.column = column


class ReportRefused(ReportError):
    """The document is XML, but has something that no report needs and that could mislead a reader or a tool."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"report refused: {reason}")
        self.reason = reason


class ReportTooLarge(ReportRefused):
    """One of the limits on bytes, elements, attributes or nesting is exceeded; `limit` is its value."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"more than {limit:,} {what}")
        self.what = what
        self.limit = limit


# --- files, keys and certificates ------------------------------------------------------------------------------------


class FileProblem(JuxError):
    """A file could not be read or written; `action` is the verb, `reason` the system's or the format's words."""

    def __init__(self, path: object, action: str, reason: str) -> None:
        super().__init__(f"cannot {action} {path}: {reason}")
        self.path = path
        self.action = action
        self.reason = reason


class KeyUnreadable(JuxError):
    """A private key could not be loaded."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"cannot read the private key {path}: {reason}")
        self.path = path
        self.reason = reason


class PassphraseRequired(KeyUnreadable):
    """The private key is encrypted and no passphrase was given."""

    hint = "Give the passphrase with --passphrase-file, or name an environment variable with --passphrase-env."

    def __init__(self, path: object) -> None:
        super().__init__(path, "it is encrypted and no passphrase was given")


class PassphraseWrong(KeyUnreadable):
    """The private key is encrypted with another passphrase."""

    def __init__(self, path: object) -> None:
        super().__init__(path, "the passphrase is wrong")


class PassphraseMissing(JuxError):
    """The environment variable that should hold the key's passphrase is not set."""

    def __init__(self, variable: str) -> None:
        # What is no variable's name may be the passphrase itself.
        named = f" {variable}" if variable.isascii() and variable.isidentifier() else ""
        super().__init__(f"the environment variable{named} for the key's passphrase is empty or not set")
        self.variable = variable


class CertificateUnreadable(JuxError):
    """A certificate could not be loaded."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"cannot read the certificate {path}: {reason}")
        self.path = path
        self.reason = reason


class KeyUnsuitable(JuxError):
    """The key is of a kind, curve or size that is not used for signing."""

    hint = "Make a key with jux-keygen."

    def __init__(self, reason: str) -> None:
        super().__init__(f"this key cannot sign reports: {reason}")
        self.reason = reason


class KeyMismatch(JuxError):
    """The certificate is not for the private key."""

    hint = "Give the certificate that was made with this key, or leave the certificate out."

    def __init__(self, certificate: str) -> None:
        super().__init__(f"the certificate {certificate} does not belong to the private key")
        self.certificate = certificate


class AlreadySigned(JuxError):
    """The report carries a signature already; `signer` is the subject of its certificate, or ""."""

    hint = "Use --replace to take that signature out and sign again."

    def __init__(self, signer: str) -> None:
        super().__init__(f"already signed by {signer}" if signer else "already signed")
        self.signer = signer


# --- verification ----------------------------------------------------------------------------------------------------


class VerificationError(JuxError):
    """The report is not valid and trusted. The subclasses say which of four ways; they are siblings.

    `state` is `unsigned`, `broken`, `intact` or `unchecked`; `reason` says why.
    """

    state = "unchecked"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ReportUnsigned(VerificationError):
    """There is no signature in the report."""

    state = "unsigned"

    def __init__(self) -> None:
        super().__init__("the report carries no signature")


class SignatureBroken(VerificationError):
    """The report or its signature is not what was signed."""

    state = "broken"


class SignerUntrusted(VerificationError):
    """The report is intact, but nothing that the caller trusts vouches for its signer, whom `evidence` names."""

    state = "intact"

    def __init__(self, reason: str, evidence: Verified) -> None:
        super().__init__(reason)
        self.evidence = evidence


class VerificationImpossible(VerificationError):
    """The signature could not be checked: an algorithm or a key that is not accepted, or no key to check with."""

    state = "unchecked"


# --- configuration ---------------------------------------------------------------------------------------------------


class ConfigError(JuxError):
    """The configuration cannot be used as it stands; `source` is where it was read, such as `pytest.ini:3`."""

    hint = "jux-config validate shows all that is wrong."

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


# --- storage ---------------------------------------------------------------------------------------------------------


class StorageError(JuxError):
    """The report store could not do what was asked; an older entry is never damaged by it."""

    def __init__(self, path: object, action: str, reason: str) -> None:
        super().__init__(f"cannot {action} {path}: {reason}")
        self.path = path
        self.action = action
        self.reason = reason


class StoreBusy(StorageError):
    """Another process is changing the same report, and did not get done in time."""


class InvalidHash(JuxError):
    """A name is not a canonical hash, nor an abbreviation of one."""

    hint = "A hash is sha256: and 64 hexadecimal digits; the first four or more of them are enough."

    def __init__(self, given: str) -> None:
        super().__init__(f"{given!r} is not a report's hash")
        self.given = given


class ReportNotStored(JuxError):
    """No stored report has this hash."""

    def __init__(self, given: str) -> None:
        super().__init__(f"no stored report has the hash {given}")
        self.given = given


class AmbiguousHash(JuxError):
    """More than one stored report begins with this abbreviation; `matches` are their hashes."""

    hint = "Give more digits."

    def __init__(self, given: str, matches: Sequence[str]) -> None:
        super().__init__(f"{given} is ambiguous: {len(matches)} stored reports begin with it")
        self.given = given
        self.matches = tuple(matches)


# --- publishing ------------------------------------------------------------------------------------------------------


class ClientMisconfigured(JuxError):
    """The API client cannot be set up: an address, a key or a file is not what it must be; `hint` says what to do."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class TransportFailed(JuxError):
    """A request got no answer. The attributes are those of `outcomes.Unavailable`."""

    def __init__(self, reason: str, *, is_passing: bool = True, is_answered: bool = False, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_passing = is_passing
        self.is_answered = is_answered
        self.hint = hint

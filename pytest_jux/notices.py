"""What pytest's summary says about a run: lines with a mark, and failures with the next step."""

from __future__ import annotations

import os
import traceback

from pytest_jux import errors


class Notices:
    """The lines of one run, in order: `✓` for what was done, `⚠` for a notice, `✗` for what failed."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    @property
    def has_failed(self) -> bool:
        """Whether something that was asked for was not done."""
        return any(mark == "✗" for mark, _ in self.lines)

    def say(self, mark: str, text: str) -> None:
        """Add a line."""
        self.lines.append((mark, text))

    def say_failure(self, title: str, error: Exception, consequence: str = "") -> None:
        """Say what failed and why, what that means for the report, and what to do next."""
        _show_traceback(error)
        hint = _hint(error)
        meaning = f"; {consequence}" if consequence else ""
        self.say("✗", f"{title}: {error}{meaning}" + (f" ({hint})" if hint else ""))

    def say_unexpected(self, error: Exception) -> None:
        """Report a defect of ours."""
        _show_traceback(error)
        self.say("✗", f"pytest-jux failed: {type(error).__name__}: {error} (JUX_DEBUG=1 shows where)")


def _hint(error: Exception) -> str:
    """Return the next step after a failure, in words of the configuration, or ""."""
    for kind, hint in _HINTS:
        if isinstance(error, kind):
            full = isinstance(error, errors.StorageError) and error.reason == "no space left on device"
            return "jux-cache clean --days 30 makes room" if full else hint
    return error.hint.removesuffix(".") if isinstance(error, errors.ClientMisconfigured) else ""


_HINTS = (  # the first that fits
    (errors.PassphraseRequired, "set jux_key_passphrase_env or jux_key_passphrase_file"),
    (errors.PassphraseWrong, ""),
    (errors.KeyUnreadable, "jux-config explain jux_key_path shows where this path comes from"),
    (errors.CertificateUnreadable, "jux-config explain jux_cert_path shows where this path comes from"),
    (errors.KeyMismatch, "jux-config explain jux_cert_path shows where this path comes from"),
    (errors.StorageError, "jux_storage_path can name another place"),
)


def _show_traceback(error: Exception) -> None:
    if os.environ.get("JUX_DEBUG") == "1":
        traceback.print_exception(error)

"""Sign, store, publish and verify JUnit XML reports. The names below are loaded when they are first used."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_jux.api_client import JuxAPIClient
    from pytest_jux.canonicalizer import canonical_hash
    from pytest_jux.metadata import capture_metadata
    from pytest_jux.signer import sign_report
    from pytest_jux.storage import ReportStorage
    from pytest_jux.verifier import Trust, Verified, verify_report

__version__ = "0.7.0.dev0"

__all__ = [
    "JuxAPIClient",
    "ReportStorage",
    "Trust",
    "Verified",
    "__version__",
    "canonical_hash",
    "capture_metadata",
    "sign_report",
    "verify_report",
]

_HOMES = {
    "JuxAPIClient": "api_client",
    "ReportStorage": "storage",
    "Trust": "verifier",
    "Verified": "verifier",
    "canonical_hash": "canonicalizer",
    "capture_metadata": "metadata",
    "sign_report": "signer",
    "verify_report": "verifier",
}


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)


def __getattr__(name: str) -> object:
    """Load a public name from its module; the plugin is part of every pytest start, so nothing is loaded before."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(f"{__name__}.{home}"), name)

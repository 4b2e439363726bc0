"""The Jux API server: receives signed test reports, verifies them, keeps each once, and answers questions."""

from pytest_jux import __version__

__all__ = ["__version__"]

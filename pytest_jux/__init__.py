"""Sign, store and verify JUnit XML reports. The names below are loaded when they are first used."""

from __future__ import annotations

__version__ = "0.7.0.dev0"

"""Hunt regressions over historical operating-system releases."""

__version__ = "0.1.0"

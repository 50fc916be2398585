"""The command line: every command parses, calls one thing, prints, and means something by its exit code."""

from posneg.service.cli.program import main

__all__ = ["main"]

"""A parsed request in, the answer out: assignment, loss, and why."""

from posneg.service.engine.answer import answer

__all__ = ["answer"]

"""Errors a user can cause. Each says what is wrong and what to do, and carries the exit code of the command line.

Raising anything else out of zoo is a bug; raising one of these never shows a traceback (unless ``ZOO_DEBUG=1``).
"""

from __future__ import annotations


class ZooError(Exception):
    """A failure explained in two sentences.

    Args:
        problem: one sentence on what is wrong.
        remedy: one sentence (or a short list of lines) on what to do about it.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem} {remedy}".strip())
        self.problem = problem
        self.remedy = remedy


class UsageError(ZooError):
    """Options or configuration that do not fit together."""

    exit_code = 2


class UnknownName(ZooError):
    """A model, weights, head, objective, strategy or data-set name that nothing provides."""

    exit_code = 3


class AmbiguousName(ZooError):
    """A bare name that several plugins provide and nothing decides between."""

    exit_code = 3


class PluginError(ZooError):
    """A plugin that was asked for cannot be loaded or broke its contract."""

    exit_code = 4


class MissingDependency(ZooError):
    """A pip package that the asked-for thing needs is not installed."""

    exit_code = 5


class WeightsError(ZooError):
    """Weights that cannot be found, fetched, verified or fitted to the model."""

    exit_code = 5


class WeightsOutOfReach(WeightsError):
    """Weights that are not on this machine, and that no source delivers."""


class DataError(ZooError):
    """Data that cannot be read or that does not make sense for the task."""

    exit_code = 6


class Interrupted(ZooError):
    """The run was stopped by SIGINT after saving its state."""

    exit_code = 130


class Terminated(ZooError):
    """The run was stopped by SIGTERM after saving its state."""

    exit_code = 143

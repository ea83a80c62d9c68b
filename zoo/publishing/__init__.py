"""``zoo publish``: a run's weights as files, a model card and a package that pip installs."""

from zoo.publishing.run import Published, publish

__all__ = ["Published", "publish"]

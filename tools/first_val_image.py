"""Print the path of the first validation image of a run, for the demo to predict."""

from __future__ import annotations

import sys

import zoo
from zoo.prepared import run_dataset
from zoo.run import open_run

run = open_run(sys.argv[1])
print(run_dataset(run, run.manifest["modality"], zoo.default_registry()).splits["val"].columns["input"][0])

"""``zoo pretrain --list``: every objective with every setting, no wider than what it says of each."""

from __future__ import annotations

import zoo
from zoo.cli.main import run


def test_every_objective_and_setting_is_listed(capsys):
    assert run(["pretrain", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    for entry in zoo.default_registry().objectives():
        row = next(line for line in lines if line.startswith(f"{entry.spec.name} "))
        assert entry.spec.summary in row
        for name, value in entry.spec.options.items():
            assert f"{name}={value}" in text
    assert max(len(line) for line in lines if line.startswith(" ")) <= 100

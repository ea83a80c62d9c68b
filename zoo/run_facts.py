"""What a run folder says of itself: for ``zoo info RUN`` and for the card of what is published. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zoo.run import Run, events_of

PRETRAIN = "pretrain"


def run_facts(run: Run) -> dict[str, Any]:
    """JSON values: ``kind``, ``path``, ``verb``, ``status``, ``model``, ``weights`` (what it started from), ``learned``
    (its objective, or task, head and strategy), ``data``, ``metrics``, ``intervals``, ``steps``, ``report``, ``next``
    (commands that go on from it), and what it ran on."""
    manifest, config = run.manifest, run.config
    verb = manifest.get("verb", "finetune")
    evaluation = _json(run.path / "evaluation.json")
    described = _json(run.path / "model" / "model.json")
    report = run.path / "report.html"
    data = {name: value for name, value in manifest.get("data", {}).items() if name != "notes"}
    facts = {
        "kind": "run",
        "path": str(run.path),
        "verb": verb,
        "status": manifest.get("status"),
        "model": manifest.get("model_id"),
        "modality": manifest.get("modality"),
        "weights": manifest.get("weights"),
        "learned": _learned(verb, config, described),
        "data": data,
        "metrics": manifest.get("metrics") or {},
        "intervals": evaluation.get("intervals") or {},
        "measured_on": evaluation.get("n"),
        "steps": _steps(run),
        "epochs": config.get("epochs"),
        "started": manifest.get("started"),
        "seconds": manifest.get("seconds"),
        "device": manifest.get("device_name") or manifest.get("device"),
        "seed": manifest.get("seed"),
        "versions": manifest.get("versions") or {},
        "report": str(report) if report.is_file() else None,
    }
    return {**facts, "next": _next(run, facts)}


def learned_text(facts: dict[str, Any]) -> str:
    """``learned`` of :func:`run_facts` in a line."""
    learned = facts["learned"]
    if "objective" in learned:
        settings = ", ".join(f"{name} {value}" for name, value in learned["options"].items() if value != "")
        return f"{learned['objective']} ({settings})" if settings else str(learned["objective"])
    strategy = f", strategy {learned['strategy']}" if learned["strategy"] else ""
    return f"{learned['task']}{strategy}" + (f", head {learned['head']}" if learned["head"] else "")


def metric_lines(facts: dict[str, Any]) -> list[str]:
    """``accuracy 0.9310 (0.8980 to 0.9560)``, one a metric."""
    lines = []
    for name, value in facts["metrics"].items():
        between = facts["intervals"].get(name)
        told = f" ({between[0]:.4f} to {between[1]:.4f})" if between else ""
        lines.append(f"{name} {value:.4f}{told}" if isinstance(value, (int, float)) else f"{name} {value}")
    return lines


def _learned(verb: str, config: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    if verb == PRETRAIN:
        return {"objective": config.get("objective"), "options": config.get("options") or {}}
    head = described.get("head") or config.get("head")
    return {"task": config.get("task"), "strategy": config.get("strategy"), "head": head}


def _steps(run: Run) -> dict[str, int]:
    """The last step that each stage logged."""
    steps: dict[str, int] = {}
    for event in events_of(run.path / "metrics.jsonl"):
        if isinstance(event, dict) and "stage" in event and "step" in event:
            steps[event["stage"]] = max(event["step"], steps.get(event["stage"], 0))
    return steps


def _next(run: Run, facts: dict[str, Any]) -> list[str]:
    path, verb = run.path, facts["verb"]
    if facts["status"] != "finished":
        return [f"zoo {verb} --resume {path}"]
    if verb != PRETRAIN:
        return [
            f"zoo predict {path} INPUT...",
            f"zoo evaluate {path} --data DATA",
            f"zoo export {path} -o DIR",
            f"zoo publish {path} -o DIR",
        ]
    pairs = "-" in (facts["modality"] or "")
    return [
        f"zoo finetune {path} --data DATA",
        f"zoo evaluate {path} --data PAIRS" if pairs else f"zoo evaluate {path} --probe knn --data DATA",
        f"zoo publish {path} -o DIR",
    ]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

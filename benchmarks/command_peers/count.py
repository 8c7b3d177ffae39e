"""Count the lines that a user writes for the task of configs/minimap2.yaml.

    python -m benchmarks.command_peers.count

Blank lines, comments and docstrings do not count; the scoring script, which all have in common, and
the section ``simulate`` do not either.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
WAYS = {
    "tuner": [HERE.parents[1] / "configs" / "minimap2.yaml"],
    "irace": sorted((HERE / "irace").iterdir()),
    "Optuna and MLflow": [HERE / "optuna_mlflow.py"],
    "Oríon": sorted((HERE / "orion").iterdir()),
}


def lines(path: Path) -> int:
    """Return the number of lines of a file that say something."""
    found = (line.strip() for line in path.read_text().splitlines())
    return sum(bool(line) and not line.startswith(("#", '"""', "simulate:")) for line in found)


if __name__ == "__main__":
    for name, paths in WAYS.items():
        print(f"{name:20} {len(paths)} files, {sum(map(lines, paths))} lines")

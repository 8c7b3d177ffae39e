"""What a frozen script claims in its head, and the configuration that its study left."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.export.ownership import OUT, script_of
from tuner.plugin import InputError, Params


@dataclass(frozen=True)
class Claim:
    """What the head of a script says.

    Attributes
    ----------
    study : str
    params, metrics : mapping
        Means over the tuned cases.
    fingerprint : str
        SHA-256 of the data that they were measured on.
    """

    study: str
    params: Params
    metrics: Mapping[str, float]
    fingerprint: str


def claim_of(script: Path) -> Claim:
    """Read the claim in the head of a script; nothing of it is run.

    Raises
    ------
    InputError
        Where there is no script, or it has no such head.
    """
    try:
        source = script.read_bytes()
        if script.suffix == ".sh":  # its head is a comment
            head = re.sub(r"^# ?", "", source.decode(errors="replace"), flags=re.M)
        else:
            head = ast.get_docstring(ast.parse(source), clean=False) or ""
    except OSError as error:
        raise InputError(f"cannot read {script}: {error.strerror}") from None
    except (SyntaxError, ValueError):
        raise InputError(f"{script} is no Python script; give one that tuner froze") from None
    lines = dict(re.findall(r"^(Study|Metrics|Setting|Data): +(.*)$", head, re.M))
    try:
        metrics = dict(re.findall(r"(\S+) = (\S+?)(?:,|$)", lines["Metrics"]))
        return Claim(
            lines["Study"].partition(",")[0],
            json.loads(lines["Setting"]),
            {name: float(value) for name, value in metrics.items()},
            lines["Data"].removeprefix("sha256 "),
        )
    except (KeyError, ValueError):
        raise InputError(
            f"{script} has no head with study, metrics, setting and data; give one that tuner froze"
        ) from None


def config_for(script: Path, claim: Claim) -> Path:
    """Return the configuration that a study of this folder left beside its results."""
    owner, _ = script_of(script)
    path = (owner.folder if owner else OUT / claim.study) / "config.yaml"
    if not path.is_file():
        raise InputError(
            f"study '{claim.study}' of {script} is not here ({path}); "
            f"name data to measure it on: tuner verify {script} CONFIG"
        )
    return path

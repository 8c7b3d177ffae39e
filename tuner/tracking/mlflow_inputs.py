"""What a study was tuned on and what came of it, in MLflow's own terms: datasets, and a model.

The script that a study froze is a version of a registered model; the alias `CHAMPION` stands for
the one that is in use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tuner.config.text import cleaned, cleaned_data
from tuner.records import CaseRecord, StudyInfo, Summary
from tuner.tracking import mlflow_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

CHAMPION = "champion"
TUNED, HELD_OUT = "tuned", "held-out"
"""Contexts of datasets."""

_MAX_DIGEST, _MAX_SOURCE = 36, 60_000
_ABSENT = "RESOURCE_DOES_NOT_EXIST"


def dataset_inputs(study: StudyInfo, summary: Summary) -> list[DatasetInput]:
    """Return the cases that were tuned on, and those that were held out, as datasets.

    Their digest is the fingerprint of the input files, of which MLflow takes 36 characters.
    """
    tuned = summary.best.cases if summary.best is not None else ()
    given = ((TUNED, tuned), (HELD_OUT, summary.held_out))
    return [_dataset(study, context, cases) for context, cases in given if cases]


def _dataset(study: StudyInfo, context: str, cases: Sequence[CaseRecord]) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"data": study.config.get("data")}, default=str)
    names = [case.name for case in cases]
    dataset = Dataset(
        name=cleaned(f"{mlflow_runs.study_label(study)} {context}"),
        digest=study.fingerprint[:_MAX_DIGEST],
        source_type="local",
        source=source if len(source) <= _MAX_SOURCE else "{}",
        profile=json.dumps({"cases": cleaned_data(names)})[:_MAX_SOURCE],
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


def script_of(study: StudyInfo, files: Sequence[PurePosixPath]) -> PurePosixPath | None:
    """Return the frozen script among the files of a study's folder; None where there is none."""
    path = (study.config.get("export") or {}).get("path") or f"{study.name}.py"
    script = PurePosixPath("script", Path(path).name)
    return script if script in files else None


def register_script(
    client: MlflowClient, study: StudyInfo, parent: str, summary: Summary, script: PurePosixPath
) -> None:
    """Make the script of a study the champion among the versions of its model; safe to repeat.

    Parameters
    ----------
    client : MlflowClient
    study : StudyInfo
        The model has the name of the study's run.
    parent : str
        The study's run, which has `script` as an artifact.
    summary : Summary
        How the study ended, with its folder.
    script : PurePosixPath
        Within that folder.
    """
    assert summary.best is not None
    assert summary.artifacts is not None
    name = cleaned(mlflow_runs.key(mlflow_runs.study_label(study))).replace(":", "_")
    digest = hashlib.sha256((summary.artifacts / script).read_bytes()).hexdigest()
    model = _model(client, name, study)
    held = model.aliases.get(CHAMPION)
    if held is not None:
        champion = client.get_model_version(name, held)
        if (champion.run_id, champion.tags.get("sha256")) == (parent, digest):
            return
    params = ", ".join(f"{key} = {value}" for key, value in summary.best.params.items())
    about = {
        "artifact_path": str(script.parent),
        "run_id": parent,
        "flavors": {"script": {"file": script.name, "sha256": digest}},
    }
    client.log_dict(parent, about, f"{script.parent}/MLmodel")  # the page of a version reads it
    folder = client.get_run(parent).info.artifact_uri
    version = client.create_model_version(
        name,
        source=f"{folder}/{script.parent}",
        run_id=parent,
        tags={
            "script": script.name,
            "sha256": digest,
            "trial": str(summary.best.number),
            "study_key": mlflow_runs.study_key(study),
        },
        description=cleaned(f"Trial {summary.best.number}: {params}")[: mlflow_runs.MAX_TAG],
        await_creation_for=0,
    )
    client.set_registered_model_alias(name, CHAMPION, version.version)


def _model(client: MlflowClient, name: str, study: StudyInfo) -> Any:
    """Return the registered model of a study; make it where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
    about = f"Scripts that study {study.name} froze; the one in use has the alias {CHAMPION}."
    return client.create_registered_model(name, {"plugin": study.plugin}, cleaned(about))

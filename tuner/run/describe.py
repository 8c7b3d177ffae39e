"""What is known of a study, for tracking and reports."""

from __future__ import annotations

import optuna

from tuner.config.addresses import masked
from tuner.config.load import Config
from tuner.export.provenance import git_commit, versions
from tuner.records import StudyInfo
from tuner.search.changes import SIGNATURE


def describe(config: Config, study: optuna.Study) -> StudyInfo:
    """Return what is known of a study that `config` opened."""
    return StudyInfo(
        name=study.study_name,
        plugin=config.engine.plugin,
        config=config.plain(),
        # the study's own: what only reads it may come with another configuration
        signature=study.user_attrs.get(SIGNATURE, config.signature()),
        seed=config.engine.study.seed,
        storage=masked(config.engine.study.storage),
        metrics=config.plugin.metrics,
        primary=config.plugin.primary,
        objectives=config.objectives,
        search_space=config.space.describe(),
        versions=versions(),
        fingerprint=config.fingerprint,
        git_commit=git_commit(config.document.path.resolve().parent),
    )

"""Whether guides and perturbations belong together; a stand-alone script carries this module."""

from __future__ import annotations

import pandas as pd

from tuner_plugins.perturbseq.data.labels import column_of
from tuner_plugins.perturbseq.data.screen import Screen
from tuner_plugins.perturbseq.data.stored import listed


def single_guides(screen: Screen, guide: str | None) -> list[str]:
    """Return a note where no perturbation has two guides, which the permutation test needs."""
    if guide is None:
        return []
    groups, guides = _perturbed_guides(screen, guide)
    if (guides.groupby(groups).nunique() > 1).any():
        return []
    return [
        f"no perturbation has two guides (obs column '{guide}'): what a guide does beside its "
        "target cannot be told from the effect, and the permutation test shuffles single cells"
    ]


def _perturbed_guides(screen: Screen, guide: str) -> tuple[pd.Series, pd.Series]:
    """Return perturbation and guide of the perturbed cells."""
    perturbed = screen.design.groups != ""
    guides = column_of(screen.obs, guide, "guide").astype(str)[perturbed]
    return pd.Series(screen.design.groups[perturbed], index=guides.index), guides


def shared_guides(screen: Screen, guide: str | None) -> list[str]:
    """Return a note on guides that have cells of several perturbations."""
    if guide is None:
        return []
    groups, guides = _perturbed_guides(screen, guide)
    shared = groups.groupby(guides).nunique()
    several = [str(name) for name in shared.index[shared > 1]]
    if not several:
        return []
    of = ", ".join(sorted(set(groups[guides == several[0]]))[:3])
    if len(several) > len(shared) / 2:
        return [
            f"{len(several)} of {len(shared)} guides (obs column '{guide}') have cells of several "
            f"perturbations ('{several[0]}' of {of}): guides and perturbations do not belong "
            "together, correct the columns, unless guides are numbered anew for each perturbation"
        ]
    return [
        f"these guides (obs column '{guide}') have cells of several perturbations: "
        f"{listed(several)} (the first of {of}); they count as guides of each, "
        "correct the labels if they are not"
    ]

"""What would make every answer in a region meaningless, or doubtful: found before any trial."""

from __future__ import annotations

import numpy as np

from tuner_plugins.nmf.annotation import AnnotationError
from tuner_plugins.nmf.runs import Runs


def check_annotation(label: str, where: str, annotation: Runs) -> None:
    """Refuse an annotation that is constant over a region: it correlates with nothing.

    Parameters
    ----------
    label, where : str
        The case; its region and the annotation's file, for the message.
    annotation : Runs
        Without NaN.

    Raises
    ------
    AnnotationError
    """
    values = np.unique(annotation.values)
    if len(values) == 1:
        what = {0.0: "no gene lies there", 1.0: "all of it is gene"}.get(float(values[0]), "")
        raise AnnotationError(
            f"case '{label}': the annotation is constant over {where} ({values[0]:g}"
            f"{what and ': '}{what}), so that no correlation can be made; "
            "choose a region that holds both genes and none"
        )

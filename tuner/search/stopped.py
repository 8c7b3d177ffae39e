"""Why a study cannot go on."""


class StudyStopped(RuntimeError):
    """The baseline or a script fails, or too many trials in a row did not complete."""

"""Which of the trials is frozen: finalists timed again, smoothing, presentation."""

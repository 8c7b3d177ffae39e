"""One command from end to end: check, run, present, export."""

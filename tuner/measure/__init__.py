"""How long something took, and how sure that is on a machine that is not quiet."""

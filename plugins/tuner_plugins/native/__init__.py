"""C code compiled at first use by the machine's own compiler, and kept; for every plug-in."""

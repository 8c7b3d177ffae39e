"""Where trials run: one small interface, an implementation a file."""

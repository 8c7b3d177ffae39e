"""Where trials run: jobs in, events out; processes of this machine by default."""

"""What a person reads: the terminal and the figures of a study."""

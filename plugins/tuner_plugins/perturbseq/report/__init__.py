"""The analysis as a whole: its steps, figures, tables and HTML page."""

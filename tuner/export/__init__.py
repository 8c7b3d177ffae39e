"""Freezing params into a stand-alone script."""

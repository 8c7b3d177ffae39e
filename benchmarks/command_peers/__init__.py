"""The task of configs/minimap2.yaml as users of other tuners write it."""

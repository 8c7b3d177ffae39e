"""The configuration: from a YAML file to validated sections and a search space."""

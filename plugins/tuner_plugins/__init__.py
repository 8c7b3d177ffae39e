"""The plug-ins that ship with the tuner."""

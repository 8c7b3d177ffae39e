"""Any program as a plug-in: its command line is the method, its flags are the parameters."""

"""The stand-alone script ``assign2.py``: what it is made of and its command line."""

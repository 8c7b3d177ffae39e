"""The script that the best params are frozen in."""

from __future__ import annotations

from pathlib import Path
from pprint import pformat

from tuner.plugin import Params, Provenance

HEAD = """\
#!/usr/bin/env python3
'''Params of {function}, {origin}.

They are printed as JSON{more}.
'''

import argparse
import json
{imports}
PARAMS = {params}


def main() -> None:
    '''Print the params.'''
    parser = argparse.ArgumentParser(description=__doc__)
"""

IMPORTS = """\
import importlib
import sys
from operator import attrgetter
"""

CALL = """\
    parser.add_argument("--call", action="store_true", help="call the function; print its value")
    if parser.parse_args().call:
        sys.path.insert(0, {folder!r})
        module = importlib.import_module({module!r})
        print(attrgetter({name!r})(module)(**PARAMS))
        return
"""

END = """\
    parser.parse_args()
    print(json.dumps(PARAMS))


if __name__ == "__main__":
    main()
"""


def script_text(function: str, folder: Path | None, params: Params, provenance: Provenance) -> str:
    """Return the script of some params.

    A function that was handed over in Python is in no file (its name has a digest, after ``@``):
    the script has the params alone. An importable one is called with ``--call``.
    """
    named, handed_over, _ = function.partition("@")
    module, _, name = named.partition(":")
    origin = f"study '{provenance.study}'"
    if provenance.trial is not None:
        found = (f"{key} {value:.6g}" for key, value in sorted(provenance.metrics.items()))
        origin += f", trial {provenance.trial} ({', '.join(found)}; {provenance.created})"
    text = HEAD.format(
        function=named,
        origin=origin.replace("\\", "/").replace("'''", "'"),
        more="" if handed_over else "; --call calls the function with them",
        imports="" if handed_over else IMPORTS,
        params=pformat(dict(params), sort_dicts=False),
    )
    if not handed_over:
        text += CALL.format(folder=str(folder), module=module, name=name)
    return text + END

"""From modules to a stand-alone script: one source for the plug-in and for what is exported.

`bundle` joins the sources of a few modules into one file. Imports of the project's own packages
fall away, since their names are then defined in the same file; all other imports are gathered at
the top. Nothing is rewritten otherwise, comments included, so the script is as readable as the
modules are. Where every millisecond counts, a few modules are tried first, and the rest is only
compiled where they do not do.
"""

from __future__ import annotations

import ast
import inspect
import pprint
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tuner.export.outputs import OutputError, write_output
from tuner.plugin import InputError

REQUIRES_PYTHON = ">=3.10"


@dataclass(frozen=True)
class Quick:
    """Modules that do the usual case by themselves.

    The others are then kept as text and compiled where they are needed: Python compiles a script
    anew each time that it runs.

    Attributes
    ----------
    modules : sequence of module
        As those of `bundle`.
    call : str
        The expression that tries them; where it is true, the script is done.
    preamble : str
        Statements before the imports of the other modules.
    loader : sequence of module
        Modules that define ``load_code(text, name)``, the code of a text: it may keep that for
        later runs. `modules` are then kept as text too.
    """

    modules: Sequence[ModuleType]
    call: str
    preamble: str = ""
    loader: Sequence[ModuleType] = ()


def bundle(
    modules: Sequence[ModuleType],
    constants: Mapping[str, object],
    head: str,
    dependencies: Sequence[str],
    call: str = "main()",
    quick: Quick | None = None,
) -> str:
    """Join modules into the text of one script.

    Parameters
    ----------
    modules : sequence of module
        In an order in which every name is defined before it is used at import time. Imports from
        their packages fall away.
    constants : mapping
        Name to value, written as literals below the imports. A module's own top-level assignment
        to such a name is left out: a placeholder there becomes the constant here.
    head : str
        The script's docstring.
    dependencies : sequence of str
        PEP 508 requirements, written as PEP 723 metadata.
    call : str
        The expression that runs the script; its value becomes the exit code.
    quick : Quick, optional
        What is tried first.

    Returns
    -------
    str
        The script.

    Raises
    ------
    ValueError
        Where two modules define the same name, or one renames what it imports from another.
    """
    owners: dict[str, str] = {}
    loading, trying = (quick.loader, quick.modules) if quick else ((), ())
    packages = {"tuner", *(m.__name__.partition(".")[0] for m in (*loading, *trying, *modules))}
    loader, first, (imports, bodies) = (
        _join(part, set(constants), packages, owners) for part in (loading, trying, modules)
    )
    literals = [f"{name} = {_literal(value)}" for name, value in constants.items()]
    docstring = head.replace("\\", "\\\\").replace('"""', r"\"\"\"").strip()
    parts = [
        "#!/usr/bin/env python3",
        _metadata(dependencies, REQUIRES_PYTHON),
        f'"""{docstring}\n"""\n',
        f"{_FUTURE}\n",
        _refuse_before(REQUIRES_PYTHON),
    ]
    if quick:
        plain, kept = (loader, first) if quick.loader else (first, ([], ""))
        parts += [*plain[0], "", *literals, "", plain[1], ""]
        run = ""
        if quick.loader:
            parts.append("# What follows is compiled once, and kept in the cache folder.")
            above = _add_text(parts, "QUICK", [_FUTURE, *kept[0], "", kept[1]])
            name = "__file__.rpartition('/')[2]"
            run = f'        exec(load_code("\\n" * {above} + QUICK, {name}))\n'
        parts.append("# What follows is compiled only where the above does not do.")
        above = _add_text(parts, "REST", [quick.preamble, *imports, "", bodies])
        run += f"        if not {quick.call}:\n"
        run += f'            exec(compile("\\n" * {above} + REST, __file__, "exec"))\n'
        run += f"            raise SystemExit({call})\n"
    else:
        guarded = ["try:", *(f"    {line}" for line in imports or ["pass"]), _MISSING]
        parts += ["", *guarded, *literals, "", bodies]
        run = f"        raise SystemExit({call})\n"
    handler = textwrap.indent(_MISSING, "    ")
    parts.append(f'\n\nif __name__ == "__main__":\n    try:\n{run}{handler}')
    text = "\n".join(parts)
    compile(text, "<frozen script>", "exec", dont_inherit=True)
    return text


_FUTURE = "from __future__ import annotations"


def _join(
    modules: Sequence[ModuleType], constants: set[str], packages: set[str], owners: dict[str, str]
) -> tuple[list[str], str]:
    """Return the imports of modules from elsewhere, in order, and what is left of their sources."""
    imports: set[str] = set()
    bodies = []
    for module in modules:
        source = inspect.getsource(module)
        body = _body(source, module.__name__, constants, packages, imports, owners)
        title = module.__name__.rsplit(".", 1)[-1]
        bodies.append(f"# {'-' * 20} {title} {'-' * 20}\n\n{body}")
    order = sorted(imports, key=lambda line: (line.startswith("from"), line))
    return order, "\n\n".join(bodies)


def _add_text(parts: list[str], name: str, lines: Sequence[str]) -> int:
    """Add a text as a constant; return the lines above its first one.

    With as many before it where it is compiled, a traceback shows the right ones.
    """
    text = "\n".join(lines)
    compile(text, "<frozen script>", "exec", dont_inherit=True)
    literal = _literal(text)
    above = "\n".join(parts).count("\n") + 1 + literal.startswith("(")
    parts.append(f"{name} = {literal}\n\n")
    return above


_MISSING = """\
except ModuleNotFoundError as error:
    sys.stderr.write(f"{sys.argv[0]}: {error}; install it: pip install {error.name}\\n")
    raise SystemExit(2) from None
"""


def _refuse_before(requires_python: str) -> str:
    """Return statements that end a script in one line where Python is too old for the rest."""
    oldest = tuple(map(int, requires_python.removeprefix(">=").split(".")))
    wanted = ".".join(map(str, oldest))
    return (
        f"import sys\n\nif sys.version_info < {oldest}:\n"
        f'    sys.stderr.write(f"{{sys.argv[0]}}: needs Python {wanted} or newer, this is "\n'
        '                     f"{sys.version.split()[0]}\\n")\n'
        "    sys.exit(2)\n"
    )


def write_script(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make the script under a temporary name, then put it at `path`, executable.

    Raises
    ------
    InputError
        Where the folder does not exist or cannot be written to.
    ValueError
        Where `write` makes no script.
    """
    if not path.parent.is_dir():
        raise InputError(f"cannot export to {path}: no folder {path.parent}; make it first")

    def write_some(part: Path) -> None:
        write(part)
        if not part.is_file() or not part.stat().st_size:
            raise ValueError("the plug-in's freeze wrote nothing to the path that it was given")

    try:
        write_output(path, write_some, mode=0o755)
    except OutputError as error:
        raise InputError(str(error)) from None


def _body(
    source: str,
    module: str,
    constants: set[str],
    packages: set[str],
    imports: set[str],
    owners: dict[str, str],
) -> str:
    """Return a module's source without its docstring, imports and placeholders."""
    lines = source.splitlines()
    dropped: set[int] = set()
    for index, node in enumerate(ast.parse(source).body):
        if _stays(node, index, constants, packages, imports, module):
            for name in _defined(node):
                if name in owners:
                    raise ValueError(f"{module} and {owners[name]} both define '{name}'")
                owners[name] = module
        else:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            dropped.update(range(first, (node.end_lineno or first) + 1))
    kept = [line for number, line in enumerate(lines, 1) if number not in dropped]
    return "\n".join(kept).strip() + "\n"


def _stays(
    node: ast.stmt,
    index: int,
    constants: set[str],
    packages: set[str],
    imports: set[str],
    module: str,
) -> bool:
    """Return whether a top-level statement stays where it is; gather it where it is an import."""
    if index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return False
    if isinstance(node, ast.Import | ast.ImportFrom):
        origin = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
        relative = isinstance(node, ast.ImportFrom) and node.level > 0
        if relative or origin.split(".")[0] in packages:
            if not isinstance(node, ast.ImportFrom) or any(alias.asname for alias in node.names):
                raise ValueError(f"{module}: import from {origin} by plain names, for bundling")
        elif origin != "__future__":
            imports.add(ast.unparse(node))
        return False
    if isinstance(node, ast.If):
        test = ast.unparse(node.test)
        return test not in ("TYPE_CHECKING", "__name__ == '__main__'")
    names = set(_defined(node))
    return not (names & constants or names in ({"__all__"}, {"TYPE_CHECKING"}))


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _literal(value: object) -> str:
    if isinstance(value, str) and "\n" in value:
        if "'''" not in value and "\r" not in value and not value.endswith(("\\", "'")):
            return f"r'''{value}'''"
        return "(\n" + "\n".join(f"    {part!r}" for part in value.splitlines(True)) + "\n)"
    if isinstance(value, dict) and any(isinstance(v, str) and "\n" in v for v in value.values()):
        entries = (f"{key!r}: {_literal(item)},\n" for key, item in value.items())
        return "{\n" + "".join(entries) + "}"
    return pprint.pformat(value, sort_dicts=False, width=96)


def _metadata(dependencies: Sequence[str], requires_python: str) -> str:
    lines = ["# /// script", f'# requires-python = "{requires_python}"', "# dependencies = ["]
    lines += [f'#     "{dependency}",' for dependency in dependencies]
    return "\n".join([*lines, "# ]", "# ///"])

"""Pages of the manual that are made from the code when it is built.

MkDocs calls `on_files` and `on_page_content`; `pages` needs no MkDocs.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "tuner", ROOT / "plugins" / "tuner_plugins")
PLUGINS = ("nmf", "elasticnet", "command", "function")
SCHEMAS = ROOT / "configs" / "schema"

API: Mapping[str, tuple[str, Mapping[str, Sequence[str]]]] = {
    "python": (
        "Studies from Python",
        {
            "tuner.run.study": ["optimize", "run"],
            "tuner.run.result": ["Best", "Result"],
            "tuner.config.load": ["load_config"],
        },
    ),
    "plugin": ("Plug-ins", {"tuner.plugin": [], "tuner.testing": ["PluginContract"]}),
    "enet": ("Elastic net", {"tuner_plugins.enet": []}),
    "perturbseq": (
        "Perturb-seq in a notebook",
        {f"tuner_plugins.perturbseq.{name}": [] for name in ("pp", "tl", "pl")},
    ),
    "nmf": (
        "NMF of tracks",
        {"tuner_plugins.nmf.model.factorize": ["factorize"], "tuner_plugins.nmf.model.prox_tv": []},
    ),
}
"""By page: its title, and the modules with the names that are shown; none: all public ones."""


def pages() -> dict[str, str]:
    """Return Markdown by the path of its page."""
    made = {
        "reference/commands.md": commands(),
        "reference/keys.md": keys(),
        "reference/plugins.md": plugins(),
        "reference/errors.md": errors(),
        "changes.md": (ROOT / "CHANGELOG.md").read_text(),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(),
        "notebook.md": notebook(ROOT / "docs" / "perturbseq.ipynb"),
    }
    return made | {f"reference/{name}.md": api(*found) for name, found in API.items()}


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar in a cell is escaped."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in line) + " |"
        for line in lines
    )


def commands() -> str:
    """Return what `tuner --help` and `tuner COMMAND --help` print."""
    import click
    from typer.main import get_command

    from tuner.cli import COMMANDS
    from tuner.cli.app import app

    for name in COMMANDS:
        import_module(f"tuner.cli.{name}")
    group: Any = get_command(app)

    def helped(command: Any, context: click.Context) -> str:
        command.rich_markup_mode = None  # words alone, no boxes
        return f"```text\n{command.get_help(context)}\n```"

    settings = {**group.context_settings, "terminal_width": 96, "max_content_width": 96}
    top = click.Context(group, info_name="tuner", **settings)
    parts = ["# Commands", helped(group, top)]
    for name, command in group.commands.items():
        context = click.Context(command, info_name=name, parent=top, **settings)
        parts += [f"## tuner {name}", helped(command, context)]
    return "\n\n".join(parts) + "\n"


def keys() -> str:
    """Return every key of a configuration, from the schemas by which editors complete it."""
    from tuner.config.json_schema import schema_of
    from tuner.plugin.registry import plugin_class

    schemas = {name: schema_of(plugin_class(name)) for name in PLUGINS}
    found = {name: dict(rows_of(schema, schema["$defs"])) for name, schema in schemas.items()}
    common = set.intersection(*map(set, found.values()))
    headers = ["key", "meaning", "kind", "default"]
    parts = [
        "# Keys of a configuration",
        "[The configuration](../configuration.md) explains them. Editors complete and check a file "
        "by its schema: " + ", ".join(f"[{n}](schema/{n}.json)" for n in PLUGINS) + ".",
        "## Of every study",
        table(headers, (row for key, row in found["function"].items() if key in common)),
    ]
    for name, rows in found.items():
        own = (row for key, row in rows.items() if key not in common)
        parts += [f"## Of {name}", table(headers, own)]
    return "\n\n".join(parts) + "\n"


def rows_of(node: Any, defs: Any, before: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield key and row of every property below a node of a schema, sections included."""
    for name, value in node.get("properties", {}).items():
        key = before + name
        default = value.get("default")
        shown = f"`{json.dumps(default)}`" if isinstance(default, list | str | float | int) else ""
        inner = list(sections(value, defs))
        kind = "section" if inner and not shown else kind_of(value, defs)
        about = value.get("description") or " ".join(s.get("description", "") for _, s in inner)
        required = "required" if name in node.get("required", ()) else shown
        yield key, (f"`{key}`", about, kind, required)
        for suffix, section in inner:
            yield from rows_of(section, defs, f"{key}{suffix}.")


def sections(value: Any, defs: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a property may hold that has keys of its own, and what stands between."""
    for option in (value, *value.get("anyOf", ()), *value.get("allOf", ())):
        if "$ref" in option:
            target = defs[option["$ref"].rpartition("/")[2]]
            if "properties" in target:
                yield "", target
        elif "items" in option and option["items"]:
            yield from ((f"[]{suffix}", found) for suffix, found in sections(option["items"], defs))
        elif isinstance(option.get("additionalProperties"), dict):
            inner = sections(option["additionalProperties"], defs)
            yield from ((f".NAME{suffix}", found) for suffix, found in inner)


KINDS = {"integer": "whole number", "number": "number", "string": "text", "array": "list"}
KINDS |= {"boolean": "true or false", "object": "mapping"}


def kind_of(value: Any, defs: Any) -> str:
    """Return in words what a value may be; that a variable may stand for it goes unsaid."""
    if "$ref" in value:
        return kind_of(defs[value["$ref"].rpartition("/")[2]], defs)
    if "enum" in value:
        named = [choice for choice in value["enum"] if not str(choice)[:1].isupper()]
        return ", ".join(f"`{choice}`" for choice in named)  # TPESampler is tpe
    if options := value.get("anyOf"):
        words = [kind_of(option, defs) for option in options if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    kind = value.get("type", "text")
    return KINDS.get(kind[0] if isinstance(kind, list) else kind, kind)


def plugins() -> str:
    """Return metrics and parameters of the plug-ins that come with the package."""
    from tuner.plugin.registry import plugin_class
    from tuner.run.tools import describe_params

    parts = ["# Parameters and metrics", "As `tuner params NAME` lists them."]
    for name in PLUGINS:
        cls = plugin_class(name)
        parts += [f"## {name}"]
        rows = describe_params(cls)
        text = "Its parameters and metrics are what a configuration lists."
        if rows:
            cells = (tuple("" if v is None else str(v) for v in row.values()) for row in rows)
            text = table(list(rows[0]), ((f"`{first}`", *rest) for first, *rest in cells))
            metrics = ((f"`{m}`", cls.meanings[m], way) for m, way in cls.metrics.items())
            text += "\n\n" + table(["metric", "meaning", "direction"], metrics)
        parts += [text]
    return "\n\n".join(parts) + "\n"


def errors() -> str:
    """Return every public class of an error or warning, with what its docstring says first."""
    rows = sorted(
        (f"`{name}`", f"`{module}`", f"`{', '.join(bases)}`", said.partition("\n\n")[0])
        for module, name, bases, said in error_classes()
    )
    return (
        "# Classes of errors\n\n[Errors and what to do](../errors.md) has the messages. On the "
        "command line `InputError` is one line and exit code 2; a plug-in's own errors fail one "
        "trial. Those of a package are seen by who calls it from Python.\n\n"
        + table(["class", "module", "is a", "raised for"], rows)
        + "\n\n## Messages\n\n`…` stands for what differs.\n\n"
        + table(["message", "module"], ((f"`{text}`", f"`{m}`") for m, text in messages()))
        + "\n"
    )


def messages() -> list[tuple[str, str]]:
    """Return module and text of the messages that are raised where they are written."""
    found = set()
    for module, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text = " ".join(literal(node.exc.args[0]).split()).replace("`", "'")
                if len(re.findall(r"\w{2,}", text)) >= 3:
                    found.add((module, text))
    return sorted(found)


def literal(node: ast.expr) -> str:
    """Return a text as it is written, with an ellipsis for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(literal, node.values))
    if isinstance(node, ast.BinOp):
        return literal(node.left) + literal(node.right)
    return "…"


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield the sources, parsed, by module."""
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def error_classes() -> Iterator[tuple[str, str, list[str], str]]:
    """Yield module, name, bases and docstring of the errors and warnings that have a public name.

    Found in the sources, so that nothing is imported.
    """
    known = {"Exception", "RuntimeError", "UserWarning", "ValueError"}
    bodies = ((module, node) for module, tree in trees() for node in tree.body)
    found = [(module, node) for module, node in bodies if isinstance(node, ast.ClassDef)]
    while more := {c.name for _, c in found if known & set(map(ast.unparse, c.bases))} - known:
        known |= more
    for module, node in found:
        if node.name in known and not node.name.startswith("_"):
            bases = [ast.unparse(base) for base in node.bases]
            yield module, node.name, bases, ast.get_docstring(node) or ""


def api(title: str, modules: Mapping[str, Sequence[str]]) -> str:
    """Return a page that mkdocstrings fills from docstrings."""
    parts = [f"# {title}"]
    for name, chosen in modules.items():
        members = json.dumps(list(chosen or public_names(name)))
        parts += [f"## {name}\n\n::: {name}\n    options:\n      members: {members}"]
    return "\n\n".join(parts) + "\n"


def public_names(name: str) -> list[str]:
    """Return what a module offers: its ``__all__``, or the public names that it defines."""
    module = import_module(name)
    homes = {own: getattr(value, "__module__", "") for own, value in vars(module).items()}
    defined = [own for own, home in homes.items() if f"{home}.".startswith(f"{name}.")]
    return getattr(module, "__all__", [own for own in defined if not own.startswith("_")])


def notebook(path: Path) -> str:
    """Return a notebook without outputs as Markdown."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    return "\n\n".join(parts) + "\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made, and the schemas, to those of the folder."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    for path in sorted(SCHEMAS.glob("*.json")):
        files.append(
            File.generated(config, f"reference/schema/{path.name}", abs_src_path=str(path))
        )
    return files


FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)


def on_page_content(text: str, **_: Any) -> str:
    """Turn formulas into MathML, which browsers draw by themselves, and mend literal blocks."""
    from latex2mathml.converter import convert

    def drawn(found: re.Match[str]) -> str:
        block = "block" if found[1] == "div" else "inline"
        return f"<{found[1]}>{convert(html.unescape(found[2]), display=block)}</{found[1]}>"

    return FORMULA.sub(drawn, text).replace("::</p>", ":</p>")

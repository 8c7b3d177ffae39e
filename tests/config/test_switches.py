"""True and false are no numbers, in the sections of every plug-in and in options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, BeforeValidator, Field

from tuner.config.errors import validated
from tuner.config.load import load_config
from tuner.config.schema import EngineSections
from tuner.config.yaml import Document, Key
from tuner.plugin import InputError, Value
from tuner.plugin.options import checked_options, options_of
from tuner.plugin.registry import executor, installed, plugin_class

NUMBERS = {"integer": "a whole number", "number": "a number"}


class Inner(BaseModel):
    rate: float = Field(default=1.0, alias="per-second")
    on: bool = True


class Kinds(BaseModel):
    maybe: int | None = None
    many: list[Annotated[float, Field(ge=0)]] = []
    pair: Annotated[int, Field(ge=1)] | tuple[float, float] | None = None
    inner: dict[str, Inner] = {}
    either: int | bool = 1
    value: dict[str, Value] = {}
    converted: Annotated[int, BeforeValidator(lambda value: 7)] = 1
    anything: Any = None
    texts: list[str] | str = ""


def told(model: type[BaseModel], data: dict[str, Any]) -> list[str]:
    """Return what is wrong with `data`, without the place."""
    try:
        validated(model, data, Document(Path("a.yaml"), data, data, {}))
    except InputError as error:
        return [line.removeprefix("a.yaml: ") for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"maybe": False}, ["maybe: expected a whole number, got false"]),
        ({"many": [1, True]}, ["many.1: expected a number, got true"]),
        ({"pair": True}, ["pair: expected a whole number, got true"]),
        ({"pair": [1, True]}, ["pair.1: expected a number, got true"]),
        (
            {"inner": {"a": {"per-second": True}}, "maybe": True},
            [
                "maybe: expected a whole number, got true",
                "inner.a.per-second: expected a number, got true",
            ],
        ),
        ({"inner": {"a": {"on": False}}, "either": True}, []),
        ({"value": {"a": True}, "converted": True, "anything": [True], "maybe": None}, []),
        ({"texts": True}, ["texts: expected a list, got true"]),
        ({"texts": [True]}, ["texts.0: expected a text, got true"]),
    ],
)
def test_switches_are_refused_where_numbers_are_expected(
    data: dict[str, Any], said: list[str]
) -> None:
    assert sorted(told(Kinds, data)) == sorted(said)


def numbers_of(model: type[BaseModel]) -> Iterator[tuple[Key, str | None]]:
    """Yield the place of every number and of every switch of a model, by its JSON Schema."""
    schema = model.model_json_schema()

    def walk(part: dict[str, Any], key: Key) -> Iterator[tuple[Key, str | None]]:
        part = {**part, **schema.get("$defs", {}).get(part.get("$ref", "").split("/")[-1], {})}
        types = [each.get("type") for each in part.get("anyOf", [part])]
        if "boolean" in types:
            yield key, None
        elif said := [NUMBERS[each] for each in types if each in NUMBERS]:
            yield key, said[0]
        for inner in part.get("anyOf", []):
            if inner.get("type") not in NUMBERS:
                yield from walk(inner, key)
        for name, inner in part.get("properties", {}).items():
            yield from walk(inner, (*key, name))
        if "items" in part:
            yield from walk(part["items"], (*key, 0))

    yield from walk(schema, ())


def nested(key: Key, value: object) -> Any:
    """Return data in which `value` stands at `key` alone."""
    for part in reversed(key):
        value = [value] if isinstance(part, int) else {part: value}
    return value


OWN = {entry.name for entry in installed()} & {"command", "elasticnet", "function", "nmf"}


@pytest.mark.parametrize("name", ["engine", *sorted(OWN)])
def test_no_number_of_any_section_takes_a_switch(name: str) -> None:
    model = EngineSections if name == "engine" else plugin_class(name).Config
    places = list(numbers_of(model))
    assert places or name == "function"
    for key, said in places:
        line = f"{'.'.join(map(str, key))}: expected"
        lines = [each for each in told(model, nested(key, True)) if each.startswith(line)]
        others = (
            "a time such as",
            "a size such as",
            "a distance such as",
            "a trial's number",
            "a text",
        )
        if said is None:
            assert lines == [], key
        else:
            assert len(lines) == 1, key
            assert lines[0].endswith("got true"), key
            assert said in lines[0] or any(each in lines[0] for each in others), key


@pytest.mark.usefixtures("toy")
def test_a_plug_in_of_others_takes_no_switch_for_a_number(
    write_config: Callable[..., Path],
) -> None:
    data = {"targets": [1, True], "width": True, "told": True}
    with pytest.raises(InputError) as caught:
        load_config(write_config(plugin="toy", data=data, search_space={"x": {}}))
    lines = [line.split(": ", 1)[1] for line in str(caught.value).splitlines()]
    assert lines == [
        "data.targets.1: expected a number, got true",
        "data.width: expected a whole number, got true",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"limits": {"memory": False}}, "expected a size such as 4GB or 500MB, got false"),
        ({"limits": {"memory": ["4GB"]}}, "expected a size such as 4GB or 500MB, got ['4GB']"),
        ({"study": {"timeout": True}}, "expected a time such as 90s, 30m or 2h, got true"),
        ({"study": {"name": False}}, "study.name: expected a text, got false"),
        ({"study": {"name": 5}}, "study.name: expected a text, got 5"),
        ({"timing": {"mode": True}}, "timing.mode: expected 'run' or 'process', got true"),
        ({"out": True}, "out: expected a path, got true"),
        ({"plugin": False}, "plugin: expected a text, got false"),
        ({"tracking": True}, "tracking: expected a mapping, got true"),
    ],
)
def test_a_switch_is_told_what_else_is_expected(line: dict[str, Any], said: str) -> None:
    (found,) = told(EngineSections, {"plugin": "toy", **line})
    assert said in found


def test_options_take_no_switch_for_a_number() -> None:
    def simulate(folder: Path, *, seed: int, points: int = 5, noisy: bool = False) -> None: ...

    known = options_of(simulate)
    with pytest.raises(InputError, match="option 'points': expected a whole number, got true"):
        checked_options("simulator 'a'", known, {"points": True})
    assert checked_options("simulator 'a'", known, {"noisy": True}) == {"noisy": True}
    pytest.importorskip("distributed", reason="Dask is an extra")
    with pytest.raises(InputError, match="option 'workers': expected a whole number, got false"):
        executor("dask", {"workers": False})

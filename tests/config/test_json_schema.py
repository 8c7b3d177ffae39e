"""The schema accepts what `tuner validate` accepts, and refuses every bad file that it can see."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.config.test_load import BAD, GOOD
from tuner.config.json_schema import schema_of
from tuner.config.yaml import read_yaml
from tuner.plugin import InputError
from tuner.plugin.registry import plugin_class

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))

UNSEEN = {
    *("has no option 'sede'", "no such file or folder", "x.high: expected a finite"),
    "x.low: expected a finite numb",
    *("expected a finite number", "expected a finite number, got nan"),
    *("expected low < high", "search_space.x", "the search space is empty"),
    *("at most 1000 in size", "at most 1, got 2", "has no step", "expected low < high, got 9.0"),
    *("expected low > 0 on", "study.timeout: expected more than 0"),
    *("study.timeout: expected a finite number", "study.name: the environment variable 'NO_SUC"),
}
"""Faults that take the data, the environment, or two keys at once."""


@cache
def validator_of(name: str) -> Draft202012Validator:
    schema = schema_of(plugin_class(name))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(("change", "line", "expected"), BAD)
def test_bad_files_are_refused_where_a_schema_can_see_it(
    tmp_path: Path, change: tuple[str, str], line: int, expected: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(GOOD.replace(*change))
    try:
        data = read_yaml(path).raw
    except InputError:  # no YAML, a key given twice, a variable that is not set
        return
    assert validator_of("toy").is_valid(data) == (expected in UNSEEN)


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    "change",
    [
        ("", ""),
        ("trials: 5", "trials: '${TRIALS}'"),
        ("timeout: 30m", "timeout: 1.5 H"),
        ("sampler: tpe", "sampler: {name: tpe, n_startup_trials: 3}"),
        ("sampler: tpe", "sampler: TPESampler"),
        ("sampler: tpe", "sampler: 'package.module:Class'"),
        ("x: {low: -1, high: 4}", "x: {}"),
        ("x: {low: -1, high: 4}", "mode: [fine, raise]"),
        ("x: {low: -1, high: 4}", "x: {low: 1, log: true}\n  size: 3\n  mode: fine"),
        ("name: first", "name: 'screen (1)'"),
        ("objective: score", "objective: [fit, time]\nlimits: {memory: 4GB, case_time: 5}"),
        ("objective: score", "executor: {kind: local, more: 1}\nexport: {path: a.py}"),
    ],
)
def test_good_files_are_accepted(change: tuple[str, str]) -> None:
    errors = validator_of("toy").iter_errors(yaml.safe_load(GOOD.replace(*change)))
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_name_their_schema_and_keep_it(path: Path) -> None:
    data = read_yaml(path).raw
    first = path.read_text().splitlines()[0]
    schema = CONFIGS / "schema" / f"{data['plugin']}.json"
    assert first == f"# yaml-language-server: $schema=schema/{schema.name}"
    kept = Draft202012Validator(json.loads(schema.read_text()))
    assert [error.message for error in kept.iter_errors(data)] == []
    assert not kept.is_valid({**data, "studdy": {}})


@pytest.mark.parametrize("name", ["command", "elasticnet", "function", "nmf"])
def test_the_shipped_schemas_are_of_now(name: str) -> None:
    """`make schemas` writes them; titles and order differ between versions of pydantic."""
    kept = json.loads((CONFIGS / "schema" / f"{name}.json").read_text())
    assert keys(kept) == keys(json.loads(json.dumps(schema_of(plugin_class(name)))))


def keys(node: Any, place: str = "") -> set[str]:
    if isinstance(node, list):
        return set().union(*(keys(inner, place) for inner in node))
    if not isinstance(node, dict):
        return set()
    found = {f"{place}.{name}" for name in node.get("properties", {})}
    return found.union(*(keys(inner, f"{place}.{name}") for name, inner in node.items()))


def test_every_key_of_the_engine_and_of_the_plug_ins_is_described() -> None:
    schema = schema_of(plugin_class("nmf"))
    data = schema["$defs"]["DataSection"]["properties"]
    assert data["tss_window"]["description"].startswith("Bases on either side")
    space = schema["properties"]["search_space"]["anyOf"][0]["properties"]
    assert space["resolution"]["description"].endswith("(bases)")

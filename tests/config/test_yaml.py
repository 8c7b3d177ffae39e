"""A configuration that is no configuration: one line with its place, in no time, nothing run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuner.config.yaml import read_yaml
from tuner.plugin import InputError


def laughs(depth: int) -> str:
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    return "\n".join([*lines, "plugin: toy\n"])


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (laughs(10), 6, "more than 50000 values, aliases written out"),
        ("plugin: toy\ndata: &a [*a]\n", 2, "'*a' stands within itself"),
        ("plugin: toy\ndata: &a {x: [*a]}\n", 2, "'*a' stands within itself"),
        ("plugin: toy\ndata: " + "[" * 5000 + "]" * 5000, 2, "more than 32 levels"),
        ("plugin: toy\n" + "".join(" " * i + "a:\n" for i in range(1000)), 34, "32 levels"),
        ("plugin: toy\ndata: a\x00b\n", 2, "the character U+0000 is none that"),
        ("plugin: toy\nseed: " + "9" * 5000, 2, "cannot read the value '99999999999999999999'"),
        ('plugin: toy\nname: "\\ud800"\n', 2, "half a character"),
        ("plugin: toy\nx: !!python/object/apply:os.system ['touch ran']\n", 2, "got 'tag:yaml.org"),
        ("plugin: toy\nx: !!binary abcd\n", 2, "expected a text, a number, a list or a mapping"),
        ("plugin: toy\n1: 2\n", 2, "expected the name of a section, got 1"),
        ("plugin: toy\n---\nplugin: toy\n", 2, "another document"),
        ("plugin: toy\n? [a]\n: 2\n", 2, "unhashable key"),
    ],
)
def test_one_line_with_its_place(workplace: Path, text: str, line: int, expected: str) -> None:
    path = workplace / "study.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    assert f"study.yaml, line {line}: " in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (workplace / "ran").exists()


def test_aliases_within_bounds_are_read(workplace: Path) -> None:
    path = workplace / "study.yaml"
    path.write_text("plugin: toy\nb: &b {seed: 1}\nstudy: {<<: *b, trials: 2}\nc: [*b, *b]\n")
    read = read_yaml(path).data
    assert read["study"] == {"seed": 1, "trials": 2}
    assert read["c"] == [{"seed": 1}] * 2


@pytest.mark.parametrize("device", ["/dev/zero", "big.yaml"])
def test_what_has_no_end_is_not_read_to_it(workplace: Path, device: str) -> None:
    (workplace / "big.yaml").write_text("k: 1.0\n" * 200_000)
    with pytest.raises(InputError, match="at most 1 MB"):
        read_yaml(Path(device))


def test_a_byte_order_mark_and_windows_lines_are_read(workplace: Path) -> None:
    path = workplace / "study.yaml"
    path.write_bytes("\ufeffplugin: toy\r\nx: |\r\n  a\r\n  b\r\n".encode())
    assert read_yaml(path).data == {"plugin": "toy", "x": "a\nb\n"}


def test_variables_are_filled_in_and_kept_as_written(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    monkeypatch.delenv("UNSET", raising=False)
    path = workplace / "study.yaml"
    path.write_text("plugin: toy\nstudy:\n  storage: a://u:${SECRET}@h\n  x: [1, '${SECRET}']\n")
    read = read_yaml(path)
    assert read.data["study"] == {"storage": "a://u:s3cret@h", "x": [1, "s3cret"]}
    assert read.raw["study"] == {"storage": "a://u:${SECRET}@h", "x": [1, "${SECRET}"]}
    with pytest.raises(InputError, match=r"^--set study.x=\$\{UNSET\}: study\.x: the environment"):
        read_yaml(path, ["study.x=${UNSET}"])
    os.environ.pop("SECRET")
    with pytest.raises(InputError, match=r"line 3: study\.storage: the environment variable 'SEC"):
        read_yaml(path)


def test_minutes_and_seconds_are_no_number(workplace: Path) -> None:
    """YAML 1.1 reads 1:30 as 90, and 1:30.5 as 90.5."""
    path = workplace / "study.yaml"
    path.write_text("timeout: 1:30\nother: 1:30.5\nplain: 90\n")
    assert read_yaml(path).data == {"timeout": "1:30", "other": "1:30.5", "plain": 90}


def test_a_folder_and_a_file_without_permission_are_one_plain_line(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"^\. is a folder; give the path of a YAML file$"):
        read_yaml(Path())

    def refuse(path: Path, mode: str) -> None:  # root may read all
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"^cannot read a\.yaml: Permission denied; give a YAML"):
        read_yaml(Path("a.yaml"))

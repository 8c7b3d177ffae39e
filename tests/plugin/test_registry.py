"""Plug-ins and simulators by name, and what of theirs is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.plugin import InputError
from tuner.plugin.registry import installed, plugin_class, remedy_for, simulator

METADATA = """\
Metadata-Version: 2.1
Name: Plugged-In
Version: 2.0
Requires-Dist: numpy
Requires-Dist: absent-by-platform; sys_platform == "nowhere"
Provides-Extra: small
Requires-Dist: absent-one; extra == "small"
Provides-Extra: large
Requires-Dist: absent-one; extra == "large"
Requires-Dist: Absent.Two; extra == "large"
Provides-Extra: whole
Requires-Dist: scipy; extra == "whole"
"""
ENTRY_POINTS = """\
[tuner.plugins]
lacking = plugged:Lacking [large]
whole = plugged:Whole [whole]
late = plugged_late:Late
[tuner.simulators]
lacking = plugged:simulate [small]
"""


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "plugged.py").write_text(
        "from tuner.plugin import Plugin\n"
        "class Lacking(Plugin): pass\n"
        "class Whole(Plugin): pass\n"
        "def simulate(folder, *, seed): raise AssertionError\n"
    )
    (tmp_path / "plugged_late.py").write_text("import absent_one.part\n")
    info = tmp_path / "plugged_in-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_what_is_missing_is_named_with_the_extra_that_has_it(plugged: Path) -> None:
    with pytest.raises(InputError) as caught:
        plugin_class("lacking")
    assert str(caught.value) == (
        "plug-in 'lacking' (Plugged-In, plugged:Lacking) needs the packages absent-one, "
        "Absent.Two, not installed: "
        'pip install "Plugged-In[large]"'
    )
    with pytest.raises(InputError, match=r"the package absent-one, .*Plugged-In\[small\]"):
        simulator("lacking")
    with pytest.raises(InputError, match=r"plugged:Whole\) lacks"):  # not a package: it was loaded
        plugin_class("whole")


def test_an_import_that_fails_later_is_named_with_the_smallest_extra(plugged: Path) -> None:
    with pytest.raises(InputError, match=r"'absent_one'.*pip install .Plugged-In\[small\]"):
        plugin_class("late")
    assert remedy_for("absent_two") == 'pip install "Plugged-In[large]"'
    assert remedy_for("absent_one.part") == 'pip install "Plugged-In[small]"'
    assert remedy_for("numpy") is None
    assert remedy_for("scanpy") == 'pip install "tunefreeze[perturbseq]"'
    assert remedy_for("pyBigWig") == 'pip install "tunefreeze[nmf]"'
    assert remedy_for("h5py") == 'pip install "tunefreeze[elasticnet]"'


def test_the_list_marks_what_cannot_be_used(plugged: Path) -> None:
    entries = {entry.name: entry for entry in installed()}
    assert entries["lacking"].missing == ("absent-one", "Absent.Two")
    assert entries["lacking"].target == "plugged:Lacking"
    assert entries["nmf"].missing == ()
    command = [sys.executable, "-m", "tuner", "plugins"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = 'lacking needs absent-one, Absent.Two, not installed: pip install "Plugged-In[large]"'
    assert line in shown.splitlines()
    assert "whole needs" not in shown
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    missing = {entry["name"]: entry["missing"] for entry in json.loads(done.stdout)}
    assert missing["whole"] == []
    assert missing["lacking"] == ["absent-one", "Absent.Two"]


def test_a_simulator_that_lacks_a_package_is_one_line_and_exit_code_2(plugged: Path) -> None:
    config = plugged / "study.yaml"
    config.write_text("plugin: lacking\nsimulate: {folder: data, seed: 1}\n")
    command = [sys.executable, "-m", "tuner", "validate", str(config)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "tuner: simulator 'lacking' (Plugged-In, plugged:simulate) needs the package absent-one, "
        'not installed: pip install "Plugged-In[small]"\n'
    )

"""What programs take is measured over all their processes, and none is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tuner_plugins.command.host import KEPT_BYTES
from tuner_plugins.command.programs import (
    Call,
    Finished,
    ProgramError,
    Programs,
    require_success,
)

from tuner.measure.stopwatch import tells_waiting


@pytest.fixture
def programs() -> Iterator[Programs]:
    found = Programs()
    yield found
    found.close()


def shell(programs: Programs, text: str, folder: Path, stdout: str | None = None) -> Finished:
    return programs.run(Call("/bin/sh", ["sh", "-c", text], folder, dict(os.environ), stdout))


def test_it_tells_how_a_program_ended_and_what_it_wrote(programs: Programs, tmp_path: Path) -> None:
    found = shell(programs, "pwd; echo trouble >&2; exit 3", tmp_path)
    assert (found.code, found.stdout, found.stderr) == (3, f"{tmp_path}\n", "trouble\n")
    with pytest.raises(ProgramError, match="(?s)sort ended with exit code 3:\ntrouble"):
        require_success("sort", found)
    require_success("sort", found, (0, 3))
    killed = shell(programs, "kill -9 $$", tmp_path)
    with pytest.raises(ProgramError, match=r"sort ended with signal 9 \(SIGKILL\)"):
        require_success("sort", killed)


PASSES_ON = r"import subprocess, sys; sys.exit(subprocess.call(['sh', '-c', 'kill -9 \$\$']))"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sh -c 'kill -9 $$'; exit $?",
            r"exit code 137 \(128 \+ 9, perhaps for .* SIGKILL\)",
        ),
        ("sh -c 'kill -15 $$'; exit $?", r"exit code 143 \(128 \+ 15, perhaps for .* SIGTERM\)"),
        (
            f'"$PYTHON" -c "{PASSES_ON}"',
            r"exit code 247 \(256 - 9, perhaps for .* SIGKILL\)",
        ),
        ("exit 255", "exit code 255$"),
        ("exit 127", "exit code 127$"),
    ],
)
def test_a_signal_that_a_program_passes_on_is_told(
    programs: Programs, tmp_path: Path, text: str, said: str
) -> None:
    """A shell says 128 + 9 of a command that was killed, and Python's sys.exit(-9) is 256 - 9."""
    text = text.replace("$PYTHON", sys.executable)
    found = shell(programs, text, tmp_path)
    with pytest.raises(ProgramError, match=f"sort ended with {said}"):
        require_success("sort", found)


def test_standard_output_goes_to_a_file(programs: Programs, tmp_path: Path) -> None:
    assert shell(programs, "cat; echo hello", tmp_path, str(tmp_path / "out")).stdout == ""
    assert (tmp_path / "out").read_text() == "hello\n"


def test_the_end_is_kept_of_a_gigabyte(programs: Programs, tmp_path: Path) -> None:
    found = shell(programs, "head -c 1000000000 /dev/zero; echo the end", tmp_path)
    assert found.stdout_bytes == 1_000_000_008
    assert found.stdout.endswith("\0the end\n")
    assert len(found.stdout) == KEPT_BYTES


def test_bytes_that_come_with_the_end_are_counted(programs: Programs, tmp_path: Path) -> None:
    program = shutil.which("printf")
    assert program is not None
    call = Call(program, ["printf", "hello\n"], tmp_path, dict(os.environ), None)
    found = [programs.run(call) for _ in range(300)]  # in some of which the end is seen first
    assert {(each.stdout_bytes, each.stdout) for each in found} == {(6, "hello\n")}


def test_what_a_program_leaves_is_ended_and_its_cpu_time_counted(
    programs: Programs, tmp_path: Path
) -> None:
    spin = f"{sys.executable} -S -c 'while True: pass' & echo $!; sleep 0.5"
    left = f"setsid {sys.executable} -S -c 'import time; time.sleep(900)' & echo $!"
    found = shell(programs, f"{spin}; {left}", tmp_path)
    assert found.code == 0
    assert len(found.stdout.split()) == 2
    assert not any(psutil.pid_exists(int(text)) for text in found.stdout.split())
    assert found.cpu_seconds > 0.01


def test_memory_is_that_of_all_processes_together(programs: Programs, tmp_path: Path) -> None:
    hold = f'{sys.executable} -S -c \'x = bytearray(60_000_000); open("{{}}", "w"); input()\''
    each = "; ".join(f"sleep 900 | {hold.format(name)} &" for name in "abc").replace("&;", "&")
    wait = "while [ ! -e a ] || [ ! -e b ] || [ ! -e c ]; do sleep 0.1; done; sleep 1"
    found = shell(programs, f"{each}\n{wait}", tmp_path)
    assert 180e6 < found.memory < 300e6
    alone = shell(programs, hold.format("d"), tmp_path)
    assert 60e6 < alone.memory < 100e6


@pytest.mark.skipif(not tells_waiting(), reason="the kernel does not say who waited")
def test_what_a_child_waits_is_waited(programs: Programs, tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    spinner = psutil.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        busy = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
        found = shell(programs, f"{sys.executable} -S -c '{busy}'; true", tmp_path)
    finally:
        os.sched_setaffinity(0, cores)
        spinner.kill()
        spinner.wait()
    assert 0.2 * found.seconds < found.waited < found.seconds - 0.2


def test_a_program_that_is_not_there_is_told(programs: Programs, tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="gone cannot be started: No such file"):
        programs.run(Call(str(tmp_path / "gone"), ["gone"], tmp_path, {}))
    with pytest.raises(ProgramError, match="gone cannot be started: embedded null byte"):
        programs.run(Call("/bin/sh", ["gone", "\0"], tmp_path, {}))
    with pytest.raises(ProgramError, match="gone cannot be started: No such file"):
        programs.run(Call("/bin/sh", ["gone"], tmp_path / "no folder", {}))


def test_one_that_kills_what_runs_it_fails_alone(programs: Programs, tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="the process that ran it is gone"):
        shell(programs, "kill -9 $PPID", tmp_path)
    assert shell(programs, "echo again", tmp_path).stdout == "again\n"


def test_a_group_that_is_signalled_is_the_programs_own(programs: Programs, tmp_path: Path) -> None:
    assert shell(programs, "kill -TERM 0", tmp_path).code == -signal.SIGTERM


def test_a_program_ends_with_whoever_asked(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; "
        "from tuner_plugins.command.programs import Call, Programs; "
        "Programs().run(Call('/bin/sh', ['sh', '-c', 'echo $$ >pid; kill -9 %d; sleep 900'], "
        "Path(sys.argv[1]), {}))"
    )
    code = code.replace("'echo $$ >pid; kill -9 %d; sleep 900'",
                        "f'echo $$ >pid; kill -9 {os.getpid()}; sleep 900'")  # fmt: skip
    started = psutil.Popen([sys.executable, "-c", code, str(tmp_path)])
    assert started.wait(60) == -signal.SIGKILL
    program = int((tmp_path / "pid").read_text())
    if psutil.pid_exists(program):
        psutil.wait_procs([psutil.Process(program)], timeout=20)
    assert not psutil.pid_exists(program)


WITHOUT_PIDFD = "import os; del os.pidfd_open; from tuner_plugins.command import host; host.main()"


def test_without_descriptors_of_processes_the_end_is_told_by_a_signal(
    programs: Programs, tmp_path: Path
) -> None:
    """As on macOS, on Linux before 5.3 and in some sandboxes."""
    programs._host = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_PIDFD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(20):
        assert shell(programs, "exit 3", tmp_path).code == 3
    found = shell(programs, "exec >&- 2>&-; sleep 0.3", tmp_path)
    assert (found.code, found.stdout) == (0, "")
    assert shell(programs, "kill -9 $$", tmp_path).code == -9


def test_the_end_is_told_when_it_comes(programs: Programs, tmp_path: Path) -> None:
    """Of a program that has closed all that is read of it, too."""
    text = "exec >&- 2>&-; sleep 0.31"  # the next look at its memory is at 0.35 s
    assert any(shell(programs, text, tmp_path).seconds < 0.335 for _ in range(30))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of signals on Linux")
@pytest.mark.parametrize("ignored", [(), (signal.SIGHUP, signal.SIGUSR1)])
def test_a_program_begins_with_the_signals_of_who_runs_the_study(
    tmp_path: Path, ignored: tuple[signal.Signals, ...]
) -> None:
    """Those that `nohup` has it ignore are ignored; what Python ignores of itself is not."""
    before = [signal.signal(each, signal.SIG_IGN) for each in ignored]
    programs = Programs()
    try:
        said = programs.run(Call("/bin/cat", ["cat", "/proc/self/status"], tmp_path, {}, None))
    finally:
        programs.close()
        for each, handler in zip(ignored, before, strict=True):
            signal.signal(each, handler)
    found = dict(line.split(":\t") for line in said.stdout.splitlines())
    bits = {each: int(found["SigIgn"], 16) >> each - 1 & 1 for each in signal.valid_signals()}
    assert {each for each, bit in bits.items() if bit} == {*ignored}  # the C library has its own
    assert int(found["SigBlk"], 16) == int(found["SigCgt"], 16) == 0

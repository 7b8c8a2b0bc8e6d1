"""How mutants are tried: the tests are collected once, run once to see who calls what, and then a child is forked for each mutant.

In the child the changed function gets its new code in place, so that everything that refers to it sees it, and the tests that call it run,
the quickest first, until one fails. What is not within a function (a constant, a table, a default) is tried in a process of its own.
"""

import contextlib
import gc
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Final

import pytest

from tests.mutation.mutants import ROOT, Mutant, bare

FIRST_LINE: Final = ("tests/core", "tests/store", "tests/ocpp_client/test_queue.py", "tests/runtime")
"""What is collected."""
SLOWEST_S: Final = 3.0
"""Tests that take longer are left out: they kill processes, or wait for real time."""
OPTIONS: Final = ("-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "--capture=no", "--no-header", "--no-summary")

Key = tuple[str, int, str]
"""A function: file, first line, name."""


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    SURVIVED = "survived"
    UNTESTED = "untested"
    """No test calls it: it survives."""


@dataclass(slots=True)
class Item:
    """A test, how long it takes, and what it calls."""

    item: pytest.Item
    seconds: float = 0.0
    calls: set[Key] = field(default_factory=set)
    is_sound: bool = True


class Server:
    """The plugin that runs the mutants instead of the tests."""

    def __init__(self, mutants: Sequence[Mutant], jobs: int, *, scratch: Path) -> None:
        self._mutants = mutants
        self._jobs = jobs
        self._scratch = scratch
        self._failed = False
        self._in_child = False
        self.fates: list[tuple[Mutant, Fate, str]] = []
        self.tests = 0

    def pytest_configure(self, config: pytest.Config) -> None:
        """The same examples in every child, and no shrinking: a failure is all that is wanted."""
        import hypothesis  # not earlier: pytest rewrites it

        hypothesis.settings.register_profile(
            "mutation",
            deadline=None,
            derandomize=True,
            database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.settings.load_profile("mutation")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In a child the first failure is the end."""
        if report.failed:
            self._failed = True
            if self._in_child:
                os.write(self._tell, report.nodeid.encode()[:2000])
                os._exit(1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Look once, then try every mutant."""
        files = {str(ROOT / mutant.path) for mutant in self._mutants}
        items = [self._watched(item, files) for item in session.items]
        sound = [one for one in items if one.is_sound and one.seconds <= SLOWEST_S]
        self.tests = len(sound)
        by_code: dict[Key, list[FunctionType]] = defaultdict(list)
        for one in gc.get_objects():
            # Not `isinstance`: it asks a weak proxy for what it stood for.
            if type(one) is FunctionType and one.__code__.co_filename in files:
                by_code[_key(one.__code__)].append(one)
        gc.collect()
        gc.freeze()
        self._try_all(sound, by_code)
        return True

    def _watched(self, item: pytest.Item, files: set[str]) -> Item:
        """Run a test and note what it calls of the modules that are changed."""
        found = Item(item)
        known: set[CodeType] = set()

        def profile(frame: FrameType, event: str, _: object) -> None:
            if event == "call" and frame.f_code not in known:
                known.add(frame.f_code)
                if frame.f_code.co_filename in files:
                    found.calls.add(_key(frame.f_code))

        self._failed = False
        threading.setprofile(profile)
        sys.setprofile(profile)
        begun = time.perf_counter()
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type, unused-ignore]
        found.seconds = time.perf_counter() - begun
        found.is_sound = not self._failed
        return found

    # --- trying

    def _try_all(self, items: list[Item], by_code: dict[Key, list[FunctionType]]) -> None:
        waiting = list(self._mutants)[::-1]
        running: dict[int, tuple[Mutant, float, int]] = {}
        done = 0
        while waiting or running:
            while waiting and len(running) < self._jobs:
                mutant = waiting.pop()
                found = self._start(mutant, items, by_code)
                if found is None:
                    self.fates.append((mutant, Fate.UNTESTED, ""))
                    print(f"\nin no test: {mutant.name}", flush=True)
                else:
                    pid, limit_s, pipe = found
                    running[pid] = (mutant, time.monotonic() + limit_s, pipe)
            for pid, (mutant, until, pipe) in list(running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    fate = Fate.SURVIVED if status == 0 else Fate.KILLED
                elif time.monotonic() > until:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    fate = Fate.TIMEOUT
                else:
                    continue
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)  # what a test had started
                text = os.read(pipe, 2000).decode() if select.select([pipe], [], [], 0)[0] else ""
                os.close(pipe)
                del running[pid]
                self.fates.append((mutant, fate, text))
                if fate is Fate.SURVIVED:
                    print(f"\nsurvived: {mutant.name}", flush=True)
                done += 1
                if done % 50 == 0:
                    print(f"{done} of {len(self._mutants)}", file=sys.stderr, flush=True)
            time.sleep(0.005)

    def _start(self, mutant: Mutant, items: list[Item], by_code: dict[Key, list[FunctionType]]) -> tuple[int, float, int] | None:
        """Fork; gives the process, its time limit and a pipe, or None where no test calls what is changed."""
        file = str(ROOT / mutant.path)
        patches = changes(file, mutant.source)
        keys = set() if patches is None else set(patches)
        if patches is None or not all(len(by_code[key]) for key in keys):
            chosen = [one for one in items if any(key[0] == file for key in one.calls) or _names(one.item, file)]
            patches = None
        else:
            chosen = [one for one in items if keys & one.calls]
        if not chosen:
            return None
        chosen.sort(key=lambda one: one.seconds)
        limit_s = 15.0 + 6 * sum(one.seconds for one in chosen)
        read, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write)
            return pid, limit_s, read
        self._tell = write
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        if patches is None:
            self._exec(mutant, file, chosen)
        self._run(patches, by_code, chosen)
        os._exit(0)

    def _run(self, patches: dict[Key, CodeType], by_code: dict[Key, list[FunctionType]], chosen: list[Item]) -> None:
        self._in_child = True
        try:
            for key, code in patches.items():
                for function in by_code[key]:
                    function.__code__ = code
            for one, following in zip(chosen, [*chosen[1:], None], strict=True):
                item = one.item
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None if following is None else following.item)
        except BaseException:  # noqa: BLE001 - whatever it is, it was noticed
            os._exit(2)

    def _exec(self, mutant: Mutant, file: str, chosen: list[Item]) -> None:
        source = self._scratch / f"{os.getpid()}.py"
        source.write_text(mutant.source, encoding="utf-8")
        environment = {
            **os.environ,
            "MUTANT_FILE": file,
            "MUTANT_SOURCE": str(source),
            "MUTANT_MODULE": mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", "."),
        }
        names = [one.item.nodeid for one in chosen]
        command = [sys.executable, "-m", "pytest", "-p", "tests.mutation.planted", "-x", *OPTIONS, f"--basetemp={source}.tmp", *names]
        code = subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
        os._exit(1 if code else 0)


def changes(file: str, source: str) -> dict[Key, CodeType] | None:
    """The functions that a changed module changes, with their new code; None where more than functions' insides has changed."""
    old = compile(Path(file).read_text(encoding="utf-8"), file, "exec")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # `is` with a literal
        new = compile(source, file, "exec")
    found: dict[Key, CodeType] = {}
    return found if _compare(old, new, found) else None


def _compare(old: CodeType, new: CodeType, found: dict[Key, CodeType]) -> bool:
    """Go down through module and class bodies. False where one of these differs itself."""
    olds = [one for one in old.co_consts if isinstance(one, CodeType)]
    news = [one for one in new.co_consts if isinstance(one, CodeType)]
    if _without_code(old) != _without_code(new) or len(olds) != len(news):
        return False
    for before, after in zip(olds, news, strict=True):
        if bare(before) == bare(after):
            continue
        is_function = bool(before.co_flags & 0x2)  # CO_NEWLOCALS
        if is_function:
            if before.co_freevars != after.co_freevars:
                return False
            found[_key(before)] = after
        elif not _compare(before, after, found):
            return False
    return True


def _without_code(code: CodeType) -> CodeType:
    consts = tuple(None if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_consts=consts, co_linetable=b"", co_firstlineno=1)


def _names(item: pytest.Item, file: str) -> bool:
    """Whether the test's module holds the changed module itself: it may look at a constant and call nothing."""
    names = vars(item.module).values() if isinstance(item, pytest.Function) else ()
    return any(isinstance(one, ModuleType) and getattr(one, "__file__", None) == file for one in names)


def _key(code: CodeType) -> Key:
    return (code.co_filename, code.co_firstlineno, code.co_name)


def try_mutants(mutants: Sequence[Mutant], jobs: int) -> Server:
    """Try them all in this process's children."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="mutation-", dir=memory if memory.is_dir() else None, ignore_cleanup_errors=True) as folder:
        server = Server(mutants, jobs, scratch=Path(folder))
        code = pytest.main([*OPTIONS, f"--basetemp={folder}/t", *(str(ROOT / name) for name in FIRST_LINE)], plugins=[server])
        _unmount(folder)
        if not server.fates:
            raise SystemExit(f"mutation: pytest ended with {code} before a mutant was tried")
    return server


def _unmount(folder: str) -> None:
    """A child that was killed may leave a small disk mounted."""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        place = line.split()[1]
        if place.startswith(folder):
            subprocess.run(["umount", "--lazy", place], check=False)

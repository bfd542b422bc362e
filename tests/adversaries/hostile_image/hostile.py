"""One attack a kind. Each ends as if all were well, so that only the host can tell."""

import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

OUTPUT = Path("/output")


def manifest(*names: str, **lies: object) -> None:
    files = []
    for name in names:
        data = (OUTPUT / name).read_bytes()
        files.append({"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **lies})
    (OUTPUT / "manifest.json").write_text(json.dumps({"files": files, "metrics": {}}))


def good() -> None:
    (OUTPUT / "a").write_text("a")
    manifest("a")


def symlink() -> None:
    (OUTPUT / "a").symlink_to("/etc/passwd")
    manifest("a")


def linked_folder() -> None:
    (OUTPUT / "d").symlink_to("/etc")
    manifest("d/passwd")


def hard_link() -> None:
    (OUTPUT / "a").write_text("a")
    os.link(OUTPUT / "a", OUTPUT / "b")
    manifest("a")


def fifo() -> None:
    os.mkfifo(OUTPUT / "a")
    (OUTPUT / "manifest.json").write_text('{"files":[{"path":"a","size":0,"sha256":""}]}')


def escape() -> None:
    good()
    data = {"files": [{"path": "../../../etc/passwd", "size": 1, "sha256": "00" * 32}]}
    (OUTPUT / "manifest.json").write_text(json.dumps(data))


def lie() -> None:
    (OUTPUT / "a").write_text("a")
    manifest("a", sha256="00" * 32)


def no_manifest() -> None:
    (OUTPUT / "a").write_text("a")


def manifest_bomb() -> None:
    (OUTPUT / "manifest.json").write_text("[" * 200_000)


def deep() -> None:
    (OUTPUT / "d" / "e").mkdir(parents=True)
    (OUTPUT / "d" / "e" / "a").write_text("a")
    manifest("d/e/a")


def many() -> None:
    for number in range(100_000):
        (OUTPUT / str(number)).touch()


def fill() -> None:
    for number in range(1000):
        (OUTPUT / str(number)).write_bytes(os.urandom(1 << 20))


def one_large() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    with (OUTPUT / "a").open("wb") as file:
        for _ in range(1000):
            file.write(bytes(1 << 20))


def memory() -> None:
    held = []
    while True:
        held.append(os.urandom(1 << 20))


def flood() -> None:
    while True:
        sys.stdout.write("y" * 1000 + "\n")


def flood_of_tokens() -> None:
    while True:
        sys.stdout.write('{"ev":"tokens","ids":[1]}\n')


def long_line() -> None:
    sys.stdout.write("y" * 100_000)
    sys.stdout.flush()
    time.sleep(60)


def sleep() -> None:
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_IGN)
    sys.stdout.write('{"ev":"ready"}\n')
    time.sleep(600)


def mute_and_stay() -> None:
    sys.stdout.flush()
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    time.sleep(600)


def fork() -> None:
    while True:
        with contextlib.suppress(OSError):
            os.fork()


ATTACKS: dict[str, Callable[[], None]] = {
    attack.__name__: attack
    for attack in (
        *(good, symlink, linked_folder, hard_link, fifo, escape, lie, no_manifest, manifest_bomb, deep, many, fill),
        *(one_large, memory, flood, flood_of_tokens, long_line, sleep, mute_and_stay, fork),
    )
}

if __name__ == "__main__":
    ATTACKS[json.loads(Path("/input/spec.json").read_text())["kind"]]()

"""One attack a kind. Each ends as if all were well, so that only the host can tell."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import stat
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


def bad_name() -> None:
    (OUTPUT / "d" / os.fsdecode(b"\xff\x1b[31m")).mkdir(parents=True)
    good()


def device() -> None:
    try:
        os.mknod(OUTPUT / "a", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        # Not in this sandbox: a socket is the nearest to it that needs no privilege.
        socket.socket(socket.AF_UNIX).bind(str(OUTPUT / "a"))
    (OUTPUT / "manifest.json").write_text('{"files":[{"path":"a","size":0,"sha256":""}]}')


def extra_files() -> None:
    good()
    for name in ("input.json", "run.json", "b"):
        (OUTPUT / name).write_text("not asked for")
    manifest("a", "input.json", "run.json")


def missing_file() -> None:
    good()
    (OUTPUT / "a").unlink()


def wrong_size() -> None:
    (OUTPUT / "a").write_text("a")
    manifest("a", size=2)


def not_json() -> None:
    good()
    (OUTPUT / "manifest.json").write_bytes(os.urandom(1000))


def large_manifest() -> None:
    good()
    (OUTPUT / "manifest.json").write_text('{"files":[' + "1," * 200_000 + "1]}")


def endless_number() -> None:
    good()
    (OUTPUT / "manifest.json").write_text('{"files":[{"path":"a","size":1e999,"sha256":""}]}')


def sparse() -> None:
    # Holes cost the job nothing, and their reader a great deal.
    for number in range(4):
        with (OUTPUT / str(number)).open("wb") as file:
            file.truncate(4 << 20)
    (OUTPUT / "a").write_text("a")
    manifest("a")


def huge_hole() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    with (OUTPUT / "a").open("wb") as file:
        file.truncate(1 << 40)


def nothing() -> None:
    pass


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


def flood_of_errors() -> None:
    while True:
        sys.stderr.write("y" * 1000 + "\n")


def binary() -> None:
    sys.stdout.buffer.write(os.urandom(4000).replace(b"\n", b" ") + b"\n\xff\xfe\n")
    good()


def deep_events() -> None:
    good()
    sys.stdout.write("[" * 4000 + "\n" + '{"ev":' * 500 + "1" + "}" * 500 + "\n")
    sys.stdout.write('{"ev":"tokens","ids":[1e999]}\n{"ev":"done","metrics":{"run_ms":' + "9" * 4000 + "}}\n")


def after_done() -> None:
    good()
    sys.stdout.write('{"ev":"tokens","ids":[1]}\n{"ev":"done","metrics":{"run_ms":7}}\n')
    sys.stdout.write('{"ev":"tokens","ids":[2]}\n{"ev":"done","metrics":{"run_ms":9}}\n')


def hang_after_done() -> None:
    good()
    sys.stdout.write('{"ev":"done","metrics":{}}\n')
    time.sleep(600)


def hidden_oom() -> None:
    # Only a child is killed; the job notices and gives up with a code that would blame its client.
    if (child := os.fork()) == 0:
        memory()
    os.waitpid(child, 0)
    sys.exit(65)


def exit_3() -> None:
    sys.exit(3)


def exit_143() -> None:
    sys.exit(143)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


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


def talker() -> None:
    """Works as long as its input says, with a token every tenth of a second."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    for number in range(int(json.loads(Path("/input/input.json").read_text())["tokens"])):
        sys.stdout.write(f'{{"ev":"tokens","ids":[{number}]}}\n')
        time.sleep(0.1)
    good()
    sys.stdout.write('{"ev":"done","metrics":{"run_ms":7}}\n')


def talk_and_stay() -> None:
    talker()
    time.sleep(600)


def die_half_way() -> None:
    sys.stdout.write('{"ev":"tokens","ids":[0]}\n')
    (OUTPUT / "a").write_text("a")
    time.sleep(2)
    sys.exit(70)


def speak_and_eat() -> None:
    sys.stdout.write('{"ev":"ready"}\n')
    time.sleep(1)
    memory()


def large_answer() -> None:
    """4 MiB, a second after it has said that it is ready."""
    sys.stdout.write('{"ev":"ready"}\n')
    time.sleep(1)
    (OUTPUT / "a").write_bytes(os.urandom(4 << 20))
    manifest("a")


def polite() -> None:
    """Stops when it is asked to, and says that it was."""

    def leave(*_: object) -> None:
        sys.stderr.write("asked to stop\n")
        sys.exit(75)

    signal.signal(signal.SIGTERM, leave)
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
        *(bad_name, device, extra_files, missing_file, wrong_size, not_json, large_manifest, endless_number, sparse),
        *(huge_hole, nothing, flood_of_errors, binary, deep_events, after_done, hang_after_done, hidden_oom),
        *(exit_3, exit_143, kill_self, talker, talk_and_stay, polite, die_half_way, speak_and_eat, large_answer),
    )
}

if __name__ == "__main__":
    ATTACKS[json.loads(Path("/input/spec.json").read_text())["kind"]]()

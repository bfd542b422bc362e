"""The container's entry point, `python -m runner`: one job from /input to /output.

Exit codes: 0 done, 64 bad spec, 65 bad input or model, 70 our own fault, 75 stopped and may be started again.
"""

import errno
import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from .events import emit
from .job import EXIT_INTERNAL, EXIT_RESUMABLE, OUTPUT, BadSpec, Job, Refused, Work, canonical, read_job, write

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main() -> int:
    """Run the job and return the exit code; everything that went wrong is an `error` event first."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        started = time.monotonic()
        job = read_job()
        metrics = _dispatch(job)
        metrics["wall_ms"] = round((time.monotonic() - started) * 1000)
        _write_manifest(metrics)
        emit("done", metrics=metrics)
    except Refused as error:
        emit("error", code=error.code, message=str(error)[:1000], **error.facts)
        return error.exit_code
    except MemoryError:
        emit("error", code="out_of_memory", message="the job needs more memory than it was given")
        return EXIT_INTERNAL
    except OSError as error:
        code = "output_quota" if error.errno in FULL else "internal"
        emit("error", code=code, message=f"{type(error).__name__}: {error}"[:1000])
        return EXIT_INTERNAL
    except Exception as error:  # the last place that can turn a bug into an answer
        emit("error", code="internal", message=f"{type(error).__name__}: {error}"[:1000])
        return EXIT_INTERNAL
    return 0


def _dispatch(job: Job) -> dict[str, object]:
    # Imported late: a bad spec should not wait for an engine, nor llama.cpp for torch.
    if job.kind == "convert":
        from . import convert

        return convert.run(job)
    if job.kind not in ("generate", "serve", "embed", "classify", "check", "calibrate", "noise"):
        raise BadSpec("bad_kind", f"this runner does not know the kind {job.kind[:32]}")
    from . import generate, rules, serve, works
    from .device import device_of

    dtype, device_class = generate.dtype_of(job)
    if job.kind != "serve":
        # Asked before anything is loaded.
        generate.chooser_of(job, rules.ChoiceRules())
    of = _of(job)
    name, loaded = _load(job, dtype, device_of(device_class))
    kinds = works.WORKS[name]
    if job.kind == "serve":
        return serve.run(job, loaded, kinds)
    if job.kind == "generate":
        return generate.run(job, loaded)
    if work := kinds.get((job.kind, of)):
        return _to_its_end(work(job, loaded))
    from . import calibrate, noise

    return {"calibrate": calibrate.run, "noise": noise.run}[job.kind](job, loaded)


def _load(job: Job, dtype: str, device: str) -> tuple[str, Any]:
    """Load the model with the engine that the task names. Returns: the engine that it is, and the model.

    Where llama.cpp cannot run the model, torch does; a container that serves says so, for its node has one of torch.
    """
    from .engine import LLAMA, TORCH, Unfit

    path = Path(os.environ["MODEL_PATH"])
    if job.params.get("engine", TORCH) == LLAMA:
        from .llama import engine

        try:
            return LLAMA, engine.load(path, dtype, device)
        except Unfit as error:
            if job.kind == "serve":
                raise BadSpec("unfit_engine", str(error)) from error
            print(f"{LLAMA} is left out: {error}"[:1000], file=sys.stderr, flush=True)
    from . import model

    try:
        return TORCH, model.load(path, dtype, device)
    except Unfit as error:
        # There is no other engine to go to.
        raise BadSpec("no_device", str(error)) from error


def _to_its_end(work: Work) -> dict[str, object]:
    """Work that has the container for itself: says when its input is understood, and returns what it took."""
    read = next(work)
    assert read is not None
    emit("ready", prompt_tokens=read.prompt_tokens)
    started = time.monotonic()
    for _ in work:
        pass
    return {**read._asdict(), "run_ms": round((time.monotonic() - started) * 1000)}


def _of(job: Job) -> str:
    """The kind of the result that is made or checked."""
    return job.text("of", ("generate", "embed", "classify")) if job.kind == "check" else job.kind


def _write_manifest(metrics: dict[str, object]) -> None:
    """manifest.json comes last: where it is missing, the job did not finish."""
    files = []
    for path in sorted(p for p in OUTPUT.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        files.append({"path": path.relative_to(OUTPUT).as_posix(), "size": path.stat().st_size, "sha256": sha256})
    version = os.environ.get("VCOIN_RUNTIME", "")
    write("manifest.json", canonical({"files": files, "metrics": metrics, "runner_version": version}))


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(EXIT_RESUMABLE)


if __name__ == "__main__":
    sys.exit(main())

"""`vcoin calibrate`: measure a model's honest noise on this machine, and what its substitutes look like beside it."""

import contextlib
import json as plain_json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from node.api.faults import Exit, Fault
from node.cli.ui import output
from node.cli.ui.options import COMMON, Common, Flag
from node.cli.ui.settings import config_of

if TYPE_CHECKING:
    from executor.models import ModelStore
    from node.calibration.plan import Extent
    from protocol.stages.blob import ModelManifest
    from protocol.stages.verification import Calibration

RUNS, QUICK_RUNS = 1_500, 96
LEAST_RUNS, RUNS_PER_SUBSTITUTE, MOST_TOKENS = 24, 12, 4_096
LENGTHS = (16, 64, 256)


def calibrate(
    *,
    model: str,
    class_: Annotated[tuple[int, ...], Parameter(name="--class", metavar="ID", negative="")] = (),
    runs: int | None = None,
    substitutes: int | None = None,
    quick: Flag = False,
    length: Annotated[tuple[int, ...], Parameter(metavar="TOKENS", negative="")] = LENGTHS,
    work: Path | None = None,
    out: Annotated[Path | None, Parameter(name="--output", metavar="FILE")] = None,
    compare: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    common: Common = COMMON,
) -> int:
    """Measure how far honest checks of a model lie from honest runs, propose constants, and say what they catch.

    Runs the model in containers: as honest nodes differ, and as dishonest ones would replace it. Half of the prompts
    make the constants, the others confirm them. An interrupted measurement goes on where it was. Exit code 1 if the
    constants are not confirmed, or if --compare finds a difference.

    Parameters
    ----------
    model
        The id of a model in the content store, or the beginning of it, or its name.
    class_
        A device class; again for another one. Nothing: all in which this processor runs the model.
    runs
        Honest answers of each class; nothing: 1,500, which show a rate of at most 0.2 %.
    substitutes
        Answers of each substitute; nothing: a twelfth of the honest ones.
    quick
        96 honest answers: a first look.
    length
        In tokens, at which rates are told; again for another one.
    work
        Where the results of each part are kept; nothing: calibration/ in the data directory.
    out
        Write all of it there, as JSON: what --compare of another node reads.
    compare
        What another node has written: say where this one's counts differ beyond chance. As much as there is measured.
    """
    theirs = _read(compare) if compare else None
    if theirs:
        runs, substitutes, length = theirs["runs"], theirs["substitutes"], tuple(theirs["lengths"])
    found = _measure(model, class_, _extent(runs or (QUICK_RUNS if quick else RUNS), substitutes, length), work, common)
    if out:
        out.write_text(plain_json.dumps(found, indent=1, sort_keys=True) + "\n")
    differences, uncompared = _compared(found, theirs) if theirs else ([], [])
    if common.json:
        compared = {"differences": differences, "uncompared": uncompared} if theirs else {}
        output.as_json({**found, **compared})
    else:
        output.data(shown(found))
        output.data(["", *(differences or ["no difference beyond chance"])] if theirs else [])
        output.data([f"{len(uncompared)} rows were not measured there"] if uncompared else [])
    from node.calibration.campaign import is_confirmed

    if not is_confirmed(found):
        output.error(
            "too many held-out honest answers do not pass by the proposed constants", "measure with more --runs"
        )
        return Exit.FAILED
    return Exit.FAILED if differences else Exit.OK


def _extent(runs: int, substitutes: int | None, lengths: tuple[int, ...]) -> "Extent":
    from node.calibration.plan import Extent

    extent = Extent(runs, substitutes or max(2, runs // RUNS_PER_SUBSTITUTE), tuple(sorted(set(lengths))))
    if runs < LEAST_RUNS or extent.substitutes < 2 or not lengths or min(lengths) < 1 or max(lengths) > MOST_TOKENS:
        raise Fault("bad_request", f"at least {LEAST_RUNS} runs and 2 substitutes, of 1 to {MOST_TOKENS} tokens")
    return extent


def _measure(
    model: str, classes: tuple[int, ...], extent: "Extent", work: Path | None, common: Common
) -> dict[str, Any]:
    from chain.calibration.files import packaged_for
    from executor import devices, images
    from executor.containers.engine import Engine
    from executor.models import ModelStore
    from node.calibration.campaign import measure
    from node.calibration.measuring import MeasuringBench

    config = config_of(common.data_dir)
    models = ModelStore(config.executor.store)
    manifest = _model(models, model)
    present = devices.class_ids_for(manifest.dtype)
    if unknown := set(classes) - set(present):
        raise Fault("bad_request", f"this processor does not run {manifest.name} in class {min(unknown)}")
    host = config.executor.docker_host
    home = work or config.node.data_dir / "calibration"
    folder = home / manifest.cid.hex()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    packaged = packaged_for(manifest.cid)
    deployed: dict[int, Calibration] = {}
    if packaged:
        deployed = {class_id: noise.calibration for class_id, noise in packaged.classes.items()}
    with contextlib.closing(Engine("calibrate", host)) as engine:
        bench = MeasuringBench(engine, config.executor.image or images.find(host), models, manifest.cid, folder)
        weights = packaged.act_weights if packaged else None
        campaign = measure(bench, classes or tuple(present), extent, output.words, weights)
    return campaign.report({key: deployed[key] for key in campaign.classes if key in deployed})


def _model(models: "ModelStore", wanted: str) -> "ModelManifest":
    found = [each for each in models.manifests() if each.cid.hex().startswith(wanted) or each.name == wanted]
    if not found:
        raise Fault("unknown_model", f"no model {wanted} in the content store", "vcoin model add PATH")
    if len(found) > 1:
        raise Fault("ambiguous", f"{len(found)} models are called {wanted}", "give more of the id")
    return found[0]


def _read(path: Path) -> dict[str, Any]:
    """The file that another node has written. Raises: Fault bad_request."""
    try:
        found: dict[str, Any] = plain_json.loads(path.read_text())
        numbers = (found["runs"], found["substitutes"], *found["lengths"])
        if found["v"] == 1 and all(type(each) is int for each in numbers):
            return found
    except OSError as error:
        raise Fault("bad_request", f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise Fault("bad_request", f"{path} is not what vcoin calibrate --output writes")


def _compared(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Differences, and what could not be compared. Raises: Fault bad_request."""
    from node.calibration import report

    try:
        return report.differences(ours, theirs), report.uncompared(ours, theirs)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Fault("bad_request", f"the other node's report lacks or misstates {error}") from error


def shown(found: Mapping[str, Any]) -> Iterator[str]:
    """A report as a person reads it."""
    yield from output.pairs([("model", found["manifest"]), ("runner", found["runtime"])])
    for class_id, each in found["classes"].items():
        yield ""
        yield from _constants(class_id, each)
    from node.calibration.report import in_words, key_of, share

    deployed = {key_of(row): share(row) for row in found["deployed_rates"]}
    head = ("class", "seen by", "who answers", "temperature", "tokens", "n", "not passed", "95 %", "now deployed")
    yield ""
    yield from output.table(head, [(*in_words(row), deployed.get(key_of(row), "")) for row in found["rates"]])


def _constants(class_id: str, each: Mapping[str, Any]) -> Iterator[str]:
    kept, proposed, now = each["held_out"], each["proposed"], each.get("deployed", {})
    yield f"class {class_id}: {kept['not_passed']} of {kept['n']} held-out honest answers do not pass"
    head = ("ppm", "d0", "d1", "deployed d0", "deployed d1")
    terms = ("act", "chunk", "tok", "worst")
    yield from output.table(head, [(t, *map(str, proposed[t]), *map(str, now.get(t, ("", "")))) for t in terms])
    margins = proposed.get("margins")
    if margins:
        yield f"margins from {margins['edges']} ppm on score {margins['scores']} thousandths of a nat"
        for name, alarm in each["alarms"].items():
            yield (
                f"{name}, with the fingerprint of a true pass: {alarm['within_1024_ppm'] / 10_000:.1f} % found within "
                f"1,024 checked tokens, half of them after {alarm['median_tokens']:,}; after honest cases "
                f"{alarm['later']['within_1024_ppm'] / 10_000:.1f} % and {alarm['later']['median_tokens']:,}"
            )

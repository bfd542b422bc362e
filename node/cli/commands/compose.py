"""`vcoin node compose`: the inference profile of this node as a compose file, and what an edit of it made weaker."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.api.faults import Exit, Fault, unknown_model
from node.cli.ui import output
from node.cli.ui.options import COMMON, Common
from node.cli.ui.settings import config_of

if TYPE_CHECKING:
    from executor.compose.profile import InferenceProfile
    from node.config import ExecutorConfig


def compose(
    *,
    model: str = "",
    card: str = "",
    out: Annotated[Path | None, Parameter(name="--output", metavar="FILE")] = None,
    check: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    common: Common = COMMON,
) -> int:
    """Print the inference profile of this node as a file for docker compose, or compare an edited one with it.

    The file starts the runner's image without a node, under the controls and limits of the node's sandbox. Exit code 1
    if --check finds a field that is weaker; each has a line.

    Parameters
    ----------
    model
        The id of a model in the content store, or its name; nothing: the variable MODEL_NAME says it.
    card
        The UUID of a card, as nvidia-smi -L shows it; nothing: no card.
    out
        Write the file there, where none is yet; nothing: to stdout.
    check
        A compose file; docker compose reads it with its variables, so set them as for docker compose up.
    """
    if check is not None and (model or card or out):
        raise Fault("bad_request", "--check compares a file and writes none", "leave out --model, --card and --output")
    profile = _profile(config_of(common.data_dir).executor, model, card)
    if check is not None:
        return _check(check, profile, common)

    from executor.compose.profile import compose_file

    text = compose_file(profile)
    if out is not None:
        _write(out, text)
        output.words(f"wrote {out}; put input and output beside it, then docker compose --file {out} up")
    return output.show(common.json, {"file": text}, lambda: () if out else text.splitlines())


def _write(path: Path, text: str) -> None:
    """Raises: Fault bad_request where there is a file: it may have been edited, or be something else."""
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError as error:
        raise Fault("bad_request", f"there is a file {path} already", "give another name, or remove it") from error


def _check(path: Path, profile: "InferenceProfile", common: Common) -> int:
    from executor.compose.reading import BadComposeFile, check_file, own_environment

    if not path.is_file():
        raise Fault("not_found", f"there is no file {path}", "vcoin node compose --output FILE writes one")
    try:
        weak = check_file(path, profile, own_environment())
    except BadComposeFile as error:
        raise Fault("bad_request", str(error), "vcoin node compose prints the reference") from error
    rows = [(each.name, each.expected, each.found) for each in weak]
    plain = [{"field": name, "expected": expected, "found": found} for name, expected, found in rows]
    output.show(
        common.json, {"weaker": plain}, lambda: output.table(("field", "expected", "found"), rows) if rows else ()
    )
    if not common.json:
        output.words(f"{len(rows)} fields are weaker than the sandbox" if rows else "as strong as the sandbox")
    return Exit.FAILED if rows else Exit.OK


def _profile(settings: "ExecutorConfig", model: str, card: str) -> "InferenceProfile":
    from executor import images
    from executor.compose.profile import InferenceProfile
    from executor.containers.sandbox import Limits

    return InferenceProfile(
        image=settings.image or images.inference_tag(),
        limits=Limits(memory_bytes=settings.memory, cpu_millis=round(settings.cpus * 1000)),
        models=str(settings.store / "models"),
        model=_folder_of(settings, model) if model else "",
        card=_card(card) if card else "",
        runtime=settings.runtime,
    )


def _folder_of(settings: "ExecutorConfig", model: str) -> str:
    """The name of a model's folder in the store. Raises: Fault unknown_model."""
    from executor.models import ModelStore

    known = ModelStore(settings.store).manifests()
    found = [each for each in known if model == each.name or each.cid.hex().startswith(model)]
    if len(found) != 1:
        raise unknown_model(model, tuple(each.name for each in known))
    return found[0].cid.hex()


def _card(text: str) -> str:
    from executor.compose.profile import CARD

    if not CARD.fullmatch(text):
        raise Fault("bad_request", f"{text!r} is no UUID of a card", "nvidia-smi -L shows them: GPU-... or MIG-...")
    return text

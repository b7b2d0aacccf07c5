"""The bundle: a model saved as a folder, with everything that is needed to predict and explain, and without code.

Its files are ``config.json`` (network, classes, method), ``model.safetensors`` (weights), ``prototypes.json`` (source
of each prototype) and ``prototypes/*.png`` (image crops of the sources).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, overload

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.files import replacing_folder
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.prototypes import PrototypeLayer
from scaleprotoseg.model.source import Source

FORMAT = 1
"""Version of the file format."""

WEIGHTS = "model.safetensors"

_Kind = TypeVar("_Kind", bound=Network)


def save(network: Network, folder: str | Path) -> None:
    """Write a network as a bundle; an existing folder is replaced.

    Args:
        network: Any network.
        folder: Folder of the bundle; its parents are created.

    Raises:
        UserError: If the folder cannot be written.
    """
    with replacing_folder(Path(folder)) as new:
        write(network, new)


def write(network: Network, folder: Path) -> None:
    """Write the files of a bundle into an existing folder.

    Raises:
        UserError: If the folder cannot be written.
    """
    config = {
        "format": FORMAT,
        "library": "scaleprotoseg",
        "method": network.method,
        "labels": network.labels.to_json(),
        "network": asdict(network.config),
    }
    _write_json(folder / "config.json", config)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    try:
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    except SafetensorError as error:
        raise UserError(f"{folder}: cannot be written ({error}); choose another place") from error
    if network.prototypes is not None:
        _write_sources(network, network.prototypes, folder)


@overload
def load(name: str | Path, **hub_arguments: Any) -> Network: ...
@overload
def load(name: str | Path, kind: type[_Kind], **hub_arguments: Any) -> _Kind: ...
def load(name: str | Path, kind: type[Any] = Network, **hub_arguments: Any) -> Any:
    """Read a bundle from a folder or from the Hugging Face Hub.

    Args:
        name: Folder of a bundle, or a Hub id such as ``"someone/street-scenes"``.
        kind: Class of the result.
        **hub_arguments: For a Hub id, passed to ``huggingface_hub.snapshot_download`` (revision, token, ...).

    Returns:
        The network in eval mode on the CPU.

    Raises:
        UserError: If it is not a bundle, is damaged, or cannot be downloaded.
    """
    if not isinstance(name, (str, Path)):
        raise UserError(f"model: is of type {type(name).__name__}; give the path of a model folder, or a Hub id")
    folder = Path(name)
    if not folder.is_dir():
        folder = _download(str(name), hub_arguments)
    config = _read_config(folder)
    try:
        labels = LabelTable.from_json(config["labels"], str(folder / "config.json"))
        network = kind(_network_config(config["network"]), labels, str(config["method"]))
        state = load_file(folder / WEIGHTS)
        _resize_head(network, state)
        network.load_state_dict(state)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS}: cannot be read ({error}); save or copy the model again") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise UserError(f"{folder}: config and weights disagree ({reason}); save or copy the model again") from error
    if network.prototypes is not None:
        network.sources = _read_sources(folder, len(network.prototypes))
    return network.eval()


def _read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json``, if it has the format of this version."""
    path = folder / "config.json"
    config = _read_json(path)
    if not isinstance(config, dict) or config.get("library") != "scaleprotoseg":
        raise UserError(f"{path}: not written by scaleprotoseg; give the model folder of a run")
    if config.get("format") != FORMAT:
        raise UserError(
            f"{path}: has bundle format {config.get('format')}, but this version reads {FORMAT}; update scaleprotoseg"
        )
    return config


def _write_sources(network: Network, layer: PrototypeLayer, folder: Path) -> None:
    (folder / "prototypes").mkdir()
    entries = []
    for index, source in enumerate(network.sources):
        label = network.labels.names[int(layer.prototype_class[index])]
        entry: dict[str, Any] = {
            "id": index,
            "class": label,
            "scale": int(layer.prototype_scale[index]),
            "source": None,
        }
        if source is not None:
            file = f"prototypes/{index:04d}.png"
            (folder / file).write_bytes(source.png)
            entry["source"] = source.to_json() | {"picture": file}
        entries.append(entry)
    _write_json(folder / "prototypes.json", entries)


def _read_sources(folder: Path, count: int) -> list[Source | None]:
    entries = _read_json(folder / "prototypes.json")
    if not isinstance(entries, list) or len(entries) != count:
        raise UserError(
            f"{folder / 'prototypes.json'}: does not list the model's {count} prototypes; copy the model again"
        )
    sources: list[Source | None] = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or "source" not in entry:
            raise UserError(f"{folder / 'prototypes.json'}: entry {index} names no source; copy the model again")
        if entry["source"] is None:
            sources.append(None)
            continue
        # File names inside a bundle are untrusted: the path of the image follows from the index alone.
        file = folder / "prototypes" / f"{index:04d}.png"
        if not file.is_file():
            raise UserError(f"{file}: missing; copy the whole model folder")
        sources.append(Source.from_json(entry["source"], file.read_bytes()))
    return sources


def _network_config(values: dict[str, Any]) -> NetworkConfig:
    """Build the configuration from JSON values; pretrained weights are not needed, as the bundle has its own."""

    def tuples(section: dict[str, Any]) -> dict[str, Any]:
        return {key: tuple(value) if isinstance(value, list) else value for key, value in section.items()}

    return NetworkConfig(
        EncoderConfig(**tuples(values["encoder"]) | {"pretrained": False}),
        PyramidConfig(**tuples(values["pyramid"])),
        HeadConfig(**values["head"]),
        InputConfig(**tuples(values["input"])),
    )


def _resize_head(network: Network, state: dict[str, Tensor]) -> None:
    """Give the network a head of the shape in ``state``, because prototypes may have been merged, pruned or grouped."""
    if "head.prototypes.vectors" not in state:
        return
    classes, scales = state["head.prototypes.prototype_class"], state["head.prototypes.prototype_scale"]
    if classes.numel() and not (int(classes.min()) >= 0 and int(classes.max()) < len(network.labels)):
        raise ValueError("prototype of an unknown class")
    if scales.numel() and not (int(scales[0]) >= 0 and int(scales[-1]) < network.pyramid.num_scales):
        raise ValueError("prototype at an unknown scale")
    if (scales.diff() < 0).any():
        raise ValueError("prototypes not ordered by scale")
    layer = PrototypeLayer(classes, scales, state["head.prototypes.vectors"].shape[1], network.pyramid.num_scales)
    head_state = {name.removeprefix("head."): tensor for name, tensor in state.items() if name.startswith("head.")}
    kinds = (GroupHead, type(network.prototype_head))
    heads = (kind.from_state(layer, head_state, len(network.labels)) for kind in kinds)
    network.replace_head(next(head for head in heads if head is not None), [None] * len(layer))


def _download(name: str, hub_arguments: dict[str, Any]) -> Path:
    try:
        return Path(snapshot_download(name, **hub_arguments))
    except HFValidationError as error:
        raise UserError(
            f"{name}: no such folder, and not a Hub id; give a model folder such as runs/demo/model"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = first_line(error)
        raise UserError(
            f"{name}: no such folder, and it cannot be downloaded from the Hub ({reason}); check the name"
        ) from error


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: missing, so {path.parent} is not a model; give the model folder of a run")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); save or copy the model again") from error

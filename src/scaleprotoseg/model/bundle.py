"""The bundle: a model as a folder that predicts and explains without its training data, and holds no code.

``config.json`` (parts, classes, method), ``model.safetensors`` (weights), ``prototypes.json`` (where each
prototype comes from) and ``prototypes/*.png`` (what it looks like there).
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.files import replacing_folder
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.prototypes import PrototypeHead, PrototypeLayer
from scaleprotoseg.model.source import Source

FORMAT = 1
WEIGHTS = "model.safetensors"


def save(network: Network, folder: Path) -> None:
    """Writes a network as a bundle; an older bundle of that name is replaced as a whole.

    Args:
        network: Any network.
        folder: The bundle's folder; its parents are made.

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
    with replacing_folder(folder) as new:
        _write_json(new / "config.json", config)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        try:
            save_file(state, new / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:
            raise UserError(f"{folder}: cannot be written ({error}); choose another place") from error
        if network.prototypes is not None:
            _save_prototypes(network, network.prototypes, new)


def load(name: str | Path, **hub_arguments: Any) -> Network:
    """Reads a bundle from a folder or from the Hugging Face Hub.

    Args:
        name: A bundle's folder, or a Hub id such as ``"someone/street-scenes"``.
        **hub_arguments: For a Hub id, passed to ``huggingface_hub.snapshot_download`` (revision, token, ...).

    Returns:
        The network in eval mode on the CPU.

    Raises:
        UserError: If it is no bundle, or damaged.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _download(str(name), hub_arguments)
    config = _read_json(folder / "config.json")
    if not isinstance(config, dict) or config.get("library") != "scaleprotoseg":
        raise UserError(f"{folder / 'config.json'}: not written by scaleprotoseg; give the model folder of a run")
    if config.get("format") != FORMAT:
        raise UserError(
            f"{folder / 'config.json'}: bundle format {config.get('format')}, this version reads {FORMAT}; "
            "update scaleprotoseg"
        )
    try:
        labels = LabelTable.from_json(config["labels"], str(folder / "config.json"))
        network = Network(_network_config(config["network"]), labels, str(config["method"]))
        state = load_file(folder / WEIGHTS)
        _shape_head(network, state)
        network.load_state_dict(state)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS}: cannot be read ({error}); save or copy the model again") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise UserError(f"{folder}: config and weights disagree ({reason}); save or copy the model again") from error
    if network.prototypes is not None:
        network.sources = _load_sources(folder, len(network.prototypes))
    return network.eval()


def push(network: Network, repo_id: str, private: bool = False, token: str | None = None) -> str:
    """Uploads a network as a bundle to the Hugging Face Hub.

    Args:
        network: Any network.
        repo_id: ``"owner/name"``; made if it does not exist.
        private: Whether a new repository is private.
        token: Access token; None uses the stored one.

    Returns:
        The address of the commit.
    """
    api = HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save(network, Path(folder) / "model")
        info = api.upload_folder(repo_id=repo_id, folder_path=Path(folder) / "model")
    return str(info.commit_url)


def load_encoder(network: Network, name: str | Path) -> None:
    """Starts a network's encoder from another bundle's (warm start).

    Args:
        network: The network to start; changed in place.
        name: A bundle with the same encoder, such as a black box trained first.

    Raises:
        UserError: If it is no bundle or its encoder differs.
    """
    other = load(name)
    if other.config.encoder.name != network.config.encoder.name:
        raise UserError(
            f"{name}: its encoder is {other.config.encoder.name}, the recipe's is {network.config.encoder.name}; "
            "use the same encoder for both"
        )
    try:
        network.encoder.load_state_dict(other.encoder.state_dict())
    except RuntimeError as error:
        raise UserError(f"{name}: its encoder does not fit ({first_line(error)}); use the same stage") from error


def _save_prototypes(network: Network, layer: PrototypeLayer, folder: Path) -> None:
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
            picture = f"prototypes/{index:04d}.png"
            (folder / picture).write_bytes(source.picture)
            entry["source"] = source.to_json() | {"picture": picture}
        entries.append(entry)
    _write_json(folder / "prototypes.json", entries)


def _load_sources(folder: Path, count: int) -> list[Source | None]:
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
        # Names inside the bundle are data: the picture's place follows from the index, never from the file.
        picture = folder / "prototypes" / f"{index:04d}.png"
        if not picture.is_file():
            raise UserError(f"{picture}: missing; copy the whole model folder")
        sources.append(Source.from_json(entry["source"], picture.read_bytes()))
    return sources


def _network_config(values: dict[str, Any]) -> NetworkConfig:
    def tuples(part: dict[str, Any]) -> dict[str, Any]:
        return {key: tuple(value) if isinstance(value, list) else value for key, value in part.items()}

    return NetworkConfig(
        EncoderConfig(**tuples(values["encoder"]) | {"pretrained": False}),
        PyramidConfig(**tuples(values["pyramid"])),
        HeadConfig(**values["head"]),
        InputConfig(**tuples(values["input"])),
    )


def _shape_head(network: Network, state: dict[str, Tensor]) -> None:
    """Gives the network the head whose tensors are in ``state``: prototypes may be merged, pruned or grouped."""
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
    grouped = "head.weights" in state
    head = (
        GroupHead(layer, len(network.labels), state["head.weights"].shape[1])
        if grouped
        else PrototypeHead(layer, len(network.labels))
    )
    network.replace_head(head, [None] * len(layer))


def _download(name: str, hub_arguments: dict[str, Any]) -> Path:
    try:
        return Path(snapshot_download(name, **hub_arguments))
    except HFValidationError as error:
        raise UserError(
            f"{name}: no such folder, and not a Hub id; give a model folder such as runs/demo/model"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = first_line(error)
        raise UserError(f"{name}: no such folder, and the Hub does not give it ({reason}); check the name") from error


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: missing, so {path.parent} is not a model; give the model folder of a run")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); save or copy the model again") from error

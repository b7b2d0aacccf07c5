"""One self-contained, offline HTML file from templates in which everything is escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from scaleprotoseg.explanation.payload import Picture, known_patches, model_payload
from scaleprotoseg.files import write_file
from scaleprotoseg.model.decomposition import Page

SCRIPTS = ("evidence.js", "dom.js", "heat.js", "patches.js", "panel.js", "view.js", "main.js")
STYLES = ("base.css", "view.css", "report.css")

NOT_MEASURED = "not measured"


def write_html(path: Path, template: str, model: Page | None, pictures: list[Picture], **context: Any) -> None:
    """Renders a template and writes it in one move.

    The page may load nothing: its content security policy allows embedded pictures, its own styles and the one
    script whose hash it names, so that no text from a label table or a file name can ever run.

    Args:
        path: The file to write.
        template: Name of the template.
        model: Any page of the model, for its parts; None for a model without prototypes.
        pictures: The pictures to explain in the page.
        **context: What else the template shows.

    Raises:
        UserError: If the file cannot be written.
    """
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(name) for name in SCRIPTS) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    content = _environment().get_template(template).render(
        script=Markup(script),
        script_hash=digest,
        styles=Markup("\n".join(_asset(name) for name in STYLES)),
        pictures=pictures,
        patches=[] if model is None else known_patches(model),
        data=None if model is None else {
            "model": model_payload(model),
            "pictures": [picture.payload() for picture in pictures],
        },
        **context,
    )  # fmt: skip
    write_file(path, content)


def share(value: float | None, digits: int = 1) -> str:
    """A share in 0-1 as a percentage, or that it was not measured."""
    return NOT_MEASURED if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 2) -> str:
    """A number with a real minus sign, or that it was not measured."""
    return NOT_MEASURED if value is None else f"{value:.{digits}f}".replace("-", "−")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("scaleprotoseg.explanation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": share, "number": number}
    return environment


def _asset(name: str) -> str:
    return (files("scaleprotoseg.explanation") / "templates" / name).read_text(encoding="utf-8")

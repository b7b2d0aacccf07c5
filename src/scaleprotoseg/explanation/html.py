"""Self-contained HTML that works offline, from templates in which everything is escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from scaleprotoseg.explanation.decomposition import Decomposition
from scaleprotoseg.explanation.patches import known_patches
from scaleprotoseg.explanation.payload import ExplainedImage, model_payload
from scaleprotoseg.files import write_file

SCRIPTS = ("evidence.js", "dom.js", "heat.js", "patches.js", "panel.js", "view.js", "main.js")
STYLES = ("base.css", "view.css", "report.css")

NOT_MEASURED = "not measured"


def write_html(
    path: str | Path, template: str, model: Decomposition | None, images: list[ExplainedImage], **context: Any
) -> None:
    """Render a page with the common script and styles, and write it to a file.

    The content security policy of the page allows embedded images, inline styles and the one script whose hash it
    contains. The page can load nothing else, and no text from a label table or a file name can run as a script.

    Args:
        path: File to write.
        template: Name of the template.
        model: Decomposition of any image, for the prototypes and weights of the model; None for a model without
            prototypes.
        images: Images to explain on the page.
        **context: Other variables of the template.

    Raises:
        UserError: If the file cannot be written.
    """
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(name) for name in SCRIPTS) + "})();\n"
    content = render(
        template,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        styles=Markup("\n".join(_asset(name) for name in STYLES)),
        images=images,
        patches=[] if model is None else known_patches(model),
        data=None
        if model is None
        else {"model": model_payload(model), "images": [image.payload() for image in images]},
        **context,
    )
    write_file(Path(path), content)


def render(template: str, **context: Any) -> str:
    """Render a template to HTML."""
    return _environment().get_template(template).render(**context)


def percent(value: float | None, digits: int = 1) -> str:
    """Format a fraction in 0-1 as a percentage; None = not measured."""
    return NOT_MEASURED if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 2) -> str:
    """Format a number with a typographic minus sign; None = not measured."""
    return NOT_MEASURED if value is None else f"{value:.{digits}f}".replace("-", "−")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("scaleprotoseg.explanation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number}
    return environment


def _asset(name: str) -> str:
    return (files("scaleprotoseg.explanation") / "templates" / name).read_text(encoding="utf-8")

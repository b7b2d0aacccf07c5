"""The model card of a bundle: a README.md for the Hugging Face Hub."""

from __future__ import annotations

from typing import Any

from scaleprotoseg.model.network import Network

CARD_TEMPLATE = """---
{{ card_data }}
---

# {{ method }}: semantic segmentation that explains itself

This model assigns one of {{ class_names | length }} classes to every pixel of an image{% if prototypes %}, and every
class score is an exact sum over groups of prototypes, which are patches of training images{% endif %}. It was trained
with scaleprotoseg.

```python
import scaleprotoseg as sps

model = sps.load("{{ repo_id | default('OWNER/NAME', true) }}")
classes = model.predict("image.jpg")  # (H, W) class indices
{% if prototypes %}
model.explain("image.jpg").save("why.html")  # click any pixel
{% endif %}
```

| property | value |
|---|---|
| encoder | {{ encoder }} |
| pyramid | dilations {{ dilations | join(', ') }} |
| prototypes | {{ prototypes or 'none (black box)' }} |
| input channels | {{ channels }} |
| classes | {{ class_names | join(', ') }} |
"""
"""Jinja template, filled in with :func:`card_values`."""


def card_values(network: Network) -> dict[str, Any]:
    """Return the properties of a network that its model card shows."""
    return {
        "method": network.method,
        "class_names": [name.replace("|", "\\|") for name in network.labels.names],
        "encoder": network.config.encoder.name,
        "dilations": network.config.pyramid.dilations,
        "prototypes": len(network.prototypes or ()),
        "channels": len(network.config.input.mean),
    }

"""Losses, one idea per file.

A new loss is one file here, one weight in ``fit_settings.py`` and one term in ``fit_module.py``.

With several processes, each process computes the loss of its own images, divided by the average count per process (of
pixels, of pairs, ...). The mean over all processes, and of their gradients, is therefore the loss of the whole batch.
"""

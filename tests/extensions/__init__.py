"""A head, a phase and a score in one file each, as a contributor would write them."""

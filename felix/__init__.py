"""Felix control plane: the import package. Each subpackage is a folder at the repository's root."""

__version__ = "0.1.0"

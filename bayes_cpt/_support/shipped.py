"""Where the files that come with the package lie: model files and curves."""

from pathlib import Path


def shipped(folder: str) -> Path:
    """Return the path of ``models`` or ``data/microcpt``.

    A wheel carries them inside the package, a checkout (and so an editable install) beside it.
    """
    package = Path(__file__).parents[1]
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder

"""Paths of the files that come with the package: model files and curves."""

from pathlib import Path


def shipped(folder: str) -> Path:
    """Return the path of a folder that comes with the package.

    Parameters
    ----------
    folder
        ``models`` or ``data/microcpt``.

    Returns
    -------
    Path
        In a wheel the folder is inside the package; in a checkout (and so an editable install) it is beside it.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> sorted(path.name for path in bc.shipped("data/microcpt").glob("*.csv"))
    ['losses.csv', 'lr.csv', 'runs.csv']
    """
    package = Path(__file__).parents[1]
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder

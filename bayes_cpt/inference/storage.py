"""Fit files: one NetCDF file for a fit, or for an average of several."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayes_cpt._support.files import replacing
from bayes_cpt.errors import FitFileError, SpecError
from bayes_cpt.inference.average import Average
from bayes_cpt.inference.fit import Fit
from bayes_cpt.laws.features import FittedRange
from bayes_cpt.laws.law import Law
from bayes_cpt.runs.curve_folder import curves_from_frames
from bayes_cpt.statistical_model.likelihood import DomainModel
from bayes_cpt.statistical_model.model_files import ModelSpec, parse_spec

FORMAT = 2
"""Format number of fit files. It rises with each change after which old files would be misread."""
TABLES = ("runs", "learning_rates", "losses")
NEEDED = ("model", "model_text", "domains", "fitted_range", "law_fingerprint", *TABLES)
"""Attributes that a fit file must have. All values are stored by name; their order does not matter."""
SAME = 1e-8
"""Largest relative difference between equal numbers of a law's fingerprint: machines differ by less."""


def save(fit: Fit | Average, path: str | Path) -> None:
    """Write a fit, or an average of several, to one NetCDF file, whole or not at all.

    Parameters
    ----------
    fit
        The fit or the average.
    path
        The file to write; an existing file is replaced.

    Raises
    ------
    DataError
        If the folder cannot be written to.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> fit = bc.fit(curves)  # doctest: +SKIP
    >>> bc.save(fit, "fit.nc")  # doctest: +SKIP
    """
    if isinstance(fit, Fit):
        tree = as_tree(fit)
    else:
        tree = xr.DataTree(children={_group(place): as_tree(one) for place, one in enumerate(fit.fits)})
        tree.attrs = {"format": FORMAT, "weights": json.dumps(fit.weights)}
    with replacing(path) as temporary:
        tree.to_netcdf(temporary, engine="netcdf4")


def load(path: str | Path) -> Fit | Average:
    """Read a file that `save` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Fit or Average
        What was saved.

    Raises
    ------
    FitFileError
        If the file is missing, is no NetCDF file, was not written by `save`, has another format, or was fitted with a
        law that is unknown or was defined in another way.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> fit = bc.load("fit.nc")  # doctest: +SKIP
    """
    if not Path(path).is_file():
        raise FitFileError(f"no fit file at {path}: make one with bayes-cpt fit DATA -o {path}")
    try:
        with xr.open_datatree(path, engine="netcdf4") as opened:
            tree = opened.load()
    except (OSError, ValueError) as error:
        raise FitFileError(f"{path} is not a NetCDF file: give a file that bayes-cpt fit wrote") from error
    if "weights" not in tree.attrs:
        return from_tree(tree, path)
    _check_format(tree, path)
    weights = tuple(json.loads(tree.attrs["weights"]))
    missing = [_group(place) for place in range(len(weights)) if _group(place) not in tree.children]
    if missing:
        raise FitFileError(f"{path} was not written by bayes-cpt fit: it lacks {', '.join(missing)}")
    return Average(
        tuple(from_tree(tree.children[_group(place)].copy(), path) for place in range(len(weights))), weights
    )


def _group(place: int) -> str:
    return f"law_{place}"


def as_tree(fit: Fit) -> xr.DataTree:
    """Return a fit as a tree that can be written to a file."""
    tree = fit.tree.copy()
    tables = (fit.curves.runs.reset_index(), fit.curves.lr, fit.curves.losses)
    texts = {name: frame.to_csv(index=False) for name, frame in zip(TABLES, tables, strict=True)}
    law = {"law_fingerprint": json.dumps(fit.spec.law.fingerprint())}
    tree.attrs = {"format": FORMAT, **fit.tree.attrs, **law, **texts}
    return tree


def from_tree(tree: xr.DataTree, path: str | Path) -> Fit:
    """Return the fit from a tree that `as_tree` returned; ``path`` is the file, for messages.

    Raises
    ------
    FitFileError
        If the tree is no fit, has another format, or its law is unknown or was defined in another way.
    """
    if "model" not in tree.attrs:
        raise FitFileError(f"{path} was not written by bayes-cpt fit: it lacks the model")
    _check_format(tree, path)
    missing = [name for name in NEEDED if name not in tree.attrs]
    if missing or "posterior" not in tree:
        raise FitFileError(f"{path} was not written by bayes-cpt fit: it lacks {', '.join(missing or ['posterior'])}")
    spec = _model(tree, path)
    runs, rates, losses = (pd.read_csv(io.StringIO(tree.attrs.pop(name))) for name in TABLES)
    fitted_range = FittedRange.from_dict(json.loads(tree.attrs["fitted_range"]))
    models = {
        domain: DomainModel(spec.law, spec.components, domain, fitted_range)
        for domain in json.loads(tree.attrs["domains"])
    }
    return Fit(tree, spec, curves_from_frames(runs, rates, losses), models)


def _check_format(tree: xr.DataTree, path: str | Path) -> None:
    found = int(tree.attrs.get("format", 1))
    if found != FORMAT:
        raise FitFileError(f"{path} has format {found}, and this bayes_cpt reads format {FORMAT}: fit the data again")


def _model(tree: xr.DataTree, path: str | Path) -> ModelSpec:
    """Read the model, and refuse it if its law has changed since the fit."""
    try:
        spec = parse_spec(tree.attrs["model"], tree.attrs["model_text"])
    except SpecError as error:
        raise FitFileError(
            f"the model of {path} cannot be read: register laws and components of your own before you load it ({error})"
        ) from error
    if not same_definition(spec.law, json.loads(tree.attrs["law_fingerprint"])):
        raise FitFileError(f"{path} was fitted by another definition of law {spec.law.name!r}: fit the data again")
    return spec


def same_definition(law: Law, fingerprint: Sequence[float]) -> bool:
    """Return whether a law has this fingerprint, which may be from another machine."""
    before, now = np.array(fingerprint), np.array(law.fingerprint())
    return before.shape == now.shape and np.allclose(before, now, rtol=SAME, atol=0, equal_nan=True)

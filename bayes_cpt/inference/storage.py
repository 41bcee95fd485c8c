"""Fit files: one NetCDF file for a fit, or for an average of several."""

import io
import json
from pathlib import Path

import pandas as pd
import xarray as xr

from bayes_cpt._support.files import replacing
from bayes_cpt.errors import FitFileError
from bayes_cpt.inference.average import Average
from bayes_cpt.inference.fit import Fit
from bayes_cpt.laws.features import FittedRange
from bayes_cpt.runs.curve_folder import curves_from_frames
from bayes_cpt.statistical_model.likelihood import DomainModel
from bayes_cpt.statistical_model.model_files import parse_spec

TABLES = ("runs", "learning_rates", "losses")


def save(fit: Fit | Average, path: str | Path) -> None:
    """Write a fit, or an average of several, to one NetCDF file, which appears whole or not at all."""
    if isinstance(fit, Fit):
        tree = as_tree(fit)
    else:
        tree = xr.DataTree(children={_group(place): as_tree(one) for place, one in enumerate(fit.fits)})
        tree.attrs["weights"] = json.dumps(fit.weights)
    with replacing(path) as temporary:
        tree.to_netcdf(temporary, engine="netcdf4")


def load(path: str | Path) -> Fit | Average:
    """Read what `save` wrote.

    Raises
    ------
    FitFileError
        If the file is not there, is no NetCDF file, or was not written by `save`.
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
    """Return all of a fit as a tree that can be written."""
    tree = fit.tree.copy()
    tables = (fit.curves.runs.reset_index(), fit.curves.lr, fit.curves.losses)
    texts = {name: frame.to_csv(index=False) for name, frame in zip(TABLES, tables, strict=True)}
    tree.attrs = {**fit.tree.attrs, **texts}
    return tree


def from_tree(tree: xr.DataTree, path: str | Path) -> Fit:
    """Return the fit that `as_tree` made a tree of; ``path`` is where it was read.

    Raises
    ------
    FitFileError
        If it is another tree.
    """
    missing = [name for name in ("model", "model_text", "domains", "fitted_range", *TABLES) if name not in tree.attrs]
    if missing or "posterior" not in tree:
        raise FitFileError(f"{path} was not written by bayes-cpt fit: it lacks {', '.join(missing or ['posterior'])}")
    spec = parse_spec(tree.attrs["model"], tree.attrs["model_text"])
    runs, rates, losses = (pd.read_csv(io.StringIO(tree.attrs.pop(name))) for name in TABLES)
    curves = curves_from_frames(runs, rates, losses)
    fitted_range = FittedRange.from_dict(json.loads(tree.attrs["fitted_range"]))
    models = {
        domain: DomainModel(spec.law, spec.components, domain, fitted_range)
        for domain in json.loads(tree.attrs["domains"])
    }
    return Fit(tree, spec, curves, models)

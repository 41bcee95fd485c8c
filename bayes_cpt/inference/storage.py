"""Fit files: one NetCDF file for a fit, or for an average of several."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from bayes_cpt._support.domain_names import OWN_ROLES, DomainNames
from bayes_cpt._support.files import is_file, replacing
from bayes_cpt.errors import DataError, FitFileError, SpecError, path_shown, quoted
from bayes_cpt.inference.average import Average, average
from bayes_cpt.inference.fit import Fit
from bayes_cpt.laws.features import FittedRange
from bayes_cpt.laws.law import Law
from bayes_cpt.runs.curve_folder import curves_from_cells
from bayes_cpt.runs.table_checks import cells_of_text
from bayes_cpt.statistical_model.likelihood import DomainModel
from bayes_cpt.statistical_model.model_files import ModelSpec, parse_spec

FORMAT = 2
"""Format number of fit files. It rises with each change after which old files would be misread."""
TABLES = {"runs": "runs", "lr": "learning_rates", "losses": "losses"}
"""Tables of the fitted curves, and the attributes that have them."""
NEEDED = ("model", "model_text", "domains", "fitted_range", "law_fingerprint", "converged", "verdict", *TABLES.values())
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
        try:
            tree.to_netcdf(temporary, engine="netcdf4")
        except RuntimeError as error:  # NetCDF's own errors, for example of a full disk
            raise DataError(f"cannot write {path}: {error}") from error


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
    if not is_file(path):
        shown = path_shown(path)
        raise FitFileError(f"no fit file at {shown}: make one with bayes-cpt fit DATA -o {shown}")
    try:
        with xr.open_datatree(path, engine="netcdf4") as opened:
            tree = opened.load()
    except Exception as error:  # a damaged file may raise nearly anything
        raise FitFileError(f"{path} is not a NetCDF file: give a file that bayes-cpt fit wrote") from error
    with _damage_named(path):
        if "weights" not in tree.attrs:
            return from_tree(tree, path)
        _check_format(tree, path)
        weights = tuple(float(weight) for weight in json.loads(tree.attrs["weights"]))
        if missing := [_group(place) for place in range(len(weights)) if _group(place) not in tree.children]:
            raise FitFileError(f"{path} was not written by bayes-cpt fit: it lacks {', '.join(missing)}")
        fits = [from_tree(tree.children[_group(place)].copy(), path) for place in range(len(weights))]
        return average(fits, weights)


@contextmanager
def _damage_named(path: str | Path) -> Iterator[None]:
    """Refuse a file with damaged parts in one sentence."""
    try:
        yield
    except FitFileError:
        raise
    except Exception as error:  # a damaged part may raise nearly anything
        raise FitFileError(f"{path} is damaged ({type(error).__name__}): fit the data again") from error


def _group(place: int) -> str:
    return f"law_{place}"


def as_tree(fit: Fit) -> xr.DataTree:
    """Return a fit as a tree that can be written to a file."""
    tree = fit.tree.copy()
    tables = (fit.curves.runs.reset_index(), fit.curves.lr, fit.curves.losses)
    texts = {name: frame.to_csv(index=False) for name, frame in zip(TABLES.values(), tables, strict=True)}
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
    cells = {kind: cells_of_text(name, kind, tree.attrs.pop(name)) for kind, name in TABLES.items()}
    fitted_range = FittedRange.from_dict(json.loads(tree.attrs["fitted_range"]))
    domains = json.loads(tree.attrs["domains"])
    names = _domain_names(tree, domains, path)
    models = {
        domain: DomainModel(spec.law, spec.components, domain, fitted_range, names.role(domain)) for domain in domains
    }
    fitted = Fit(tree, spec, replace(curves_from_cells(str(path), cells), names=names), models)
    _check_draws(fitted, path)
    _check_notes(fitted, path)
    return fitted


def _check_notes(fitted: Fit, path: str | Path) -> None:
    """Refuse a fit of which it cannot be read whether it converged, or what is hardly right in its data."""
    if str(fitted.tree.attrs["converged"]) not in {"0", "1"}:
        raise FitFileError(f"{path} is damaged: it does not say whether it converged; fit the data again")
    _ = fitted.findings, fitted.outliers, fitted.left_out  # what cannot be read raises


def _domain_names(tree: xr.DataTree, domains: Sequence[str], path: str | Path) -> DomainNames:
    """Return what the two domains of the law are called; files from before there were names have none."""
    names = DomainNames(*json.loads(tree.attrs.get("domain_names", json.dumps(OWN_ROLES))))
    if not all(isinstance(name, str) for name in names) or not set(domains) <= set(names):
        raise FitFileError(f"{path} is damaged: its domains are not those that it names; fit the data again")
    return names


def _check_draws(fitted: Fit, path: str | Path) -> None:
    """Refuse a posterior that lacks a parameter, or has draws that are not finite numbers."""
    posterior, law = fitted.posterior, fitted.spec.law
    needed = [*fitted.spec.priors, *(f"effect_{name}" for name in fitted.spec.components)]
    if missing := [name for name in needed if name not in posterior]:
        raise FitFileError(f"{path} is damaged: its posterior lacks {quoted(missing[0])}; fit the data again")
    for name in fitted.spec.priors:
        expected = ("chain", "draw") if name in law.checkpoint_parameters else ("chain", "draw", "domain")
        if posterior[name].dims != expected:
            raise FitFileError(f"{path} is damaged: {name} must have the dimensions {', '.join(expected)}")
    if wrong := [name for name in needed if not np.isfinite(posterior[name].to_numpy().astype(float)).all()]:
        raise FitFileError(f"{path} is damaged: draws of {wrong[0]} are not finite numbers; fit the data again")
    if "stretch" in posterior and not (np.isfinite(posterior["stretch"]) & (posterior["stretch"] > 0)).all():
        raise FitFileError(f"{path} is damaged: draws of stretch are not numbers above 0; fit the data again")
    if set(posterior["domain"].to_numpy().tolist()) != set(fitted.models) or not posterior.sizes["draw"]:
        raise FitFileError(f"{path} is damaged: its draws are not of the domains {', '.join(fitted.models)}")


def _check_format(tree: xr.DataTree, path: str | Path) -> None:
    found = int(tree.attrs.get("format", 1))
    if found != FORMAT:
        raise FitFileError(f"{path} has format {found}, and this bayes_cpt reads format {FORMAT}: fit the data again")


def _model(tree: xr.DataTree, path: str | Path) -> ModelSpec:
    """Read the model, and refuse it if its law has changed since the fit."""
    try:
        spec = parse_spec(tree.attrs["model"], tree.attrs["model_text"])
    except (SpecError, AttributeError, TypeError) as error:
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

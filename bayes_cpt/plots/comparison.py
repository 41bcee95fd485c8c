"""Figure of a comparison of models."""

import arviz as az
from matplotlib.figure import Figure

from bayes_cpt.evaluation.compare import Comparison
from bayes_cpt.plots.style import put_title


def plot_comparison(comparison: Comparison) -> Figure:
    """Draw the log predictive density of left-out runs by model, relative to the best, with standard errors.

    The figure is that of ArviZ. Labels have the weight of the model in an average and its mean weighted interval score
    (WIS).

    Parameters
    ----------
    comparison
        The comparison.

    Returns
    -------
    Figure
        One line per model, the best first.

    Examples
    --------
    >>> bc.plot_comparison(bc.compare(curves, ["cpt-replay", "cpt-replay-exponential"]))  # doctest: +SKIP
    """
    table = comparison.table.set_index("model").sort_values("elpd", ascending=False)
    labels = {name: f"{name}\nweight {row['weight']:.2f}, WIS {row['wis']:.4f}" for name, row in table.iterrows()}
    # a single fold has no standard error
    drawn = az.plot_compare(table.rename(index=labels).fillna({"dse": 0.0}), backend="matplotlib")
    figure = drawn.viz["figure"].item()
    figure.set_layout_engine("constrained")
    done = int(table["done"].iloc[0])
    put_title(figure, f"interrupted after {done} of {comparison.folds} folds" if done < comparison.folds else "")
    return figure

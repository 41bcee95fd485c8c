"""The groups of ArviZ that hold the fitted data."""

import numpy as np
import xarray as xr

from bayes_cpt.statistical_model.observations import Observations


def observed_losses(observations: Observations) -> xr.Dataset:
    """Return the group observed_data: the measured losses of every domain, in nats."""
    combined = {domain: found.loss for domain, found in observations.out_of_domain.items()}
    losses = {**observations.losses, **combined}
    return xr.Dataset({f"loss_{domain}": (f"point_{domain}", values) for domain, values in losses.items()})


def measured_points(observations: Observations) -> xr.Dataset:
    """Return the group constant_data: run and step of every measured point."""
    design = observations.design
    runs = np.array(design.runs)
    columns = {}
    combined = {domain: found.places for domain, found in observations.out_of_domain.items()}
    for domain, places in {**observations.places, **combined}.items():
        columns[f"run_{domain}"] = (f"point_{domain}", runs[design.run[places]])
        columns[f"step_{domain}"] = (f"point_{domain}", design.step[places])
    return xr.Dataset(columns)

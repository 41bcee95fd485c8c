"""The smooth process: few modes, nearly the covariance of the whole process."""

import numpy as np

from bayes_cpt._support.smooth_process import smooth_modes


def test_smooth_modes_are_a_matern_process():
    """Ten modes over six e-folds miss up to 2 % of the variance; the process is constant beyond its range."""
    place = np.linspace(-4.0, 2.0, 60)
    modes = smooth_modes(place, -4.0, 2.0, 1.5, 10)
    scaled = np.sqrt(3) * np.abs(place[:, None] - place) / 1.5
    exact = (1 + scaled) * np.exp(-scaled)
    assert modes.shape == (10, 60)
    np.testing.assert_allclose(modes.T @ modes, exact, atol=0.03)
    np.testing.assert_array_equal(smooth_modes(np.array([-9.0, 7.0]), -4.0, 2.0, 1.5, 10), modes[:, [0, -1]])

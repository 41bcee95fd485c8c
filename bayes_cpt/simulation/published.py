"""Published coefficients of the CPT law (Wang et al., ICML 2025, arXiv 2505.07796); areas are in LR x steps."""

from collections.abc import Mapping

type Coefficients = Mapping[str, float]
type PublishedFit = Mapping[str, Coefficients]
"""Coefficients by domain."""

_EQUATION_4 = ("L0", "A", "alpha", "B", "E", "beta", "C1", "C2")


def _fit(pt: tuple[float, ...], cpt: tuple[float, ...]) -> PublishedFit:
    return {
        "pt": dict(zip(_EQUATION_4, pt, strict=True)),
        "cpt": dict(zip(_EQUATION_4, cpt, strict=True)),
    }


KNOWLEDGE_PILE: PublishedFit = _fit(
    (3.057, 0.490, 0.497, 0.366, 28, 0.189, 0.299, 0.298),
    (3.024, 0.412, 0.677, -0.666, 5662, 0.146, 0.278, 0.324),
)
"""Figure 3: Eq. 4, 106M parameters, FineWeb then Knowledge-Pile (a moderate shift)."""

PILE_OF_LAW: PublishedFit = _fit(
    (3.064, 0.482, 0.511, 1.353, 37, 0.262, 0.294, 0.264),
    (2.978, 0.485, 0.701, -1.409, 383, 0.368, 0.274, 0.298),
)
"""Figure 11: Eq. 4, 106M parameters, FineWeb then Pile-of-Law (a strong shift)."""

MODEL_SIZE: PublishedFit = {
    "pt": {
        **{"L0": 1.829, "A": 0.504, "alpha": 0.537, "B": 0.278, "E": 12.0, "beta": 0.359, "C1": 0.090, "C2": 0.103},
        **{"F": 3.072, "g1": 0.235, "g2": 0.199, "g3": 0.195},
    },
    "cpt": {
        **{"L0": 1.860, "A": 0.438, "alpha": 0.585, "B": -0.552, "E": 187.0, "beta": 0.326, "C1": 0.333, "C2": 0.140},
        **{"F": 2.718, "g1": 0.012, "g2": 0.145, "g3": 0.189},
    },
}
"""Figure 15: Eq. 7, 106M, 594M and 1720M parameters."""

HALF_REPLAY: PublishedFit = _fit(
    (3.068, 0.480, 0.518, 0.046, 3, 0.915, 0.294, 0.269),
    (3.017, 0.442, 0.686, -0.599, 6484, 0.144, 0.277, 0.277),
)
"""Figure 12: Eq. 4, Knowledge-Pile with 50 % replay."""

LARGER_MODELS: Mapping[str, PublishedFit] = {
    "594M": _fit(
        (2.688, 0.526, 0.483, 29.121, 100, 0.001, 0.437, 0.395),
        (2.657, 0.443, 0.566, -0.518, 100, 0.424, 0.360, 0.358),
    ),
    "1720M": _fit(
        (2.496, 0.569, 0.474, 8.710, 100, 0.004, 0.485, 0.438),
        (2.557, 0.407, 0.682, -0.527, 100, 0.390, 0.440, 0.412),
    ),
}
"""Figure 16: Eq. 4."""

REPLAY: PublishedFit = {
    "pt": {"L0": 3.067, "A": 0.480, "alpha": 0.510, "C1": 0.280, "C2": 0.263, "a1": 0.055}
    | {"B": 0.276, "E": 99.35, "a2": 3.238},
    "cpt": {"L0": 2.992, "A": 0.456, "alpha": 0.510, "C1": 0.285, "C2": 0.279, "a1": 0.037}
    | {"B": -0.526, "E": 100.34, "a2": 5.696},
}
"""Figure 19: Eq. 8 over replay ratios, as printed: beta is missing."""

SHIFT_BY_STEP: PublishedFit = {
    "pt": {"B": 0.368, "E": 0.008, "beta": 0.173},
    "cpt": {"B": -0.702, "E": 1.345, "beta": 0.131},
}
"""Eq. 3 at a constant LR, fitted to the shift alone; E is per step, not per LR x step."""

OUT_OF_DOMAIN: Mapping[str, Coefficients] = {
    name: {"cpt": k_cpt, "pt": k_pt}
    for name, k_cpt, k_pt in (
        ("C4", 0.152, 0.867),
        ("SlimPajama", 0.385, 0.622),
        ("Stories", -0.516, 1.409),
        ("StackExchange", 1.853, -0.546),
        ("arXiv", 1.631, -0.609),
        ("Books", 0.475, 0.611),
        ("Open-Web-Math", 1.2, -0.078),
        ("PhilPapers", 1.505, -0.178),
    )
}
"""Figure 9: loss on other sets, ``k_pt L_pt + k_cpt L_cpt``."""

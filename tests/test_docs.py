"""The documentation covers the public names; building it checks that each of them is found."""

import re
from pathlib import Path

import bayes_cpt

REFERENCE = Path(__file__).parents[1] / "docs/reference"


def test_every_public_name_has_its_place_in_the_reference():
    pages = "\n".join(path.read_text(encoding="utf-8") for path in sorted(REFERENCE.glob("*.md")))
    documented = re.findall(r"^::: bayes_cpt\.(\w+)$", pages, flags=re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) >= set(bayes_cpt.__all__)

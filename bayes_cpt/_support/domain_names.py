"""The user's names of the two domains that laws describe."""

from collections.abc import Collection
from typing import NamedTuple

from bayes_cpt.errors import DataError, hint


class DomainNames(NamedTuple):
    """What the old and the new data are called in tables, figures, decisions and messages.

    Laws, model files and priors know the two domains by their roles, ``pt`` and ``cpt``. Everything else goes by name.

    Parameters
    ----------
    pt
        Name of the domain whose loss is on old data.
    cpt
        Name of the domain whose loss is on new data.
    """

    pt: str = "pt"
    cpt: str = "cpt"

    def role(self, domain: str) -> str:
        """Return ``pt`` or ``cpt``; any other domain is returned as it is."""
        return {self.pt: "pt", self.cpt: "cpt"}.get(domain, domain)

    def of(self, role: str) -> str:
        """Return the name of ``pt`` or ``cpt``."""
        return {"pt": self.pt, "cpt": self.cpt}[role]

    def ordered(self, domains: Collection[str]) -> list[str]:
        """Return the old data first, then the new, then the others by name."""
        return sorted(domains, key=lambda domain: (domain != self.pt, domain != self.cpt, domain))

    def check(self, domains: Collection[str]) -> None:
        """Refuse names that are not those of two different domains.

        Parameters
        ----------
        domains
            The measured domains.

        Raises
        ------
        DataError
            If a name that was given is not measured, both are the same, or ``pt`` or ``cpt`` would be two domains.
        """
        known = ", ".join(sorted(domains))
        for role, name in self._asdict().items():
            if name not in domains and name != role:
                raise DataError(f"no losses on {name!r}, given as {role}{hint(name, domains)}; the data have {known}")
            if role in domains and name != role and self.role(role) == role:
                raise DataError(
                    f"{name!r} is given as {role}, and the data have a domain {role!r} too: rename that in losses.csv"
                )
        if self.pt == self.cpt:
            raise DataError(f"{self.pt!r} is given as pt and as cpt: give two of the domains {known}")


OWN_ROLES = DomainNames()
"""The domains are called ``pt`` and ``cpt``."""

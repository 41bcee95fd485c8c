"""Registries: entries by name, to which users add their own."""

from collections.abc import Iterator, Mapping

from bayes_cpt.errors import SpecError, hint, quoted


class UnknownNameError(SpecError, KeyError):
    """A name that a registry does not have."""

    __str__ = SpecError.__str__  # a KeyError would show the message in quotes


class Registry[T](Mapping[str, T]):
    """Entries by name, in the order in which they were registered.

    A mapping whose error for an unknown name lists all names.

    Parameters
    ----------
    kind
        What an entry is, for messages: ``"law"``.
    entries
        The first entries.

    Examples
    --------
    >>> colours = Registry("colour", {"red": "#f00"})
    >>> colours.register("green", "#0f0")
    >>> list(colours)
    ['red', 'green']
    """

    def __init__(self, kind: str, entries: Mapping[str, T]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self)})"

    def register(self, name: str, entry: T, *, replace: bool = False) -> None:
        """Add an entry.

        Parameters
        ----------
        name
            Its name.
        entry
            The entry.
        replace
            Whether it may replace another of that name, for example when a notebook's cell runs again.

        Raises
        ------
        SpecError
            If the name is taken and ``replace`` is false.
        """
        if name in self._entries and not replace:
            raise SpecError(f"there is a {self.kind} {name!r} already: choose another name, or pass replace=True")
        self._entries[name] = entry

    def unregister(self, name: str) -> None:
        """Remove an entry.

        Raises
        ------
        SpecError
            If there is none of that name.
        """
        del self._entries[self._known(name)]

    def __getitem__(self, name: str) -> T:
        return self._entries[self._known(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def _known(self, name: str) -> str:
        if name not in self._entries:
            raise UnknownNameError(
                f"unknown {self.kind} {quoted(name)}{hint(name, self)}: the {self.kind}s are {', '.join(self)}"
            )
        return name

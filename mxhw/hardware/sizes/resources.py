"""Amounts of a platform's resources."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["NOTHING", "Resources"]


@dataclass(frozen=True)
class Resources:
    """Amounts by name: "area" [um2], or "lut", "ff", "dsp" and "bram"; those that are not named are 0."""

    amounts: Mapping[str, float]

    def __add__(self, other: "Resources") -> "Resources":
        names = {**self.amounts, **other.amounts}
        return Resources({name: self[name] + other[name] for name in names})

    def __mul__(self, times: float) -> "Resources":
        return Resources({name: amount * times for name, amount in self.amounts.items()})

    def __getitem__(self, name: str) -> float:
        return self.amounts.get(name, 0.0)

    def __iter__(self) -> Iterator[str]:
        return iter(self.amounts)


NOTHING = Resources(MappingProxyType({}))

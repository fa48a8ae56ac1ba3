"""A mapping that grows with the log: what is old lies packed, and is made into a value when somebody asks for it.

Every entry belongs to a release: its key is the number, or begins with it. Those of a few releases in a row lie on one
shelf, as lines of JSON that are compressed together, so that ten thousand releases are one megabyte which is carried
about and not read. An archive equals the dict of the same entries; a value that was packed is equal, not the same.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

SHELF = 32  # releases on one; a shelf is opened for one of them in a tenth of a millisecond
K = TypeVar("K")
V = TypeVar("V")


@dataclasses.dataclass(frozen=True)
class Codec(Generic[V]):
    """How a value is written as JSON, and read again."""

    write: Callable[[V], Any]
    read: Callable[[Any], V]


@dataclasses.dataclass(frozen=True)
class _Shelf(Generic[K]):
    """An open one: which line has the value of which key."""

    places: Mapping[K, int]
    lines: list[str]


class Archive(Mapping[K, V]):
    """`packed` are the shelves by their number, `fresh` what has been put in or changed since they were packed.

    Only who has made the copy puts anything in: to everybody else it is as frozen as the state that it is part of.
    """

    def __init__(
        self,
        codec: Codec[V],
        packed: Mapping[int, bytes | memoryview] | None = None,
        fresh: Mapping[K, V] | None = None,
    ) -> None:
        self._codec = codec
        self.packed: dict[int, bytes | memoryview] = dict(packed or {})
        self._fresh: dict[K, V] = dict(fresh or {})
        self._open: dict[int, _Shelf[K]] = {}
        self._read: dict[K, V] = {}

    def __getitem__(self, key: K) -> V:
        if key in self._fresh:
            return self._fresh[key]
        if key not in self._read:
            shelf = self._opened(_number(key) // SHELF)
            self._read[key] = self._codec.read(json.loads(shelf.lines[shelf.places[key]]))
        return self._read[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._fresh[key] = value

    def __contains__(self, key: object) -> bool:
        return key in self._fresh or key in self._opened(_number(key) // SHELF).places

    def __iter__(self) -> Iterator[K]:
        """In the order of releases as they were packed, then what came since."""
        for number in sorted(self.packed):
            yield from self._opened(number).places
        yield from (key for key in self._fresh if not self._is_packed(key))

    def __reversed__(self) -> Iterator[K]:
        return self.down()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return bool(self._fresh or self.packed)

    def down(self, highest: int | None = None) -> Iterator[K]:
        """Keys from the newest to the oldest, those above release `highest` left out; opens shelves as it comes by."""
        found = (key for key in reversed(self._fresh) if not self._is_packed(key))
        yield from (key for key in found if highest is None or _number(key) <= highest)
        for number in sorted(self.packed, reverse=True):
            if highest is None or number * SHELF <= highest:
                keys = reversed(list(self._opened(number).places))
                yield from (key for key in keys if highest is None or _number(key) <= highest)

    def of(self, number: int) -> Iterator[K]:
        """The keys that belong to one release."""
        packed = self._opened(number // SHELF).places
        yield from (key for key in packed if _number(key) == number)
        yield from (key for key in self._fresh if _number(key) == number and key not in packed)

    def copy(self) -> Archive[K, V]:
        """One that may be put into. What is packed is shared; it costs as much as what came since."""
        other = Archive(self._codec, self.packed, self._fresh)
        other._open, other._read = self._open, self._read
        return other

    def pack(self) -> Archive[K, V]:
        """The same entries, all of them packed: only shelves with something new on them are made anew."""
        packed, changed = dict(self.packed), {_number(key) // SHELF for key in self._fresh}
        for number in changed:
            keys = [*self._opened(number).places]
            known = set(keys)
            keys += [key for key in self._fresh if _number(key) // SHELF == number and key not in known]
            packed[number] = self._shelf(keys)
        return Archive(self._codec, packed)

    def _shelf(self, keys: list[K]) -> bytes:
        old = self._opened(_number(keys[0]) // SHELF)
        fresh = {key: json.dumps(self._codec.write(self._fresh[key])) for key in keys if key in self._fresh}
        lines = [json.dumps(keys), *(fresh[key] if key in fresh else old.lines[old.places[key]] for key in keys)]
        return zlib.compress("\n".join(lines).encode())

    def _opened(self, number: int) -> _Shelf[K]:
        if number not in self._open:
            self._open[number] = _Shelf({}, [])
            if number in self.packed:
                keys, *lines = zlib.decompress(self.packed[number]).decode().split("\n")
                self._open[number] = _Shelf({_key(key): place for place, key in enumerate(json.loads(keys))}, lines)
        return self._open[number]

    def _is_packed(self, key: K) -> bool:
        return key in self._opened(_number(key) // SHELF).places


def newest_first(releases: Mapping[int, V], *, highest: int | None = None) -> Iterator[int]:
    """The numbers of releases from the newest down, those above `highest` left out. Numbers only grow in a log."""
    if isinstance(releases, Archive):
        yield from releases.down(highest)
    else:
        numbers = reversed(cast("dict[int, V]", releases))
        yield from (number for number in numbers if highest is None or number <= highest)


def of_release(entries: Mapping[tuple[int, str], V], number: int) -> dict[str, V]:
    """What belongs to one release, by the rest of its key."""
    keys = entries.of(number) if isinstance(entries, Archive) else (key for key in entries if key[0] == number)
    return {key[1]: entries[key] for key in keys}


def _number(key: Any) -> int:
    number: int = key[0] if isinstance(key, tuple) else key
    return number


def _key(said: Any) -> Any:
    return tuple(said) if isinstance(said, list) else said

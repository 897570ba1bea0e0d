"""Maps of the wire as dataclasses: what is None is absent, what is unknown is kept in `extra`."""
import dataclasses
import typing


@dataclasses.dataclass
class Record:
    """Fields are annotated with their types; both directions follow the annotations."""

    extra: dict = dataclasses.field(default_factory=dict, kw_only=True)

    def to_map(self):
        """The map of the wire. TypeError names the field that has a wrong type."""
        hints = typing.get_type_hints(type(self))
        found = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "extra" or value is None:
                continue
            found[field.name] = _to_wire(hints[field.name], value, field.name)
        return {**found, **self.extra}

    @classmethod
    def from_map(cls, found):
        """From the map of the wire; TypeError when a field is missing or has a wrong type."""
        hints = typing.get_type_hints(cls)
        names = {field.name for field in dataclasses.fields(cls)} - {"extra"}
        known = {name: _from_wire(hints[name], value, name) for name, value in found.items()
                 if name in names and value is not None}
        return cls(**known, extra={name: value for name, value in found.items()
                                   if name not in names})


def _plain(hint):
    """What an annotation allows beside None: (kind, argument)."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if typing.get_origin(hint) is typing.Union and len(kinds) == 1:
        hint = kinds[0]
    arguments = typing.get_args(hint)
    return typing.get_origin(hint) or hint, arguments[-1] if arguments else None


def _check(kind, value, name):
    allowed = {float: (int, float), bytes: (bytes, bytearray, str)}.get(kind, kind)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name}: expected {kind.__name__}, found {type(value).__name__}")
    return value


def _to_wire(hint, value, name):
    kind, argument = _plain(hint)
    _check(kind, value, name)
    if isinstance(value, Record):
        return value.to_map()
    if kind is list:
        return [_to_wire(argument, item, f"{name}[{at}]") for at, item in enumerate(value)]
    if kind is dict:
        return {key: _to_wire(argument, item, f"{name}.{key}") for key, item in value.items()}
    return value.encode() if kind is bytes and isinstance(value, str) else value


def _from_wire(hint, value, name):
    kind, argument = _plain(hint)
    if issubclass(kind, Record):
        return kind.from_map(_check(dict, value, name))
    _check(kind, value, name)
    if kind is list:
        return [_from_wire(argument, item, f"{name}[{at}]") for at, item in enumerate(value)]
    if kind is dict:
        return {key: _from_wire(argument, item, f"{name}.{key}") for key, item in value.items()}
    return value.encode() if kind is bytes and isinstance(value, str) else value

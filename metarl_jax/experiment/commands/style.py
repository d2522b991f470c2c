"""How tyro reads and describes the arguments of every command."""

from tyro.conf import DisallowNone, PositionalMetavarFromFieldName

STYLE = (DisallowNone, PositionalMetavarFromFieldName)

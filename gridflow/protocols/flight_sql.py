"""Flight SQL's commands and actions, as bytes: what ADBC, JDBC and other clients of Arrow Flight SQL say.

They are messages of protobuf, most of them within a ``google.protobuf.Any`` that names the class. pyarrow has no server
of Flight SQL, so their fields stand here, one line a message: number, type (``?``: it may be left out, which is not the
same as empty; ``*``: there may be several) and name. The classes come from a descriptor pool of our own, apart from
anybody else's. Do not change: the numbers are those of ``FlightSql.proto`` and ``Flight.proto`` of Apache Arrow.

A field that is not known is passed over, as newer clients may send more. A field of another type than ours is an error.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet

from ..errors import UsageError

_SQL = "arrow.flight.protocol.sql"
_FLIGHT = "arrow.flight.protocol"
_URL = "type.googleapis.com/"
_PREFIX = f"{_URL}{_SQL}.".encode()

#: Message -> its fields. Enums are int32 here, which is the same on the wire.
_SQL_MESSAGES = {
    "CommandGetSqlInfo": "1 uint32* info",
    "CommandGetXdbcTypeInfo": "1 int32? data_type",
    "CommandGetCatalogs": "",
    "CommandGetDbSchemas": "1 string? catalog, 2 string? db_schema_filter_pattern",
    "CommandGetTables": "1 string? catalog, 2 string? db_schema_filter_pattern, 3 string? table_name_filter_pattern, "
    "4 string* table_types, 5 bool include_schema",
    "CommandGetTableTypes": "",
    "CommandGetPrimaryKeys": "1 string? catalog, 2 string? db_schema, 3 string table",
    "CommandGetExportedKeys": "1 string? catalog, 2 string? db_schema, 3 string table",
    "CommandGetImportedKeys": "1 string? catalog, 2 string? db_schema, 3 string table",
    "CommandGetCrossReference": "1 string? pk_catalog, 2 string? pk_db_schema, 3 string pk_table, "
    "4 string? fk_catalog, 5 string? fk_db_schema, 6 string fk_table",
    "CommandStatementQuery": "1 string query, 2 bytes? transaction_id",
    "CommandStatementUpdate": "1 string query, 2 bytes? transaction_id",
    "CommandPreparedStatementQuery": "1 bytes prepared_statement_handle",
    "CommandPreparedStatementUpdate": "1 bytes prepared_statement_handle",
    "CommandStatementSubstraitPlan": "",
    "CommandStatementIngest": "1 IngestOptions table_definition_options, 2 string table, 3 string? schema, "
    "4 string? catalog, 5 bool temporary, 6 bytes? transaction_id",
    "IngestOptions": "1 int32 if_not_exist, 2 int32 if_exists",
    "TicketStatementQuery": "1 bytes statement_handle",
    "DoPutUpdateResult": "1 int64 record_count",
    "ActionCreatePreparedStatementRequest": "1 string query, 2 bytes? transaction_id",
    "ActionCreatePreparedStatementResult": "1 bytes prepared_statement_handle, 2 bytes dataset_schema, "
    "3 bytes parameter_schema, 4 bool? is_update",
    "ActionClosePreparedStatementRequest": "1 bytes prepared_statement_handle",
    "ActionBeginTransactionRequest": "",
    "ActionBeginTransactionResult": "1 bytes transaction_id",
    "ActionEndTransactionRequest": "1 bytes transaction_id, 2 int32 action",
    "ActionCancelQueryRequest": "1 bytes info",
    "ActionCancelQueryResult": "1 int32 result",
}
#: Those of Flight itself, which travel as they are and not within an Any.
_FLIGHT_MESSAGES = {
    "FlightInfo": "1 bytes schema, 3 FlightEndpoint* endpoint",
    "FlightEndpoint": "1 Ticket ticket",
    "Ticket": "1 bytes ticket",
    "CancelFlightInfoRequest": "1 FlightInfo info",
    "CancelFlightInfoResult": "1 int32 status",
    "RenewFlightEndpointRequest": "1 FlightEndpoint endpoint",
    "SessionOptionValue": "1 string? string_value, 2 bool? bool_value, 3 sfixed64? int64_value, "
    "4 double? double_value, 5 StringListValue string_list_value",
    "StringListValue": "1 string* values",
    # A map is a repeated message of key and value.
    "SessionOption": "1 string key, 2 SessionOptionValue value",
    "SetSessionOptionsRequest": "1 SessionOption* session_options",
    "SessionOptionError": "1 string key, 2 SessionErrorValue value",
    "SessionErrorValue": "1 int32 value",
    "SetSessionOptionsResult": "1 SessionOptionError* errors",
    "GetSessionOptionsRequest": "",
    "GetSessionOptionsResult": "1 SessionOption* session_options",
    "CloseSessionRequest": "",
    "CloseSessionResult": "1 int32 status",
}
_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    name: getattr(_Field, f"TYPE_{name.upper()}")
    for name in ("uint32", "int32", "int64", "sfixed64", "double", "bool", "string", "bytes")
}
_LABELS = {"?": _Field.LABEL_OPTIONAL, "*": _Field.LABEL_REPEATED}


@cache
def _classes() -> dict[str, Any]:
    """The classes of all messages, by name."""
    pool = descriptor_pool.DescriptorPool()
    for package, messages in ((_SQL, _SQL_MESSAGES), (_FLIGHT, _FLIGHT_MESSAGES)):
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        for name, fields in messages.items():
            _describe(file.message_type.add(name=name), package, fields)
        pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for package, messages in ((_SQL, _SQL_MESSAGES), (_FLIGHT, _FLIGHT_MESSAGES))
        for name in messages
    }


def _describe(described: Any, package: str, fields: str) -> None:
    for text in filter(None, fields.split(", ")):
        number, kind, name = text.split()
        kind, mark = (kind[:-1], kind[-1]) if kind[-1] in _LABELS else (kind, "")
        field = described.field.add(name=name, number=int(number), label=_LABELS.get(mark, _Field.LABEL_OPTIONAL))
        if kind in _TYPES:
            field.type = _TYPES[kind]
        else:
            field.type, field.type_name = _Field.TYPE_MESSAGE, f".{package}.{kind}"
        if mark == "?":  # a oneof of its own is how proto3 tells whether it is there
            field.proto3_optional, field.oneof_index = True, len(described.oneof_decl)
            described.oneof_decl.add(name=f"_{name}")


def is_command(data: bytes) -> bool:
    """Whether bytes are an Any of Flight SQL, and so no message of Gridflow's own.

    >>> is_command(encode_any("CommandGetCatalogs")), is_command(b"")
    (True, False)
    """
    return data[:1] == b"\n" and _PREFIX in data[: len(_PREFIX) + 8]


def decode_any(data: bytes) -> tuple[str, Any]:
    """The name of a message in an Any, and the message.

    Raises:
        UsageError: it is no Any, or of no message that is known here; or a field is cut or of another type.

    >>> decode_any(encode_any("CommandStatementQuery", query="SELECT 1"))
    ('CommandStatementQuery', query: "SELECT 1"
    )
    """
    from google.protobuf.any_pb2 import Any as AnyMessage

    around = AnyMessage()
    _parse(around, data, "a command of Flight SQL")
    name = around.type_url.removeprefix(f"{_URL}{_SQL}.")
    if name == around.type_url or name not in _SQL_MESSAGES:
        raise UsageError(f"no command {around.type_url[:200]!r} of Flight SQL is known here")
    return name, decode(name, around.value)


def decode(name: str, data: bytes) -> Any:
    """A message that is not within an Any.

    Raises:
        UsageError: it is cut, or a field is of another type.
    """
    result = _classes()[name]()
    _parse(result, data, name)
    return result


def _parse(into: Any, data: bytes, what: str) -> None:
    try:
        into.ParseFromString(data)
    except message.DecodeError as error:
        raise UsageError(f"{what} cannot be read: {error}") from None
    _check_types(into, what)


def _check_types(found: Any, what: str) -> None:
    """Raise if a field has another type than it should: to protobuf it is one that it does not know."""
    fields = found.DESCRIPTOR.fields_by_number
    for unknown in UnknownFieldSet(found):
        if unknown.field_number in fields:
            raise UsageError(f"{what}: {fields[unknown.field_number].name} is of another type")
    for field, value in found.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, message.Message) else value:
                _check_types(inner, what)


def encode_any(name: str, **fields: Any) -> bytes:
    """The bytes of a message within an Any."""
    from google.protobuf.any_pb2 import Any as AnyMessage

    return AnyMessage(type_url=f"{_URL}{_SQL}.{name}", value=encode(name, **fields)).SerializeToString()


def encode(name: str, **fields: Any) -> bytes:
    """The bytes of a message that is not within an Any."""
    return _classes()[name](**fields).SerializeToString()

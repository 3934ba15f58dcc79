"""``tf.train.Example``, the message in most TFRecord files, without TensorFlow.

::

    Example { Features features = 1 }
    Features { map<string, Feature> feature = 1 }
    Feature { oneof kind { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3 } }
    BytesList { repeated bytes value = 1 }    FloatList { repeated float value = 1 }    Int64List { ... int64 ... }

The classes come from a descriptor pool of our own, apart from TensorFlow's. Do not change: the numbers are those of
tensorflow/core/example/*.proto, part of the format of TFRecord files.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "gridflow.tfrecord"
_Field = descriptor_pb2.FieldDescriptorProto
#: The kinds of features: each is a list.
KINDS = ("bytes_list", "float_list", "int64_list")


@cache
def example_class() -> Any:
    """The class of an Example."""
    file = descriptor_pb2.FileDescriptorProto(name="gridflow_tfrecord.proto", package=_PACKAGE, syntax="proto3")
    lists = (("BytesList", _Field.TYPE_BYTES), ("FloatList", _Field.TYPE_FLOAT), ("Int64List", _Field.TYPE_INT64))
    for name, kind in lists:
        values = file.message_type.add(name=name)
        values.field.add(name="value", number=1, type=kind, label=_Field.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, (message, _)) in enumerate(zip(KINDS, lists, strict=True), 1):
        _add(feature, name, number, message).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    _add(entry, "value", 2, "Feature")
    _add(features, "feature", 1, "Features.FeatureEntry").label = _Field.LABEL_REPEATED
    _add(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


def _add(message: Any, name: str, number: int, of: str) -> Any:
    kind, label = _Field.TYPE_MESSAGE, _Field.LABEL_OPTIONAL
    return message.field.add(name=name, number=number, type=kind, label=label, type_name=f".{_PACKAGE}.{of}")

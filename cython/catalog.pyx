"""The catalog's and a new table's bytes."""
import os

from libc.stdint cimport uint32_t, uint64_t
from libcpp.string cimport string

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec
from gridflow._native.status cimport check

core.process_state = shared_state()


def read_catalog(str home):
    """The catalog of a grid: (version, next table id, [(table id, name, options as JSON text)]).

    Raises:
        GridNotFound: there is no catalog.
        GridCorruptError, GridVersionError: it is damaged, or of a newer format.
    """
    cdef Catalog catalog
    cdef size_t i
    check(Catalog.Read(os.fsencode(home) + b"/catalog", &catalog))
    tables = [
        (catalog.tables[i].table_id, catalog.tables[i].name.decode(), catalog.tables[i].options.decode())
        for i in range(catalog.tables.size())
    ]
    return catalog.version, catalog.next_table_id, tables


def write_catalog(str home, uint64_t version, uint32_t next_table_id, list tables, bint durable):
    """Replaces the catalog; arguments as ``read_catalog`` returns them."""
    cdef Catalog catalog
    cdef CatalogEntry entry
    catalog.version = version
    catalog.next_table_id = next_table_id
    for table_id, name, options in tables:
        entry.table_id = table_id
        entry.name = name.encode()
        entry.options = options.encode()
        catalog.tables.push_back(entry)
    check(catalog.Write(os.fsencode(home) + b"/catalog", durable))


def find_table(str home, str name):
    """The id of a table by its name, or by Ignite's cache name SQL_PUBLIC_<name>; None if there is none."""
    cdef Catalog catalog
    cdef const CatalogEntry* entry
    check(Catalog.Read(os.fsencode(home) + b"/catalog", &catalog))
    entry = catalog.Find(name.encode())
    return None if entry == NULL else entry.table_id


def kept_files(str folder, uint64_t version):
    """The names of a past version's files in a table's folder: segments, copies that may be there, deletion bitmaps.

    Raises:
        GridNotFound: it is not kept.
        GridCorruptError, GridVersionError: its manifest is damaged, or of a newer format.
    """
    cdef Manifest manifest
    check(Manifest.ReadKept(os.fsencode(folder), version, &manifest))
    return {name.decode() for name in manifest.Files()}


def write_first_manifest(
    str folder, uint32_t table_id, RowCodec codec, uint32_t partitions, uint64_t lsn, bint durable
):
    """Writes version 1 of a new table, which has no rows; ``lsn`` is the log's last one."""
    cdef Manifest manifest
    manifest.table_id = table_id
    manifest.partitions = partitions
    manifest.version = 1
    manifest.flushed_lsn = lsn
    manifest.next_file_id = 1
    manifest.schema = codec.schema
    check(manifest.Write(os.fsencode(folder) + b"/manifest", durable))

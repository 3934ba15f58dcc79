"""The catalog's and a new table's bytes."""
import os

from libc.stdint cimport uint32_t, uint64_t
from libcpp.set cimport set as cset
from libcpp.string cimport string

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec
from gridflow._native.status cimport check

core.process_state = shared_state()


cdef string path_of(str home):
    return os.fsencode(home) + <bytes>b"/catalog"


def read_catalog(str home):
    """The catalog of a grid.

    Returns:
        (version, next table id, tables, bytes of what was written whole, where the next change goes or 0). Of each table
        (table id, name, options as JSON text, {tag: its version, 0 for none any more} since those options).

    Raises:
        GridNotFoundError: there is no catalog.
        GridCorruptError, GridVersionError: it is damaged, or of a newer format.
    """
    cdef Catalog catalog
    cdef CatalogEntry* entry
    cdef size_t i
    check(Catalog.Read(path_of(home), &catalog))
    tables = []
    for i in range(catalog.tables.size()):
        entry = &catalog.tables[i]
        tags = {} if entry.tags.empty() else {tag.first.decode(): tag.second for tag in entry.tags}
        tables.append((entry.table_id, entry.name.decode(), entry.options.decode(), tags))
    return catalog.version, catalog.next_table_id, tables, catalog.body_bytes, catalog.end


def write_catalog(str home, uint64_t version, uint32_t next_table_id, tables, bint durable):
    """Replaces the catalog.

    Args:
        tables: (table id, name, options as JSON text) of each; their tags are among the options.

    Returns:
        Its bytes, which is where the next change goes.
    """
    cdef Catalog catalog
    cdef CatalogEntry entry
    catalog.version = version
    catalog.next_table_id = next_table_id
    for table_id, name, options in tables:
        entry.table_id = table_id
        entry.name = name.encode()
        entry.options = options.encode()
        catalog.tables.push_back(entry)
    check(catalog.Write(path_of(home), durable))
    return catalog.end


cdef object append(str home, CatalogChange& change, uint64_t end, bint durable):
    check(Catalog.Append(path_of(home), change, durable, &end))
    return end


def append_put(
    str home, uint64_t end, uint64_t version, uint32_t next_table_id, uint32_t table_id, str name, str options, bint durable
):
    """Appends to the catalog, at ``end``, that there is a table, or that it has other options.

    Returns:
        Where the next change goes.

    Raises:
        GridFullError: there is no room; nothing has changed.
    """
    cdef CatalogChange change
    change.version = version
    change.next_table_id = next_table_id
    change.kind = GF_CHANGE_PUT
    change.entry.table_id = table_id
    change.entry.name = name.encode()
    change.entry.options = options.encode()
    return append(home, change, end, durable)


def append_remove(str home, uint64_t end, uint64_t version, uint32_t next_table_id, uint32_t table_id, bint durable):
    """Appends that a table is gone; else as ``append_put``."""
    cdef CatalogChange change
    change.version = version
    change.next_table_id = next_table_id
    change.kind = GF_CHANGE_REMOVE
    change.entry.table_id = table_id
    return append(home, change, end, durable)


def append_tag(
    str home, uint64_t end, uint64_t version, uint32_t next_table_id, uint32_t table_id, str tag, uint64_t tagged,
    bint durable
):
    """Appends that a tag is that of version ``tagged`` of a table, 0 for none any more; else as ``append_put``."""
    cdef CatalogChange change
    change.version = version
    change.next_table_id = next_table_id
    change.kind = GF_CHANGE_TAG
    change.entry.table_id = table_id
    change.tag = tag.encode()
    change.tagged = tagged
    return append(home, change, end, durable)


def find_table(str home, str name):
    """The id of a table by its name, or by Ignite's cache name SQL_PUBLIC_<name>; None if there is none."""
    cdef Catalog catalog
    cdef const CatalogEntry* entry
    check(Catalog.Read(path_of(home), &catalog))
    entry = catalog.Find(name.encode())
    return None if entry == NULL else entry.table_id


def kept_files(str folder, versions):
    """The files of past versions in a table's folder.

    Args:
        versions: their numbers, rising; those that are not kept any more are left out.

    Returns:
        (names, numbers): the names of their segments, copies that may be there, and deletion bitmaps, each once, and the
        numbers of the versions that are there.

    Raises:
        GridCorruptError, GridVersionError: a manifest is damaged, or of a newer format.
    """
    cdef Manifest manifest
    cdef Status status
    cdef string path = os.fsencode(folder)
    cdef cset[string] names, some
    found = []
    for version in versions:
        status = Manifest.ReadKept(path, version, &manifest)
        if status.code == Code.kNotFound:
            continue
        check(status)
        found.append(version)
        some = manifest.Files()
        names.insert(some.begin(), some.end())
    return {name.decode() for name in names}, found


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

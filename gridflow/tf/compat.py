"""IgniteDataset: the dataset of tf.contrib.ignite and tfio.ignite, by its own arguments and for TensorFlow 1 as well.

Public as ``gridflow.compat.IgniteDataset``.
"""

from __future__ import annotations

import ipaddress
import operator
import socket
from typing import Any

import tensorflow as tf

from ..credentials import Credentials, keep
from ..errors import UsageError
from ..protocols.address import DEFAULT_PORT, Endpoint
from .dataset import Dataset

#: Where Ignite's thin clients connect.
IGNITE_PORT = 10800


class IgniteDataset(Dataset, tf.compat.v1.data.Dataset):
    """A cache as a dataset, for programs written for TensorFlow's dataset of Apache Ignite: change their import.

    Elements are single rows, ``{"key": ..., "val": ...}`` as in ``gridflow.Dataset``, of the default grid. What
    TensorFlow 1 has (``make_one_shot_iterator``, ``output_types``, ...) is there, also after ``map`` and the like.
    In a process that executes the dataset, environment variables override what is given here: ``IGNITE_DATASET_PART``
    and so on; see docs/ignite.md.

    Args:
        cache_name: the name of a cache or table, also as ``SQL_PUBLIC_<NAME>``.
        host: where a node of Gridflow listens; the default grid of this machine, if it is a name of that. Its rows
            come as docs/remote.md says.
        port: of the node; Ignite's own, 10800, means Gridflow's, 10850. Of this machine it has no effect.
        page_size: no effect, since rows are not fetched in pages.
        local: no effect: all partitions of a grid are on its machine.
        part: the number of the only partition to read, which may be a tensor; -1 for all.
        username, password: who this is there; else what ``gridflow.connect`` finds. With ``certfile`` (and
            ``keyfile``, ``cert_password``) the connection is encrypted, and this is the client's certificate. None of
            these is part of the graph. Of this machine they have no effect: who may read the grid's files may read it.
        schema_host, schema_port: as ``host`` and ``port``.

    Raises:
        UsageError: an argument is of no use.
        GridConnectionError, GridAccessError: no node answers at ``host``, or it does not let us in.
        SchemaError: there is no such partition.
        TableNotFoundError: the grid has no such cache.
        GridNotFoundError: there is no default grid; ``GRIDFLOW_HOME`` says where it is.

    >>> import gridflow, os, tempfile, unittest.mock
    >>> with unittest.mock.patch.dict(os.environ, GRIDFLOW_HOME=tempfile.mkdtemp()), gridflow.connect() as grid:
    ...     grid.cache("KITTENS").put(1, {"name": "WARM KITTY", "size": {"weight": 1.5}})
    ...     for element in IgniteDataset("KITTENS").as_numpy_iterator():
    ...         print(element["key"], element["val"]["name"], element["val"]["size"]["weight"])
    1 b'WARM KITTY' 1.5
    """

    def __init__(
        self,
        cache_name: str,
        host: str = "localhost",
        port: int = 10800,
        local: bool = False,
        part: Any = -1,
        page_size: int = 100,
        username: str | None = None,
        password: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        cert_password: str | None = None,
        *,
        schema_host: str | None = None,
        schema_port: int | None = None,
    ):
        if schema_host is not None and not _is_this_machine(schema_host) and schema_host != host:
            raise UsageError(f"schema_host is {schema_host!r}, and the schema is where the rows are, at {host!r}")
        for name, value in (("port", port), ("schema_port", schema_port), ("page_size", page_size)):
            if value is not None and not _is_positive(value):
                raise UsageError(f"{name} is {value!r}, and should be a positive number")
        if local not in (True, False):  # tfio has schema_host in its place
            raise UsageError(f"local is {local!r}, and should be True or False; what comes after it goes by name")
        everything = not tf.is_tensor(part) and part == -1
        home = None
        if host is not None and not _is_this_machine(host):
            known = Credentials(username, password, None, None, certfile, keyfile or certfile, cert_password)
            home = _address(host, port, known.check())
        super().__init__(cache_name, home=home, partitions=None if everything else part)

    _environment_wins = True  # whoever wrote the program could not leave its arguments to the environment

    def _as_variant_tensor(self) -> tf.Tensor:
        return self._variant_tensor  # TensorFlow 1's own datasets make it here


def _address(host: str, port: int, credentials: Credentials) -> str:
    """The node's address; what goes with it is kept in this process, and nowhere else."""
    scheme = "grid+tls" if credentials.cert is not None else "grid"
    endpoint = Endpoint(scheme, host=host, port=DEFAULT_PORT if port in (None, IGNITE_PORT) else port)
    if credentials != Credentials():
        keep([str(endpoint)], credentials)
    return str(endpoint)


def _is_this_machine(host: str) -> bool:
    """As IsThisMachine in kernels/ops/environment.cc, which is asked about hosts that the environment names."""
    name = host.strip().lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in ("", "localhost", socket.gethostname().lower())


def _is_positive(value: Any) -> bool:
    try:
        return operator.index(value) >= 1
    except TypeError:
        return False

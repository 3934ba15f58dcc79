"""Places to publish at: a folder, the memory of the process, and an S3 server that others wrote."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server in this process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket there."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{secrets.token_hex(8)}"
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}/grid"


@pytest.fixture(params=["file", "memory", "s3"])
def url(request: pytest.FixtureRequest, home: Path) -> str:
    """A place where nothing was published yet."""
    if request.param == "file":
        return f"file://{home}/place"
    if request.param == "memory":
        return f"memory://{secrets.token_hex(8)}/place"
    return request.getfixturevalue("s3")

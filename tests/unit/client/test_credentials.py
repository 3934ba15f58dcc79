"""Where credentials come from, and that they show nowhere."""

from __future__ import annotations

import os
import pickle

import pytest

import gridflow
from gridflow import credentials
from gridflow.credentials import Credentials
from gridflow.errors import GridAccessError, UsageError

SECRET = "s3cret-kitty"


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    for name in credentials.NAMES:
        monkeypatch.delenv(f"GRIDFLOW_{name.upper()}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(credentials.FILE_VARIABLE, raising=False)


def written(path, text, mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_arguments_win_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    path = tmp_path / "config" / "gridflow" / "credentials.toml"
    assert credentials.find(["grid://a:1"]) == Credentials()
    written(path, f'["grid://a:1"]\nuser = "FILE"\npassword = "{SECRET}"\n\n["*"]\ntoken = \'t\'\n')
    assert credentials.find(["grid://a:1"]).user == "FILE"
    assert credentials.find(["grid://b:1"]).token == "t"
    monkeypatch.setenv("GRIDFLOW_USER", "ENV")
    monkeypatch.setenv("GRIDFLOW_PASSWORD", SECRET)
    assert credentials.find(["grid://a:1"]).user == "ENV"
    assert credentials.find(["grid://a:1"], {"user": "ARG", "password": SECRET, "token": None}).user == "ARG"
    monkeypatch.setenv("GRIDFLOW_USER", "")
    monkeypatch.setenv("GRIDFLOW_PASSWORD", "")
    monkeypatch.setenv(credentials.FILE_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="which is not there"):
        credentials.find(["grid://a:1"])


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_file_that_others_can_read_is_refused(tmp_path):
    path = written(tmp_path / "config" / "gridflow" / "credentials.toml", f'["*"]\ntoken = "{SECRET}"\n', 0o640)
    with pytest.raises(GridAccessError, match=f"chmod 600 {path}"):
        credentials.find(["grid://a:1"])


@pytest.mark.parametrize(
    "text",
    [
        f'token = "{SECRET}"',
        f'["*"]\ntoken = {SECRET}',
        f'["*"]\ntokn = "{SECRET}"',
        f'["*"]\npassword = """{SECRET}"""',
        f'["*"]\npassword = "{SECRET}\n',
        f"[*]\ntoken = '{SECRET}'",
    ],
)
def test_a_damaged_file_is_an_error_that_shows_nothing_of_it(text):
    with pytest.raises(UsageError, match=r"c.toml, line \d") as caught:
        credentials.parse(text, "c.toml")
    assert SECRET not in str(caught.value)


def test_texts_of_the_file_are_those_of_toml():
    parsed = credentials.parse('# ours\n[ "grid://a" ] # a\nuser = "A\\"\\\\\\tB" # who\npassword = \'a"#\\\'\n[b]\n')
    assert parsed == {"grid://a": {"user": 'A"\\\tB', "password": 'a"#\\'}, "b": {}}


@pytest.mark.parametrize(
    "given, message",
    [
        ({"user": "A", "password": SECRET, "token": SECRET}, "both say who you are"),
        ({"password": SECRET}, "a password goes with a user"),
        ({"user": "A:B", "password": SECRET}, "no colon"),
        ({"key": "k.pem"}, "with its certificate"),
        ({"user": "A", "password": 5}, "password= is a text, not a int"),
    ],
)
def test_what_does_not_fit_together_is_refused(given, message):
    with pytest.raises(UsageError, match=message) as caught:
        credentials.find(["grid://a:1"], given)
    assert SECRET not in str(caught.value)


def test_a_repr_shows_no_secret():
    known = Credentials(user="A", password=SECRET, key_password=SECRET)
    for text in (repr(known), str(known), f"{Credentials(token=SECRET)}", repr([known])):
        assert SECRET not in text
    assert pickle.loads(pickle.dumps(known)) == known


@pytest.mark.parametrize("address", [f"grid://kate:{SECRET}@box", f"grid+tls://{SECRET}@box:1"])
def test_an_address_with_a_password_is_refused_and_not_shown(address):
    with pytest.raises(UsageError, match="user= and password=") as caught:
        gridflow.connect(address)
    assert SECRET not in str(caught.value)


def test_credentials_are_for_addresses(tmp_path):
    with pytest.raises(UsageError, match="are for a grid's address"):
        gridflow.connect(tmp_path / "grid", user="A", password=SECRET)
    for option in ({"embedded": True}, {"durability": "fsync"}):
        with pytest.raises(UsageError, match="leave them out"):
            gridflow.connect("grid://127.0.0.1:1", **option)

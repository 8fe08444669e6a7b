"""The record on a PostgreSQL server and in a file, by the installed command."""

import json

import pytest

from fakes.postgres import PASSWORD, Postgres

from .conftest import Home


def test_a_case_is_worked_with_the_record_on_a_server(home: Home, postgres: Postgres) -> None:
    """From fault to list, with `store.url` given by the environment and its password in no file."""
    address = postgres.address(postgres.new_database())
    env = {"KUBECASE_STORE__URL": address}

    assert home.run("db", "check", env=env).returncode == 1
    assert b"went from nothing" in home.run("db", "upgrade", env=env).stdout
    done = home.run("demo", "--json", env=env)
    listed = home.run("list", "--json", env=env)
    checked = home.run("db", "check", "--json", env=env)
    shown = home.run("config", "show", env=env)

    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in json.loads(listed.stdout)] == ["success"]
    assert json.loads(checked.stdout)["kind"] == "postgresql"
    assert not (home.data / "kubecase.db").exists()
    said = done.stdout + done.stderr + listed.stdout + checked.stdout + shown.stdout + shown.stderr
    written = b"".join(each.read_bytes() for each in home.root.rglob("*") if each.is_file())
    assert PASSWORD.encode() not in said + written


def test_a_wrong_password_is_an_error_of_the_operators(home: Home, postgres: Postgres) -> None:
    """Exit code 2 and the remedy, and the password that was tried is nowhere."""
    address = postgres.address("postgres").replace(PASSWORD, "guessed-wrong")

    done = home.run("list", env={"KUBECASE_STORE__URL": address})

    assert done.returncode == 2
    assert b"Correct user and password of store.url" in done.stderr
    assert b"guessed-wrong" not in done.stdout + done.stderr


@pytest.mark.parametrize("secret", ["12/3secret", "12#3secret", "1@3secret"])
def test_an_address_that_would_show_its_password_is_refused(home: Home, secret: str) -> None:
    """A password that is not written out is refused where it was set, and not repeated."""
    env = {"KUBECASE_STORE__URL": f"postgresql://kubecase:{secret}@h/kubecase"}

    done = home.run("config", "show", env=env)

    assert done.returncode == 2
    assert b"KUBECASE_STORE__URL" in done.stderr
    assert b"3secret" not in done.stdout + done.stderr


def test_a_file_is_copied_and_the_copy_is_a_record(home: Home) -> None:
    """`db backup` writes a copy that works in the place of the record, and replaces nothing."""
    assert home.run("demo", "--json").returncode == 0

    assert home.run("db", "backup", "copy.db").returncode == 0
    again = home.run("db", "backup", "copy.db")
    env = {"KUBECASE_STORE__URL": f"sqlite:///{home.root}/copy.db"}

    assert again.returncode == 2
    assert b"there already" in again.stderr
    assert len(json.loads(home.run("list", "--json", env=env).stdout)) == 1

"""Names and ids of users and groups."""

import grp
import os
import pwd

import pytest

from meshflow.tasks.identity import Identity, resolve

ROOT = pwd.getpwuid(0)
ROOT_GROUP = grp.getgrgid(0)
NO_ACCOUNT = 2_000_000_011


@pytest.fixture(params=[0, 1000])
def effective_id(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    id_: int = request.param
    monkeypatch.setattr(os, "geteuid", lambda: id_)
    return id_


def test_nothing_given_is_nothing_changed(effective_id: int) -> None:
    assert resolve(None, None) == Identity()


@pytest.mark.parametrize("user", [ROOT.pw_uid, ROOT.pw_name])
def test_a_user_alone_changes_nothing_else(effective_id: int, user: int | str) -> None:
    assert resolve(user, None) == Identity(user=0)


@pytest.mark.parametrize("group", [0, ROOT_GROUP.gr_name])
def test_a_group_alone_changes_nothing_else(effective_id: int, group: int | str) -> None:
    assert resolve(None, group) == Identity(group=0)


def test_a_user_with_a_group_brings_the_users_supplementary_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getgrouplist", lambda name, group: [group, 7] if name == ROOT.pw_name else [])
    assert resolve(ROOT.pw_name, 5) == Identity(user=0, group=5, groups=(5, 7))


def test_without_roots_rights_no_supplementary_groups_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert resolve(0, 0) == Identity(user=0, group=0)


def test_a_user_id_without_an_account_is_in_its_group_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert resolve(NO_ACCOUNT, 5) == Identity(user=NO_ACCOUNT, group=5, groups=(5,))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown user 'no-such-user'"):
        resolve("no-such-user", None)
    with pytest.raises(ValueError, match="unknown group 'no-such-group'"):
        resolve(None, "no-such-group")

"""Under which user and groups a command runs."""

import grp
import os
import pwd
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """The numeric ids of a command; None leaves that of this process."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None
    """Supplementary groups. They and `group` must be set before `user`, while that is still permitted."""


def resolve(user: int | str | None, group: int | str | None) -> Identity:
    """The ids of a user and a group given by name or id.

    With both of them the supplementary groups become those of the user, so that nothing of this process's rights is
    left; with one of them only, nothing else changes, as in Lightflow. Without root's rights there are no supplementary
    groups to choose.

    Raises:
        ValueError: this host does not know the name.
    """
    user_id = _user_id(user)
    group_id = _group_id(group)
    if user_id is None or group_id is None or os.geteuid() != 0:
        return Identity(user_id, group_id)
    return Identity(user_id, group_id, _groups_of(user_id, group_id))


def _user_id(user: int | str | None) -> int | None:
    if not isinstance(user, str):
        return user
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError as exc:
        raise ValueError(f"unknown user {user!r} on this host") from exc


def _group_id(group: int | str | None) -> int | None:
    if not isinstance(group, str):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as exc:
        raise ValueError(f"unknown group {group!r} on this host") from exc


def _groups_of(user_id: int, group_id: int) -> tuple[int, ...]:
    try:
        name = pwd.getpwuid(user_id).pw_name
    except KeyError:  # An id without an account is in no further group.
        return (group_id,)
    return tuple(os.getgrouplist(name, group_id))

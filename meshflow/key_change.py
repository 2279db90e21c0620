"""Changing the key of a mesh while it works: `meshflow key rotate` and `meshflow key revoke`.

`runtime/key_files.py` has the steps. Here they are done on all nodes, from one client that speaks to each of them over
the mesh, and in its own key file. Each step is repeated until every living node has confirmed it, and only then the
next begins. So it does not matter when the client dies in between: every node can speak with every other after any
step, and `revoke` goes on from wherever it was.

Nodes that are down meanwhile keep the old key. So do clients on hosts without a node. They must be given the file.
"""

from collections.abc import Callable, Mapping, Sequence

from meshflow.core.key_messages import AskKeys, KeysHeld, UseKeys
from meshflow.core.member import Member, Status
from meshflow.core.messages import Message
from meshflow.errors import UsageError
from meshflow.ids import NodeId
from meshflow.mesh import Mesh
from meshflow.runtime.key_ring import KeyRing
from meshflow.runtime.keys import MeshKey, make_key

_PATIENCE_S = 20.0
"""How long a step is repeated. Longer than it takes until a node that was killed is known to be dead."""

_PAUSE_S = 0.2
"""Between two attempts at a step; longer than a node takes from its answer to the change."""


class KeyChangeRefused(UsageError):
    """The keys of a mesh cannot be changed, or not further; the text says how far it went."""


class KeyChange:
    """Changes the keys of `mesh`, and those of this host in `ring`."""

    def __init__(self, mesh: Mesh, ring: KeyRing) -> None:
        self._mesh = mesh
        self._ring = ring

    def add(self) -> tuple[MeshKey, list[Member]]:
        """Make a new key and hand it to all nodes; the old one stays in use. Returns it, and the nodes that have it.

        Raises:
            KeyChangeRefused: a change is under way, or a node or this host cannot take part.
            NoMesh: no node answers.
        """
        self._ring.look()
        if len(self._ring.keys) > 1:
            raise KeyChangeRefused(
                f"a change of the key is under way: the nodes hold the keys {' and '.join(self._ring.fingerprints)}, "
                "the first is in use; end it by revoking one of them: meshflow key revoke FINGERPRINT"
            )
        self._check("nothing has changed")
        new = make_key()
        both = (*self._ring.keys, new)
        so_far = (
            f"the old key stays in use, and the new one, {new.fingerprint}, was taken back from the nodes that answer; "
            "mend this, and try again"
        )
        self._replace_own(both)  # first of all, so that the new key cannot get lost
        try:
            return new, self._bring(both, so_far, is_enough=_holds_all)
        except KeyChangeRefused:
            self._take_back(both)
            raise

    def _take_back(self, both: tuple[MeshKey, ...]) -> None:
        """As far as it goes: two who change the key at once are in each other's way, and both must be able to leave."""
        handed = tuple(key.fingerprint for key in both)
        members = [each.member for each in self._mesh.nodes() if each.status is not None]
        held = self._held(members)
        ours = [member for member in members if member.id in held and held[member.id].held == handed]
        self._tell(ours, held, both[:1])
        self._replace_own(both[:1])

    def revoke(self, fingerprint: str) -> list[Member]:
        """Take the key of that fingerprint away from all nodes, and put the other one in use. Returns the nodes.

        Raises:
            KeyChangeRefused: there is no such key, no other, or a node or this host cannot take part.
            NoMesh: no node answers.
        """
        self._ring.look()
        keys = self._ring.keys
        rest = tuple(key for key in keys if key.fingerprint != fingerprint)
        if len(rest) == len(keys):
            raise KeyChangeRefused(
                f"this host holds no key {fingerprint!r}; it has {' and '.join(self._ring.fingerprints)}"
            )
        if not rest:
            raise KeyChangeRefused(
                f"{fingerprint} is the only key of this mesh; make another one first: meshflow key rotate"
            )
        so_far = f"the key may still be accepted; repeat: meshflow key revoke {fingerprint}"
        self._check("nothing has changed")
        self._bring(keys, so_far, is_enough=_holds_all)
        revoked = tuple(key for key in keys if key.fingerprint == fingerprint)
        self._bring((*rest, *revoked), so_far)
        members = self._bring(rest, so_far)
        self._replace_own(rest)
        return members

    def absent(self) -> list[Member]:
        """Nodes that have died, as far as the mesh remembers: if they come back, they have the old key."""
        return [report.member for report in self._mesh.nodes() if report.member.status is Status.DEAD]

    def _check(self, so_far: str) -> None:
        """Find out what stands against a change, before anything is done."""
        if reason := self._ring.why_fixed():
            raise KeyChangeRefused(f"{reason}; {so_far}; put the keys into this file yourself (SECURITY.md says how)")
        known = frozenset(self._ring.fingerprints)
        members = self._present(so_far)
        held = self._held(members)
        for member in members:
            answer = held.get(member.id)
            if answer is None:
                raise KeyChangeRefused(f"the node {_name(member)} does not say which keys it holds; {so_far}")
            if answer.problem:
                raise KeyChangeRefused(f"the node {_name(member)} says: {answer.problem}; {so_far}")
            if not known.issuperset(answer.held):
                raise KeyChangeRefused(
                    f"the node {_name(member)} holds the keys {' and '.join(answer.held)}, and this host "
                    f"{' and '.join(self._ring.fingerprints)}: somebody else is changing them; {so_far}"
                )

    def _bring(
        self,
        keys: tuple[MeshKey, ...],
        so_far: str,
        is_enough: Callable[[Sequence[str], Sequence[str]], bool] = lambda held, wanted: held == wanted,
    ) -> list[Member]:
        """Have all living nodes hold `keys`, or what is enough; nodes that join meanwhile are among them."""
        wanted = tuple(key.fingerprint for key in keys)
        until = self._mesh.now() + _PATIENCE_S
        while True:
            is_last = self._mesh.now() >= until
            members = self._present(so_far, is_patient=not is_last)
            held = self._held(members)
            behind = [each for each in members if each.id not in held or not is_enough(held[each.id].held, wanted)]
            if members and not behind:
                return members
            if is_last:
                names = ", ".join(_name(member) for member in behind)
                raise KeyChangeRefused(f"these nodes have not confirmed within {_PATIENCE_S:g} s: {names}; {so_far}")
            told = [member for member in behind if member.id in held]
            answers = self._tell(told, held, keys)
            for member in told:
                answer = answers.get(member.id)
                if answer is not None and answer.problem:
                    raise KeyChangeRefused(f"the node {_name(member)} says: {answer.problem}; {so_far}")
            self._mesh.sleep(_PAUSE_S)

    def _present(self, so_far: str, is_patient: bool = False) -> list[Member]:
        """The living nodes; with patience, those that do not answer just now too."""
        living = [each for each in self._mesh.nodes() if each.member.status in (Status.ALIVE, Status.SUSPECT)]
        silent = [each.member for each in living if each.status is None]
        if silent and not is_patient:
            names = ", ".join(_name(member) for member in silent)
            raise KeyChangeRefused(
                f"these nodes do not answer: {names}; stop them, or wait until the mesh takes them for dead, and try "
                f"again; {so_far}"
            )
        return [each.member for each in living]

    def _held(self, members: Sequence[Member]) -> dict[NodeId, KeysHeld]:
        return self._ask(members, lambda _, number: AskKeys(number))

    def _tell(
        self, members: Sequence[Member], held: Mapping[NodeId, KeysHeld], keys: tuple[MeshKey, ...]
    ) -> dict[NodeId, KeysHeld]:
        texts = tuple(key.text() for key in keys)
        return self._ask(members, lambda member, number: UseKeys(number, held[member.id].held, texts))

    def _ask(self, members: Sequence[Member], ask: Callable[[Member, int], Message]) -> dict[NodeId, KeysHeld]:
        answers = self._mesh.ask_each(members, ask)
        return {node: answer for node, answer in answers.items() if isinstance(answer, KeysHeld)}

    def _replace_own(self, keys: tuple[MeshKey, ...]) -> None:
        try:
            self._ring.replace(keys)
        except OSError as problem:
            raise KeyChangeRefused(
                f"the key file '{self._ring.found.path}' of this host cannot be written: {problem.strerror}; mend "
                "this, and see what it holds: meshflow key show"
            ) from problem


def _holds_all(held: Sequence[str], wanted: Sequence[str]) -> bool:
    return frozenset(held) == frozenset(wanted)


def _name(member: Member) -> str:
    return f"'{member.name or member.id}'"

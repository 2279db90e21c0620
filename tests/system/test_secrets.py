"""What a run leaves behind and prints is for its user alone, and holds no secret."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshflow.core.records import State
from tests.store.mongod_standin import MongodStandIn
from tests.system.conftest import MakeMesh
from tests.system.real_mesh import RealMesh, events, finish, printed
from tests.system.strangers import key_of, mask

pytestmark = pytest.mark.system

PASSWORD = "swordfish-7f3a91"

LOUD = """
logging:
  handlers:
    file: {class: logging.FileHandler, filename: FOLDER/logs.txt}
    terminal: {class: logging.StreamHandler}
  root: {level: DEBUG, handlers: [file, terminal]}
"""

CURIOUS = """
import os
from meshflow.models import Dag
from meshflow.tasks import BashTask, PythonTask

def look(data, store, signal, context):
    print(dict(os.environ))
    print('mask', oct(os.umask(0)))

dag = Dag('d')
python = PythonTask(name='look', callback=look)
dag.define({python: BashTask(name='env', command='env; umask')})
"""


@pytest.fixture
def loud(make_mesh: MakeMesh) -> Iterator[RealMesh]:
    """A mesh whose nodes log all they can, made by somebody whose files anyone may write."""
    with mask(0):
        mesh = make_mesh()
        for each in (mesh.folder, *mesh.folder.iterdir()):
            each.chmod(0o700)
        mesh.write("meshflow.yml", LOUD.replace("FOLDER", str(mesh.folder / "state")))
        yield mesh


def test_every_file_is_for_its_user_alone_whatever_the_mask(loud: RealMesh) -> None:
    """State, runtime, store, log and key; but what tasks write has the mask of who started the node."""
    (loud.folder / "state").rmdir()
    loud.environment["MESHFLOW_STATE_DIR"] = str(loud.folder / "state" / "deep" / "down")
    loud.write("meshflow.yml", LOUD.replace("FOLDER", str(loud.folder / "run")))
    loud.start("one")
    loud.await_ready("one")
    run = loud.submit(loud.write("curious.py", CURIOUS))
    assert finish(run) is State.COMPLETED
    assert "mask 0o0" in printed(run)
    assert "0000" in printed(run)
    assert loud.cli("key", "make").returncode == 0
    found = [path for name in ("state", "run") for path in sorted((loud.folder / name).rglob("*"))]
    names = [path.name for path in found]
    assert {"store.sqlite", "mesh.key", "logs.txt", "nodes"} <= set(names)
    wrong = [f"{path} {stat.S_IMODE(path.stat().st_mode):04o}" for path in found if path.stat().st_mode & 0o077]
    assert wrong == []
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in found if path.is_file())


def traces(mesh: RealMesh, secret: str) -> list[str]:
    """Where a secret is found among files of the mesh and the command lines of its processes. Not in key files, which
    are what they are."""
    found = [
        str(path)
        for path in mesh.folder.rglob("*")
        if path.is_file()
        and path.name != "mesh.key"
        and path.name != "password"
        and secret.encode() in path.read_bytes()
    ]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if secret.encode() in (process / "cmdline").read_bytes():
                found.append(f"{process}/cmdline")
        except OSError:
            continue  # it has ended
    return found


def test_the_key_is_nowhere_but_in_its_file(loud: RealMesh) -> None:
    loud.start("one")
    loud.await_ready("one")
    run = loud.submit(loud.write("curious.py", CURIOUS))
    assert finish(run) is State.COMPLETED
    commands = [("status",), ("config", "show"), ("config", "list"), ("node", "--help"), ("key", "show")]
    said = [loud.cli(*command) for command in commands]
    secret = key_of(loud).secret
    word = next((loud.folder / "run").rglob("mesh.key")).read_text().splitlines()[-1].strip()
    for each in (secret, word):
        assert len(each) >= 40
        assert traces(loud, each) == []
        assert not any(each in one.stdout + one.stderr for one in said)
        assert each not in loud.logs()
        assert not any(each in line for line in printed(run))


def test_the_password_of_the_store_is_nowhere_but_where_its_user_put_it(loud: RealMesh) -> None:
    """Not where it stands in the environment, from where tasks could print it into the store, either."""
    server = MongodStandIn()
    server.start()
    try:
        loud.environment["MESHFLOW_STORE__URL"] = f"mongodb://{server.address}/meshflow"
        loud.environment["MESHFLOW_STORE__PASSWORD"] = PASSWORD  # of no user, so that the stand-in lets us in
        loud.start("one")
        loud.await_ready("one")
        run = loud.submit(loud.write("curious.py", CURIOUS))
        assert finish(run) is State.COMPLETED
        said = [loud.cli(*command) for command in (("status",), ("config", "show"), ("config", "list"))]
        assert traces(loud, PASSWORD) == []
        assert not any(PASSWORD in one.stdout + one.stderr for one in said)
        assert not any(PASSWORD in line for line in printed(run))
        assert not any(PASSWORD in str(event) for event in events(run))
        loud.stop("one")
    finally:
        server.stop()


@pytest.mark.parametrize(
    "url",
    [
        f"mongodb://user:{PASSWORD}@127.0.0.1:1/db?serverSelectionTimeoutMS=200",
        f"mongodb://127.0.0.1:1/db?tlsCertificateKeyFilePassword={PASSWORD}&serverSelectionTimeoutMS=200",
        f"mongodb://user:{PASSWORD}127.0.0.1:1/db",
        f"postgres://user:{PASSWORD}@host/db",
    ],
)
def test_a_store_that_cannot_be_used_is_named_without_its_secrets(loud: RealMesh, url: str) -> None:
    loud.environment["MESHFLOW_STORE__URL"] = url
    said = [
        loud.cli("node", "--config", str(loud.work / "meshflow.yml")),
        loud.cli("config", "show"),
        loud.cli("config", "list"),
    ]
    assert said[0].returncode != 0
    assert said[0].stderr
    for each in said:
        assert PASSWORD not in each.stdout + each.stderr
    assert traces(loud, PASSWORD) == []


def test_the_environment_of_task_processes_lacks_the_store(loud: RealMesh) -> None:
    loud.environment["MESHFLOW_STORE__PASSWORD"] = PASSWORD
    loud.start("one")
    loud.await_ready("one")
    assert finish(loud.submit("simple")) is State.COMPLETED
    children = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    below = [pid for pid, parent in map(str.split, children.splitlines()[1:]) if int(parent) == loud.pid("one")]
    assert below
    for pid in below:
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert os.path.exists(f"/proc/{loud.pid('one')}")

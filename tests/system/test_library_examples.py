"""The programs in docs/libraries.md, run as they stand there, on a mesh that they start themselves."""

import re
import subprocess
import sys

import pytest

from tests.source_tree import ROOT
from tests.system.real_mesh import RealMesh

pytestmark = pytest.mark.system

PROGRAMS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "libraries.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("program", "needed", "says"),
    [(PROGRAMS[0], ["joblib", "sklearn"], r"best: \{'C': "), (PROGRAMS[1], ["dask", "numpy"], r"mean: (1\.0|0\.99)")],
    ids=["joblib", "dask"],
)
def test_a_program_of_the_documents_works(mesh: RealMesh, program: str, needed: list[str], says: str) -> None:
    for library in needed:
        pytest.importorskip(library, reason=f"{library} is not installed")
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, env=mesh.environment, stdout=subprocess.PIPE, text=True, check=True)
    assert re.match(says, done.stdout)


def test_all_programs_are_run() -> None:
    assert len(PROGRAMS) == 2

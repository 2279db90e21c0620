"""MeshFlow: a local mesh of one node with two slots, in its default settings."""

import meshflow
from benchmarks.peer.calling import SLOTS, System, report, same


def main() -> None:
    with meshflow.local(slots=SLOTS) as client:
        report(
            System(
                meshflow.__version__,
                call=lambda value: client.submit(same, value).result(),
                call_each=lambda values: client.gather(client.map(same, values)),
            )
        )


if __name__ == "__main__":
    main()

"""Many calls that are made even if the program that asked for them is gone.

`map_durable` returns when all calls are in the store of the mesh. From then on they are a run like any other: they are
made whatever becomes of this program, `meshflow status` shows them, and any program has their results. Run it:

    python examples/programs/durable_map.py
"""

import meshflow


def root(number):
    return number**0.5


def main():
    with meshflow.local() as client:  # Or Client() for the mesh that runs, which goes on when this program has ended.
        run = client.map_durable(root, range(10_000), name="roots")
        print("Submitted:", run.name)
        same = client.run(run.id)  # As another program would find it.
        print("Sum:", round(sum(same.results())))
        odd = client.map_durable(root, [4, "nine", 16])
        print("Errors:", [str(each) for each in odd.results(return_exceptions=True)])


if __name__ == "__main__":
    main()

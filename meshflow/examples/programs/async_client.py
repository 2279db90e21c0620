"""Functions on the mesh, from an event loop.

`AsyncClient` has the verbs of `Client`, and none of them holds up the loop. Whoever is tired of waiting for a call ends
it by that. Run it:

    python examples/programs/async_client.py
"""

import asyncio
import time

import meshflow


def sleep_and_square(number):
    time.sleep(0.05 * number)
    return number * number


async def main():
    with meshflow.local() as client:  # Or none, and AsyncClient() for the mesh that runs.
        async with meshflow.AsyncClient(client=client) as mesh:
            print("One:", await mesh.submit(sleep_and_square, 1))
            squares = await mesh.map(sleep_and_square, range(4))
            print("All:", await mesh.gather(squares))
            async for future in mesh.as_completed(await mesh.map(sleep_and_square, [3, 0])):
                print("Next:", future.result())
            try:
                async with asyncio.timeout(0.2):
                    await mesh.submit(time.sleep, 3600)
            except TimeoutError:
                print("The call was ended")


if __name__ == "__main__":
    asyncio.run(main())

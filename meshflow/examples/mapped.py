"""As many tasks as there are files

How many files there are is known only when the run has got there: find looks. count.map then makes a
task for each of them, count[0], count[1] and so on, which run on all nodes, and are tried again and
listed by themselves. longest gets the list of their results, in the order of the files.

    meshflow run mapped chapters=5 least=3

             /-> count[0] -\\
    find --> |-> count[1] -|-> longest
             \\->   ...    -/
"""

from meshflow import task, workflow


@task
def find(chapters):
    return [f"chapter {number} " + "word " * (number * 7 % 5) for number in range(1, chapters + 1)]


@task(retries=2)
def count(text, least=0):
    words = len(text.split())
    return words if words >= least else 0


@task
def longest(counts):
    print(f"Words in {len(counts)} chapters: {counts}, at most {max(counts, default=0)}")


@workflow
def chapters(chapters: int = 5, least: int = 3):
    """Counts words.

    chapters: how many chapters there are
    least: shorter chapters count as empty
    """
    longest(count.map(find(chapters), least=least))

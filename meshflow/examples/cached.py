"""Work that was done before is not done again

The tasks stars and total have cache=True: their results are kept under all that they are made of, the code
of the function and the values it is given. Run it twice, and the second time only report runs. Run it
with more fields, and only the new ones are counted; or change a function, and what depends on it runs
again.

    meshflow run cached fields=3
    meshflow run cached fields=5
"""

from meshflow import task, workflow


@task(cache=True)
def stars(field):
    print(f"counting the stars of field {field}")
    return field * field % 17


@task(cache=True)
def total(counts):
    print(f"adding up {len(counts)} fields")
    return sum(counts)


@task
def report(value):
    print(f"There are {value} stars")


@workflow
def survey(fields: int = 3):
    """Counts stars.

    fields: how many fields there are
    """
    report(total(stars.map(range(1, fields + 1))))

"""Waiting for those who wait

An archive has three plates, and each plate two fields. survey_task starts a dag for each plate and
waits for them; in each of these dags a task starts a dag for each field and waits in turn. At the
deepest moment ten tasks have been started, and four of them only wait. A task that waits lends its
slot to others, so even a mesh with a single slot gets through.

    survey_dag:   survey_task -> sum_task     starts plate_dag, three times
    plate_dag:    plate_task                  starts field_dag, twice each
    field_dag:    field_task                  counts the stars of a field
"""

from meshflow.models import Dag
from meshflow.tasks import PythonTask


def survey(data, store, signal, context):
    plates = []
    for plate in (1, 2, 3):
        data["plate"] = plate
        plates.append(signal.start_dag("plate_dag", data=data))
    signal.join_dags(plates)
    print("All plates are done")


def measure_plate(data, store, signal, context):
    fields = []
    for field in (1, 2):
        data["field"] = field
        fields.append(signal.start_dag("field_dag", data=data))
    signal.join_dags(fields)
    print(f"Plate {data['plate']} is done")


def count_stars(data, store, signal, context):
    store.push("stars", 10 * data["plate"] + data["field"])


# Nothing comes back from a dag that was started, so its result went into the store.
def sum_stars(data, store, signal, context):
    stars = store.get("stars")
    print(f"Number of stars in {len(stars)} fields: {sum(stars)}")


survey_task = PythonTask(name="survey_task", callback=survey)
sum_task = PythonTask(name="sum_task", callback=sum_stars)

survey_dag = Dag("survey_dag")
survey_dag.define({survey_task: sum_task})

plate_task = PythonTask(name="plate_task", callback=measure_plate)

plate_dag = Dag("plate_dag", autostart=False)
plate_dag.define({plate_task: None})

field_task = PythonTask(name="field_task", callback=count_stars)

field_dag = Dag("field_dag", autostart=False)
field_dag.define({field_task: None})

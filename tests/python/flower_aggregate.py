"""Times Flower's averages: flower_aggregate.py PARAMETERS CLIENTS REPEAT

Prints one JSON object a line: the function and its median seconds. Ends with 1 where Flower is not there.
"""

import json
import statistics
import sys
import time

try:
    import numpy
    from flwr.common import ArrayRecord, MetricRecord, RecordDict
    from flwr.server.strategy.aggregate import aggregate
    from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
except ImportError as error:
    sys.exit(f"Flower is not here: {error}")


def timed(repeat, work):
    times = []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    # The first one warms up.
    return statistics.median(times[1:])


def main():
    parameters, clients, repeat = map(int, sys.argv[1:4])
    random = numpy.random.default_rng(1)
    updates = [random.random(parameters, dtype=numpy.float32) - 0.5 for _ in range(clients)]
    results = [([update], samples + 1) for samples, update in enumerate(updates)]
    records = [
        RecordDict({"arrays": ArrayRecord([update]), "metrics": MetricRecord({"num-examples": samples + 1})})
        for samples, update in enumerate(updates)
    ]
    cases = {
        "aggregate": lambda: aggregate(results),
        "aggregate_arrayrecords": lambda: aggregate_arrayrecords(records, "num-examples"),
    }
    for name, work in cases.items():
        print(json.dumps({"case": name, "seconds": timed(repeat, work)}), flush=True)


if __name__ == "__main__":
    main()

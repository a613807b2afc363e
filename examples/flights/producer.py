"""Sends flights to consumer.mjs through shared memory and compares its answer with its own.

    python producer.py FLIGHTS.json [--json] [--events]

Creates the streams `flights` and `delays`, sends one record per flight, then waits for the consumer's
table of delays by hour on `delays`. Prints both tables. Status 0 only if they are equal.
"""
import argparse
import json
import math
import struct
import sys
import time

import atoll

RECORD = struct.Struct("<iId")  # delay in minutes (may be negative), distance in miles, time of day in hours


def table_by_hour(flights):
    """{hour: [count, sum of delays, worst delay]}, computed without shared memory."""
    table = {}
    for flight in flights:
        row = table.setdefault(math.floor(flight["time"]) % 24, [0, 0, flight["delay"]])
        row[0] += 1
        row[1] += flight["delay"]
        row[2] = max(row[2], flight["delay"])
    return table


def print_tables(mine, theirs):
    print(f"{'':6}{'Python, from the file':^26}   {'Node, from shared memory':^26}")
    print(f"{'hour':>4}  " + "   ".join([f"{'flights':>8}{'sum':>10}{'worst':>8}"] * 2))
    for hour in sorted(mine.keys() | theirs.keys()):
        rows = [table.get(hour, ["-", "-", "-"]) for table in (mine, theirs)]
        print(f"{hour:>4}  " + "   ".join(f"{count:>8}{total:>10}{worst:>8}" for count, total, worst in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("flights", help="a JSON list of {delay, distance, time}")
    parser.add_argument("--json", action="store_true", help="send each flight as JSON, not as a binary record")
    parser.add_argument("--events", action="store_true", help="say how far it is, in JSON lines on standard error")
    arguments = parser.parse_args()

    def event(**facts):
        if arguments.events:
            print(json.dumps(facts), file=sys.stderr, flush=True)

    with open(arguments.flights, encoding="utf-8") as file:
        flights = json.load(file)

    with atoll.connect() as client:
        client.create("flights", capacity=1 << 20)
        client.create("delays", capacity=1 << 16)
        client.open_consumer("flights", group="consumer").close()  # the group is there from now on: send waits for it
        with client.open_producer("flights") as producer, client.open_consumer("delays", group="producer") as answers:
            event(total=len(flights), sent=0)
            began = time.perf_counter()
            for number, flight in enumerate(flights, start=1):
                # A full ring makes send wait; a consumer that never reads is an error after a minute.
                if arguments.json:
                    producer.send_json(flight, timeout=60)
                else:
                    producer.send(RECORD.pack(flight["delay"], flight["distance"], flight["time"]), timeout=60)
                if number % 2000 == 0:
                    event(sent=number)
            producer.finish()
            theirs = {row["hour"]: [row["count"], row["sum"], row["worst"]] for row in answers.receive_json(timeout=60)}
            seconds = time.perf_counter() - began
            event(sent=len(flights), done=True)

    mine = table_by_hour(flights)
    print_tables(mine, theirs)
    print(f"\n{len(flights):,} records in {seconds:.2f} s: {len(flights) / seconds:,.0f} records/s", flush=True)
    if mine != theirs:
        print("the tables differ", file=sys.stderr)
        return 1
    print("the tables agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())

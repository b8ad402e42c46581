#!/usr/bin/env python3
"""How long a PUBACK takes, and how many come a second, by the durability of what they acknowledge.

Each publisher has one retained message in flight at QoS 1, so each acknowledgement is of something that is stored; a
subscriber without a stored session receives it.
Midge runs with `durability` sync, interval and none and without `persistence`; mosquitto beside it as it is configured
by default and, from 2.1 on, with its SQLite plugin. Each broker has one core, for all of its threads, and the generator
has the others: a store's thread takes none of the generator's time.

  cargo build --release --bin broker --bin loadgen
  benches/puback.py --out results/DATE-HOST-puback --mosquitto /usr/sbin/mosquitto --plugin FOLDER/persist_sqlite.so

The folder of `--store` decides on which disk the stores lie. The outcome of each run is kept in OUT/raw.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="new folder of the results")
    parser.add_argument("--programs", type=Path, default=ROOT / "target/release", help="has broker and loadgen")
    parser.add_argument("--mosquitto", help="the program; without it Midge runs alone")
    parser.add_argument("--plugin", help="mosquitto's persist-sqlite plugin")
    parser.add_argument("--store", type=Path, help="folder on the disk to measure; the temporary folder by default")
    parser.add_argument("--publishers", default="1,10,100,1000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", type=float, default=5)
    parser.add_argument("--warmup", type=float, default=2)
    return parser.parse_args()


def variants(options):
    """Each with its name, its command and its configuration, without the port and the folder."""
    broker = str(options.programs / "broker")
    common = "allow_anonymous true\nuser root\n"
    stored = common + "persistence true\npersistence_location {folder}/\n"
    # One shard on the one core, as mosquitto has one thread.
    midge = [broker, "--shards", "1", "-c"]
    found = [("Midge, no persistence", midge, common)]
    for durability in ("sync", "interval 100", "none"):
        found.append((f"Midge, {durability}", midge, f"{stored}durability {durability}\n"))
    if options.mosquitto:
        found.append(("mosquitto, persistence", [options.mosquitto, "-c"], stored))
    if options.plugin:
        plugin = f"plugin {options.plugin}\nplugin_opt_db_file {{folder}}/mosquitto.sqlite3\n"
        found.append(("mosquitto, SQLite plugin", [options.mosquitto, "-c"], common + plugin))
    return found


def broker_cores():
    return {min(os.sched_getaffinity(0))}


def on(cores):
    """What a process does before it starts, to run on these cores alone."""
    return lambda: os.sched_setaffinity(0, cores)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_listens(port, process):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"the broker ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit("the broker does not listen")


def measure(options, variant, publishers, raw):
    """One run; returns PUBACKs a second, p50 and p99 in microseconds, and whether it is valid."""
    name, command, text = variant
    folder = Path(tempfile.mkdtemp(dir=options.store))
    port = free_port()
    configuration = folder / "broker.conf"
    configuration.write_text(f"listener {port} 127.0.0.1\n" + text.format(folder=folder))
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([*command, configuration], stdout=log, stderr=log, preexec_fn=on(broker_cores()))
        try:
            wait_until_it_listens(port, process)
            load = [
                str(options.programs / "loadgen"), "run", "-h", "127.0.0.1", "-p", str(port), "--no-tls",
                "--broker-pid", str(process.pid), "--pubs", str(publishers), "--subs", str(publishers), "-q", "1", "-r",
                "-s", "256", "--rate", "max", "--window", "1", "--warmup", str(options.warmup),
                "--duration", str(options.duration), "--ledger-only", "--json", str(raw),
            ]
            cores = on(os.sched_getaffinity(0) - broker_cores())
            ended = subprocess.run(load, capture_output=True, text=True, check=False, preexec_fn=cores)
            if not raw.exists():
                sys.exit(f"{name}, {publishers} publishers: {ended.stderr}\n{(folder / 'log').read_text()}")
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(folder)
    outcome = json.loads(raw.read_text())
    acknowledged = outcome["acknowledged"]
    valid = outcome["verdict"]["valid"]
    return outcome["rates"]["sent_per_s"], acknowledged["p50_ns"] / 1000, acknowledged["p99_ns"] / 1000, valid


def main():
    options = arguments()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("the broker and the generator need a core each")
    (options.out / "raw").mkdir(parents=True)
    counts = [int(count) for count in options.publishers.split(",")]
    figures = {}
    for number in range(options.rounds):
        order = variants(options)
        for variant in order if number % 2 == 0 else reversed(order):
            for count in counts:
                place = "-".join(variant[0].replace(",", "").split())
                raw = options.out / "raw" / f"{place}-{count}-{number + 1}.json"
                figures.setdefault((variant[0], count), []).append(measure(options, variant, count, raw))
    write_report(options, counts, figures)


def write_report(options, counts, figures):
    load = os.getloadavg()[0]
    lines = [
        "# PUBACK by durability", "", f"`{' '.join(sys.argv)}`", "",
        f"{platform.node()}, {os.cpu_count()} CPUs, Linux {platform.release()}, load {load:.1f} at the end; medians of "
        f"{options.rounds} rounds in turns, {options.duration:g} s each.", "",
        "| broker | publishers | PUBACKs a second | p50, µs | p99, µs | valid rounds |",
        "|---|---|---|---|---|---|",
    ]
    for name, _, _ in variants(options):
        for count in counts:
            *columns, valid = zip(*figures[name, count])
            rate, p50, p99 = map(statistics.median, columns)
            row = f"| {name} | {count:,} | {rate:,.0f} | {p50:,.0f} | {p99:,.0f} | {sum(valid)} of {len(valid)} |"
            lines.append(row)
    (options.out / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

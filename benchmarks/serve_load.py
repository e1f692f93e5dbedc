"""Load on a running `structalign serve`: `python benchmarks/serve_load.py http://127.0.0.1:8000 --clients 50`.

Each client sends a query, waits for the answer, pauses, and sends the next. All queries differ, so no answer comes from
a cache. Loopback only. An overloaded server answers 429, which is counted.
"""

import csv
import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from structalign.errors import UserError
from structalign.serve.security import is_loopback

HEALTH = 0.5  # seconds between two requests of health


class Load:
    """Measurements of all clients: statuses, and the seconds of each answer and of health."""

    def __init__(self, host: str, port: int, texts: list[str], think: float, until: float):
        self.host, self.port, self.think, self.until = host, port, think, until
        self.texts = itertools.cycle(texts)
        self.statuses: Counter[int | str] = Counter()
        self.seconds: list[float] = []
        self.health: list[float] = []
        self.without_retry = 0
        self._lock = threading.Lock()

    def client(self, number: int) -> None:
        """A client that searches until the time is up."""
        time.sleep(random.Random(number).random() * self.think)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        while time.monotonic() < self.until:
            with self._lock:
                text = f"{next(self.texts)} {number}"
            begin = time.perf_counter()
            try:
                body = json.dumps({"query": text[:300]})
                connection.request("POST", "/api/search", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                status: int | str = answer.status
                retry = answer.getheader("Retry-After")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status, retry = type(error).__name__, None
            with self._lock:
                self.statuses[status] += 1
                if status == 200:
                    self.seconds.append(time.perf_counter() - begin)
                self.without_retry += status == 429 and retry is None
            time.sleep(self.think)
        connection.close()

    def watch_health(self) -> None:
        """Request health until the time is up."""
        while time.monotonic() < self.until:
            begin = time.perf_counter()
            connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
            connection.request("GET", "/api/health")
            ok = connection.getresponse().status == 200
            connection.close()
            self.health.append(time.perf_counter() - begin if ok else float("inf"))
            time.sleep(HEALTH)


def main(
    address: Annotated[str, typer.Argument(help="The address that `structalign serve` prints.")],
    clients: int = 50,
    think: Annotated[float, typer.Option(help="Seconds between an answer and the next query.")] = 1.0,
    seconds: float = 60.0,
    captions: Annotated[Path, typer.Option(help="A table with a column `caption`.")] = Path("data/captions.csv"),
) -> None:
    """Search with many clients at once, and print their measurements."""
    place = urlsplit(address)
    if place.hostname is None or not is_loopback(place.hostname):
        raise UserError(f"{address} is not this machine: only load your own server.")
    with captions.open(encoding="utf-8", newline="") as stream:
        texts = list(dict.fromkeys(row["caption"] for row in csv.DictReader(stream)))
    random.Random(0).shuffle(texts)
    load = Load(place.hostname, place.port or 80, texts, think, time.monotonic() + seconds)
    threads = [threading.Thread(target=load.client, args=(number,)) for number in range(clients)]
    threads.append(threading.Thread(target=load.watch_health))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, all_ = sorted(load.seconds), sum(load.statuses.values())
    print(f"{len(found) / seconds:.1f} searches a second; 429: {100 * load.statuses[429] / max(all_, 1):.2f} %")
    print(f"median {_at(found, 0.5):.3f} s, p95 {_at(found, 0.95):.3f} s; health at most {max(load.health):.3f} s")
    print(f"answers: {dict(load.statuses)}; 429 without Retry-After: {load.without_retry}")


def _at(found: list[float], share: float) -> float:
    return found[min(int(share * len(found)), len(found) - 1)] if found else float("nan")


if __name__ == "__main__":
    typer.run(main)

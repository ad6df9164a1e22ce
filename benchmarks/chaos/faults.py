"""The faults. Each function does one of them to the real service and yields promises with what was seen."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.chaos.generator import Answer, Load, drive, p99_ms
from benchmarks.chaos.promise import Promise
from benchmarks.chaos.services import Service, proxy, serve, wait_for
from fashion_mnist.registry.store import BUNDLED_FOLDER

SLOW_CLIENTS: Final = 500


def _run(coroutine: Coroutine[Any, Any, list[Answer]]) -> list[Answer]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def slow_clients(bodies: Sequence[bytes], *, quick: bool) -> Iterator[Promise]:
    """Send a byte a second from many clients, beside an ordinary load."""
    seconds = 3 if quick else 10
    with serve(FASHION_MNIST_WORKERS="1") as service:
        drive(Load(service.url, bodies, 32, 300), 2)
        alone = p99_ms(drive(Load(service.url, bodies, 32, 300), seconds))
        request = next(Load(service.url, bodies, 1).requests)
        address = ("127.0.0.1", int(service.url.rpartition(":")[2]))

        async def trickle() -> None:
            _, writer = await asyncio.open_connection(*address)
            for byte in request:
                writer.write(bytes([byte]))
                await asyncio.sleep(1)

        async def both() -> list[Answer]:
            slow = [asyncio.ensure_future(trickle()) for _ in range(SLOW_CLIENTS)]
            await asyncio.sleep(2)  # until all are connected
            answers = await Load(service.url, bodies, 32, 300).run(seconds)
            for task in slow:
                task.cancel()
            return answers

        answers = _run(both())
        beside = p99_ms(answers)
        lost = sum(answer.status != 200 for answer in answers)
        seen = f"p99 {beside:.1f} ms, {alone:.1f} ms without them; {lost} of {len(answers)} failed"
        kept = lost == 0 and beside < 2 * alone + (100 if quick else 10)
        yield Promise(f"{SLOW_CLIENTS} clients of a byte a second", "the others do not notice", seen, kept)


def killed_workers(bodies: Sequence[bytes], *, quick: bool) -> Iterator[Promise]:
    """Kill the older of two workers every 10 s, under load."""
    kills = 1 if quick else 12
    with serve(FASHION_MNIST_WORKERS="2") as service:
        hit: set[int] = set()

        async def kill() -> None:
            for _ in range(kills):
                await asyncio.sleep(10)
                hit.update(await asyncio.to_thread(_kill_oldest, service))

        async def both() -> list[Answer]:
            load = Load(service.url, bodies, 32, 200)
            task = asyncio.ensure_future(load.run(3600, 30))
            await kill()
            await asyncio.sleep(5)
            load.running = False
            return await task

        answers = _run(both())
        failed = [answer for answer in answers if answer.status != 200]
        others = [answer for answer in failed if answer.port not in hit]
        slowest = max(answer.ended - answer.sent for answer in answers)
        seen = f"{len(failed)} of {len(answers)} failed, {len(others)} elsewhere; slowest {slowest:.1f} s"
        promised = "only requests in the killed worker fail"
        yield Promise(f"kill -9 of a worker every 10 s, {kills} times", promised, seen, not others)


def _kill_oldest(service: Service) -> set[int]:
    """Kill a worker; return the client ports of its connections."""
    victim = service.workers()[0]
    victim.suspend()  # so that it accepts no more connections
    ports = {c.raddr.port for c in victim.net_connections("tcp") if c.raddr}
    victim.kill()
    return ports


def hanging_worker(bodies: Sequence[bytes], *, quick: bool) -> Iterator[Promise]:
    """Stop a worker, so that it gives no sign of life."""
    with serve(FASHION_MNIST_WORKERS="2") as service:
        victim = service.workers()[0]
        victim.suspend()
        start = time.monotonic()
        noticed = wait_for(lambda: "has not responded" in service.log, 10)
        took_s = time.monotonic() - start
        seen = f"noticed after {took_s:.1f} s" if noticed else "not noticed"
        yield Promise("SIGSTOP of a worker", "noticed and killed within 5 s", seen, noticed and took_s <= 5)
        back = wait_for(lambda: service.log.count("initialized") == 3, 40)
        seen = f"serves {time.monotonic() - start:.1f} s after the signal" if back else "not replaced"
        yield Promise("SIGSTOP of a worker: afterwards", "replaced within 20 s", seen, back)


def worker_that_cannot_start(bodies: Sequence[bytes], *, quick: bool) -> Iterator[Promise]:
    """Remove the model's folder from a running service, then kill its worker."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        shutil.copytree(BUNDLED_FOLDER, model)
        with serve(FASHION_MNIST_WORKERS="1", FASHION_MNIST_MODEL=str(model)) as service:
            shutil.rmtree(model)
            start = time.monotonic()
            service.workers()[0].kill()
            ended = wait_for(lambda: service.process.poll() is not None, 90)
            code, said = service.process.poll(), "could not start 3 times" in service.log
            seen = f"code {code} after {time.monotonic() - start:.0f} s" if ended else "it goes on"
            seen += ", with a sentence" if said else ", without a sentence"
            promised = "a sentence and exit code 1"
            yield Promise("a worker that cannot start", promised, seen, said and code == 1)


def rolling_restarts(bodies: Sequence[bytes], *, quick: bool) -> Iterator[Promise]:
    """Restart two instances behind nginx in turn, under load."""
    restarts = 2 if quick else 10
    options = {"FASHION_MNIST_WORKERS": "1", "FASHION_MNIST_DRAIN_S": "2"}
    if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        yield Promise("restarts behind nginx", "no failed request", "nginx is not installed", kept=False)
        return
    instances = [serve(environment=options), serve(environment=options)]
    services = [instance.__enter__() for instance in instances]
    try:
        with proxy([service.url for service in services]) as url:

            def restart(number: int) -> None:
                which = number % 2
                instances[which].__exit__(None, None, None)
                port = int(services[which].url.rpartition(":")[2])
                instances[which] = serve(port, environment=options)
                services[which] = instances[which].__enter__()

            async def both() -> list[Answer]:
                load = Load(url, bodies, 16, 200)
                task = asyncio.ensure_future(load.run(3600, 30))
                for number in range(restarts):
                    await asyncio.to_thread(restart, number)
                load.running = False
                return await task

            answers = _run(both())
    finally:
        for instance in instances:
            with suppress(Exception):
                instance.__exit__(None, None, None)
    failed = sum(answer.status != 200 for answer in answers)
    seen = f"{failed} of {len(answers)} failed"
    yield Promise(
        f"{restarts} restarts of two instances behind nginx", "no failed request", seen, failed == 0
    )

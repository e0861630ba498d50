"""Both servers of the protocol in one process, from start to stop."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading

import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.responses import Response
from starlette.routing import Route

from serving import grpc_server
from serving import page_routes
from serving.batching import Batcher
from serving.manager import Manager
from serving.metrics import Metrics
from serving.rest import RestAPI

logger = logging.getLogger(__name__)

# A thread that waits for Python's lock gets it after this long, not after the
# default 5 ms: requests are short.
SWITCH_SECONDS = 0.0005
# A connection closed at the moment of its next request loses that request;
# clients and proxies let theirs go before this.
KEEP_ALIVE_SECONDS = 120
# Requests that run when the server is told to stop are waited for. What nobody
# waits for (a run whose request timed out, a version being loaded) may take no
# longer than this altogether: orchestrators kill after 30 seconds.
GRACE_SECONDS = 25
STOP_SECONDS = 29


class Uvicorn(uvicorn.Server):
    """Leaves signals to us: two servers stop at the same one."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


def application(manager, rest, metrics):
    """The HTTP application: the protocol, its metrics and the page.

    Args:
      manager: a `Manager`.
      rest: a `RestAPI`.
      metrics: a `Metrics`.
    """

    async def monitoring(request):
        return Response(metrics.page(), media_type="text/plain")

    async def missing(request, error):
        return HTMLResponse("<h1>Not Found</h1>", 404)

    pages = Starlette(
        routes=[
            Route("/monitoring/prometheus/metrics", monitoring),
            *page_routes.routes(manager),
        ],
        exception_handlers={404: missing},
    )

    async def app(scope, receive, send):
        if scope["type"] == "http" and scope["raw_path"][:4].lower() == b"/v1/":
            await rest(scope, receive, send)
        else:
            await pages(scope, receive, send)

    return app


def serve(flags):
    """Serves until a signal comes.

    Args:
      flags: the values of `serving.run`'s flags.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    asyncio.run(_serve(flags))


def _end_at_the_latest():
    """Ends this process when it has not stopped in time."""

    def end():
        logger.warning("Ending; something still runs that nobody waits for.")
        logging.shutdown()
        # The interpreter would wait for its threads.
        os._exit(0)

    timer = threading.Timer(STOP_SECONDS, end)
    timer.daemon = True
    timer.start()


def _listen(host, port):
    """A socket that HTTP clients connect to.

    Raises:
      OSError: the address is taken, or none of this machine's.
    """
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise OSError(f"Cannot listen at {host}:{port}: {error}") from error
    # Headers and body of an answer are written apart. Without this, which
    # accepted connections inherit, the second waits 40 ms for the client.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


async def _serve(flags):
    manager = Manager(
        flags.models,
        flags.model_config_file,
        flags.file_system_poll_wait_seconds,
        flags.model_config_file_poll_wait_seconds,
    )
    metrics = Metrics()
    web_socket = _listen(flags.host, flags.rest_port)
    batcher = Batcher(
        flags.num_batch_threads,
        flags.max_batch_size,
        flags.max_request_rows,
        flags.max_queued_requests,
        metrics.count_run,
    )
    try:
        rpc = grpc_server.Server(
            manager,
            batcher,
            metrics,
            flags.max_body_bytes,
            flags.max_queued_requests,
        )
        rpc_port = rpc.listen(f"{flags.host}:{flags.grpc_port}")
        rest = RestAPI(
            manager,
            batcher,
            metrics,
            flags.rest_api_timeout_in_ms / 1000,
            flags.max_body_bytes,
            cors=flags.rest_api_enable_cors_support,
        )
        web = Uvicorn(
            uvicorn.Config(
                application(manager, rest, metrics),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        manager.start()
        await rpc.start()
        serving_web = asyncio.create_task(web.serve([web_socket]))
        announcing = asyncio.create_task(_announce(manager, rpc))
        web_port = web_socket.getsockname()[1]
        print(f"REST and page: http://{flags.host}:{web_port}/")
        print(f"gRPC: {flags.host}:{rpc_port}", flush=True)
        await stop.wait()
        logger.info("Stopping; what runs is finished.")
        _end_at_the_latest()
        web.should_exit = True
        # Until all is finished, of REST too, health checks are answered.
        await asyncio.gather(serving_web, rpc.drain(GRACE_SECONDS))
        announcing.cancel()
        await rpc.stop()
    finally:
        web_socket.close()
        await asyncio.to_thread(batcher.close)
        await asyncio.to_thread(manager.stop)


async def _announce(manager, rpc):
    """TensorFlow Serving opens its ports when its models are loaded."""
    await asyncio.to_thread(manager.looked.wait)
    await rpc.ready()

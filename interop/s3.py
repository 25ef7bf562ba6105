#!/usr/bin/env python3
"""Makes a lake on S3 and reads one forecast of it with DuckDB, counting what goes over the wire.

usage: s3.py --binary PATH/TO/almanac

A server that speaks S3 (moto) runs for as long as this does, with a proxy before it that counts the
bytes of every answer. The last line is `interop s3: N passed, M failed`, and the exit code is 1 when
any failed.
"""

import argparse
import collections
import contextlib
import http.client
import http.server
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

import duckdb
import duckdb_extensions

BUCKET = "interop"
LAKE = f"s3://{BUCKET}/quickstart"
KEY, SECRET, REGION = "interop", "interop", "us-east-1"
MODEL, COMMODITY, DATE, PATHS = "random_walk", "Coffee", "2024-03-15", 2000


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def server():
    """The port of a server that speaks S3, with an empty bucket in it."""
    port = free_port()
    program = pathlib.Path(sys.executable).parent / "moto_server"
    running = subprocess.Popen(
        [program, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("PUT", f"/{BUCKET}")
                status = connection.getresponse().status
                break
            except OSError:
                if running.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{program} does not answer on port {port}") from None
                time.sleep(0.1)
        assert status == 200, f"the bucket cannot be made: {status}"
        yield port
    finally:
        running.terminate()
        running.wait()


@contextlib.contextmanager
def counting_proxy(upstream: int):
    """The port of a proxy before a server, and the bytes of its answers by method and object."""
    sent = collections.Counter()

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self):
            length = int(self.headers.get("Content-Length") or 0)
            connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
            connection.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
            answer = connection.getresponse()
            body = answer.read()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            shown = answer.getheader("Content-Length") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(shown or 0))
            self.end_headers()
            self.wfile.write(body)
            connection.close()
            sent[self.command, urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)] += len(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

        def log_message(self, *_):
            pass

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield proxy.server_address[1], sent
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def duck(port: int) -> duckdb.DuckDBPyConnection:
    """DuckDB with the server at a port as its S3."""
    connection = duckdb.connect()
    for extension in ("httpfs", "delta"):
        duckdb_extensions.import_extension(extension, con=connection)
        connection.execute(f"LOAD {extension}")
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', REGION '{REGION}', "
        f"ENDPOINT '127.0.0.1:{port}', URL_STYLE 'path', USE_SSL false)"
    )
    return connection


def make_lake(binary: pathlib.Path, port: int) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    subprocess.run([binary, "--lake", LAKE, "--quiet", "quickstart"], env=environment, check=True,
                   stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the built almanac")
    binary = parser.parse_args().binary.resolve()
    passed = failed = 0

    def check(name: str, holds: bool, found: str) -> None:
        nonlocal passed, failed
        passed, failed = passed + holds, failed + (not holds)
        print(f"{'ok     ' if holds else 'FAILED '} {name}: {found}", flush=True)

    with server() as upstream, counting_proxy(upstream) as (port, sent):
        make_lake(binary, upstream)
        plain = duck(upstream)
        table = f"{LAKE}/forecast/distributions"
        where = (f"commodity = '{COMMODITY}' AND model_name = '{MODEL}' "
                 f"AND forecast_start_date = DATE '{DATE}' AND NOT is_actuals")
        whole, = plain.execute(f"SELECT count(*) FROM delta_scan('{table}')").fetchone()
        stored, = plain.execute(f"SELECT sum(size) FROM read_blob('{table}/**/*.parquet')").fetchone()

        counted = duck(port)
        sent.clear()
        rows = counted.execute(f"SELECT path_id, COLUMNS('day_.*') FROM delta_scan('{table}') WHERE {where}").fetchall()
        data = collections.Counter({
            path: count for (method, path), count in sent.items()
            if method == "GET" and path.endswith(".parquet") and "/_delta_log/" not in path
        })
        read, log = data.total(), sum(sent.values()) - data.total()
        check("rows of one forecast", len(rows) == PATHS, f"{len(rows)} of {whole}")

        # The allowance: of every file that was opened its footer, and two row groups of the largest.
        footers = groups = 0
        for path in data:
            file = f"s3:/{path}"
            size, = plain.execute(f"SELECT size FROM read_blob('{file}')").fetchone()
            end, = plain.execute(
                f"SELECT max(data_page_offset + total_compressed_size) FROM parquet_metadata('{file}')"
            ).fetchone()
            footers += size - end
            groups = max(groups, plain.execute(
                f"SELECT max(bytes) FROM (SELECT sum(total_compressed_size) AS bytes "
                f"FROM parquet_metadata('{file}') GROUP BY row_group_id)"
            ).fetchone()[0])
        allowed = 2 * groups + footers
        check("bytes of one forecast", 0 < read <= allowed,
              f"{read} read of {stored} stored, in {len(data)} file(s); two row groups and the footers are "
              f"{allowed}; beside them {log} bytes of log and listings")
        others = [path for path in data if f"commodity={COMMODITY}/" not in path]
        check("no file of another commodity is opened", not others, f"{others}")
    print(f"interop s3: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs a command beside an S3 service of its own, with the AWS_* variables that lead to it.

usage: with_store.py BUCKET COMMAND [ARGUMENT…]

The service listens on a free loopback port, knows one bucket, keeps its objects in memory and ends
with the command, whose exit code it returns.
"""

import logging
import os
import subprocess
import sys

import boto3
from moto.server import ThreadedMotoServer


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__.strip(), file=sys.stderr)
        return 1
    bucket, *command = sys.argv[1:]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It logs every request.
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    access = {
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "loopback-only",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
    }
    os.environ |= access
    try:
        boto3.client("s3", region_name=access["AWS_REGION"]).create_bucket(Bucket=bucket)
        return subprocess.run(command, check=False).returncode
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())

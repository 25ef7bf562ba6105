"""Where a lake is, for engines that read it and for checks that look at its files."""

import contextlib
import os
import pathlib
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

import boto3


@dataclass(frozen=True)
class Store:
    """An S3 service and how to get in, as the environment says."""

    region: str
    key: str
    secret: str
    endpoint: str

    @staticmethod
    def from_environment() -> "Store":
        return Store(
            region=os.environ["AWS_REGION"],
            key=os.environ["AWS_ACCESS_KEY_ID"],
            secret=os.environ["AWS_SECRET_ACCESS_KEY"],
            endpoint=os.environ["AWS_ENDPOINT_URL"],
        )

    @property
    def host(self) -> str:
        """Host and port of the service."""
        return urllib.parse.urlsplit(self.endpoint).netloc

    @property
    def is_encrypted(self) -> bool:
        return urllib.parse.urlsplit(self.endpoint).scheme == "https"

    def client(self):
        return boto3.client(
            "s3",
            region_name=self.region,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            endpoint_url=self.endpoint,
        )


@dataclass(frozen=True)
class Lake:
    root: str
    """What engines are told: a folder, or `s3://BUCKET/PREFIX`."""
    folder: pathlib.Path
    """Its files on this machine: the lake itself, or a copy of its objects."""
    store: Store | None = None

    @property
    def label(self) -> str:
        return "" if self.store is None else "on s3: "

    def place(self, folder: str) -> str:
        """Where engines find a folder of the lake."""
        return f"{self.root}/{folder}"


@contextlib.contextmanager
def opened(root: str) -> Iterator[Lake]:
    """A lake by its folder or URI; the copy of a remote one is there until the context ends."""
    if not root.startswith("s3://"):
        folder = pathlib.Path(root).resolve()
        yield Lake(str(folder), folder)
        return
    store = Store.from_environment()
    with tempfile.TemporaryDirectory(prefix="almanac-objects.") as copy:
        _download(store, root, pathlib.Path(copy))
        yield Lake(root.rstrip("/"), pathlib.Path(copy), store)


def _download(store: Store, root: str, folder: pathlib.Path) -> None:
    address = urllib.parse.urlsplit(root)
    bucket, prefix = address.netloc, address.path.strip("/") + "/"
    client = store.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for item in page.get("Contents", []):
            target = folder / item["Key"].removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, item["Key"], str(target))

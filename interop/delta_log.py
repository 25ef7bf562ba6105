"""The Delta log as it lies on disk, read without any library: what was promised to old readers."""

import json
import pathlib

from expected import Table

# Anything a writer could switch on that a reader of protocol 1 does not know.
FORBIDDEN = ("columnmapping", "deletionvectors", "rowtracking", "typewidening", "feature", "incommit")


def commits(lake: pathlib.Path, table: Table) -> list[list[dict]]:
    """The actions of every commit, by version."""
    files = sorted((lake / table.folder / "_delta_log").glob("*.json"))
    versions = [int(file.stem) for file in files]
    assert versions == list(range(len(files))), f"versions {versions} are not 0, 1, 2, …"
    return [[json.loads(line) for line in file.read_text().splitlines() if line] for file in files]


def check_protocol(lake: pathlib.Path, table: Table) -> None:
    """Reader 1 / writer 2 in every version, no features, no deletion vectors, plain columns."""
    protocols = 0
    for version, actions in enumerate(commits(lake, table)):
        for action in actions:
            if "protocol" in action:
                protocols += 1
                wanted = {"minReaderVersion": 1, "minWriterVersion": 2}
                assert action["protocol"] == wanted, f"version {version}: {action['protocol']}"
            if "metaData" in action:
                _check_metadata(version, action["metaData"])
            for kind in ("add", "remove"):
                if kind in action:
                    vector = action[kind].get("deletionVector")
                    assert vector is None, f"version {version}: a deletion vector, {vector}"
    assert protocols >= 1, "no protocol action"


def _check_metadata(version: int, metadata: dict) -> None:
    for name, value in metadata.get("configuration", {}).items():
        asks_more = any(word in name.lower() for word in FORBIDDEN)
        assert not asks_more, f"version {version}: property {name}={value}"
    for field in json.loads(metadata["schemaString"])["fields"]:
        marks = [mark for mark in field["metadata"] if mark.startswith("delta.")]
        assert not marks, f"version {version}: column {field['name']} carries {marks}"
        assert field["type"] != "timestamp_ntz", f"version {version}: {field['name']} has no zone"


def schema(lake: pathlib.Path, table: Table) -> tuple[dict[str, str], list[str]]:
    """Columns and partition columns in the newest metadata."""
    metadata = [a["metaData"] for actions in commits(lake, table) for a in actions if "metaData" in a]
    fields = json.loads(metadata[-1]["schemaString"])["fields"]
    return {field["name"]: field["type"] for field in fields}, metadata[-1]["partitionColumns"]


def live_files(lake: pathlib.Path, table: Table, version: int | None = None) -> list[dict]:
    """The Add actions in force at a version."""
    live: dict[str, dict] = {}
    for actions in commits(lake, table)[: None if version is None else version + 1]:
        for action in actions:
            if "remove" in action:
                live.pop(action["remove"]["path"])
        for action in actions:
            if "add" in action:
                path = action["add"]["path"]
                assert path not in live, f"{path} is added twice"
                live[path] = action["add"]
    return list(live.values())


def rows(files: list[dict]) -> int:
    """How many rows the log says the files have."""
    return sum(json.loads(file["stats"])["numRecords"] for file in files)

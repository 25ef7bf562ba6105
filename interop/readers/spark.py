"""Apache Spark with Delta Lake's data source."""

import pathlib

from pyspark.sql import SparkSession

from expected import Table
from lakes import Lake, Store
from readers.forms import SqlReader


def session(jars: pathlib.Path, store: Store | None) -> SparkSession:
    """A session on this machine, small enough for two cores."""
    builder = SparkSession.builder.master("local[2]").config(
        map={
            "spark.jars": ",".join(str(jar) for jar in sorted(jars.glob("*.jar"))),
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "2",
            "spark.databricks.delta.snapshotPartitions": "2",
            "spark.driver.memory": "2g",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
        }
    )
    if store is not None:
        builder = builder.config(
            map={
                "spark.hadoop.fs.s3a.endpoint": store.endpoint,
                "spark.hadoop.fs.s3a.endpoint.region": store.region,
                "spark.hadoop.fs.s3a.path.style.access": "true",
                "spark.hadoop.fs.s3a.access.key": store.key,
                "spark.hadoop.fs.s3a.secret.key": store.secret,
            }
        )
    found = builder.getOrCreate()
    found.sparkContext.setLogLevel("ERROR")
    return found


class Spark(SqlReader):
    name = "spark"
    kinds = {
        "date": "date",
        "string": "string",
        "double": "double",
        "float": "float",
        "int": "integer",
        "bigint": "long",
        "boolean": "boolean",
        "timestamp": "timestamp",
    }
    dialect = {
        "day": "CAST(unix_date({0}) AS BIGINT)",
        "instant": "unix_micros({0})",
        "bytes": "octet_length({0})",
    }

    def __init__(self, lake: Lake, spark: SparkSession):
        super().__init__(lake)
        self.spark = spark

    def scan(self, table: Table, version: int | None = None) -> str:
        # Hadoop's connector answers to s3a only.
        place = self.lake.place(table.folder).replace("s3://", "s3a://")
        relation = f"delta.`{place}`"
        return relation if version is None else f"{relation} VERSION AS OF {version}"

    def rows(self, sql: str) -> list[tuple]:
        return [tuple(row) for row in self.spark.sql(sql).collect()]

    def types(self, table: Table) -> list[tuple[str, str]]:
        schema = self.spark.sql(f"SELECT * FROM {self.scan(table)}").schema
        return [(field.name, field.dataType.simpleString()) for field in schema.fields]

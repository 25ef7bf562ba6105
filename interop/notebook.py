#!/usr/bin/env python3
"""Runs the cells of a document and compares what they print with what the document says.

usage: notebook.py [--write] --lake FOLDER --jars FOLDER DOCUMENT

A cell is a fenced block of `python`; a block of `text` right behind it is its output, as a notebook
would show it: what was printed, and the value of a last expression. The cells of a section (`##`)
share their names. They find the lake as `lake`, Spark's libraries as `spark-jars`, and an S3 store in
the AWS_* variables. With --write the outputs are put into the document instead. The last line is
`reading: N passed, M failed`, one for each section, and the exit code is 1 when any failed.
"""

import argparse
import ast
import contextlib
import difflib
import io
import pathlib
import re
import shutil
import sys
import tempfile
import traceback

CELL = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the outputs into the document")
    parser.add_argument("--lake", type=pathlib.Path, required=True, help="a quickstart's lake")
    parser.add_argument("--jars", type=pathlib.Path, required=True, help="what pom.xml names")
    parser.add_argument("document", type=pathlib.Path)
    arguments = parser.parse_args()
    document = arguments.document.resolve()
    sections = re.split(r"^(?=## )", document.read_text(), flags=re.MULTILINE)
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="almanac-notebook.") as folder:
        place = pathlib.Path(folder)
        shutil.copytree(arguments.lake, place / "lake")  # Not every engine follows links.
        (place / "spark-jars").symlink_to(arguments.jars.resolve())
        with contextlib.chdir(place):
            for index, section in enumerate(sections):
                if CELL.search(section) is None:
                    continue
                title = section.splitlines()[0].removeprefix("## ")
                try:
                    sections[index] = written(section)
                except Exception:  # A cell that cannot run is a finding like any other.
                    failed += 1
                    print(f"FAILED  {title}\n{traceback.format_exc()}", flush=True)
                    continue
                if sections[index] == section or arguments.write:
                    passed += 1
                    print(f"ok      {title}", flush=True)
                else:
                    failed += 1
                    lines = section.splitlines(), sections[index].splitlines()
                    print(f"FAILED  {title}\n", *difflib.unified_diff(*lines, lineterm=""), sep="\n")
    if arguments.write:
        document.write_text("".join(sections))
    print(f"reading: {passed} passed, {failed} failed")
    return 1 if failed else 0


def written(section: str) -> str:
    """The section with the outputs that its cells have now."""
    names: dict = {}

    def run(cell: re.Match) -> str:
        output = shown(cell["code"], names)
        block = f"\n```text\n{output}```\n" if output else ""
        return f"```python\n{cell['code']}```\n{block}"

    return CELL.sub(run, section)


def shown(code: str, names: dict) -> str:
    """What a notebook shows under a cell."""
    tree = ast.parse(code)
    last = tree.body[-1]
    value = None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if isinstance(last, ast.Expr):
            tree.body.pop()
            exec(compile(tree, "cell", "exec"), names)
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        else:
            exec(compile(tree, "cell", "exec"), names)
        if value is not None:
            print(value)
    lines = [line.rstrip() for line in printed.getvalue().strip("\n").splitlines()]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())

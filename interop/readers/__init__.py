"""The engines that read a lake. Each answers the same questions with its own scan and arithmetic:

| question | answer |
| --- | --- |
| `columns(table)` | names and types, in Delta's words |
| `summary(table, kinds, version)` | see `forms.py` |
| `row(table, kinds, key)` | the rows with that key |

A new engine is a file here and a line in `check.py`.
"""

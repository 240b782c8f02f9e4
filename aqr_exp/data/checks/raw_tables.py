"""The tables as they lie there, without the devkit, which stops at the first fault."""

from pathlib import Path
from types import GenericAlias
from typing import Any

import msgspec

from aqr_exp.data.checks.fault import Fault
from aqr_exp.data.checks.rows import ROW_TYPES, Calibration, Row, SampleData


class RawTables:
    """All tables of one version that can be read.

    Args:
        root: The data set's folder.
        version: Its version folder.

    Attributes:
        root: As given.
        version: As given.
        rows: Rows by table and token; a table that cannot be read is not there.
        faults: Why tables cannot be read, and tokens that two rows have.
    """

    def __init__(self, root: Path, version: str) -> None:
        self.root = root
        self.version = version
        self.rows: dict[str, dict[str, Any]] = {}
        self.faults: list[Fault] = []
        for table in ROW_TYPES:
            self._read(table)

    @property
    def complete(self) -> bool:
        """Whether every table could be read."""
        return len(self.rows) == len(ROW_TYPES)

    def file(self, table: str) -> str:
        """A table's file, relative to the data set's folder."""
        return f"{self.version}/{table}.json"

    def fault(self, table: str, kind: str, cause: str) -> Fault:
        """A fault in a table."""
        return Fault(file=self.file(table), kind=kind, cause=cause)

    def channel(self, row: SampleData) -> str:
        """The sensor a recording is of, such as `CAM_FRONT`; needs sound references."""
        calibration: Calibration = self.rows["calibrated_sensor"][row.calibrated_sensor_token]
        return str(self.rows["sensor"][calibration.sensor_token].channel)

    def keyframes(self) -> dict[str, dict[str, SampleData]]:
        """The key recordings of every sample, by sample token and channel."""
        found: dict[str, dict[str, SampleData]] = {token: {} for token in self.rows["sample"]}
        for row in self.rows["sample_data"].values():
            if row.is_key_frame:
                found[row.sample_token][self.channel(row)] = row
        return found

    def _read(self, table: str) -> None:
        rows_of: Any = GenericAlias(list, (ROW_TYPES[table],))
        try:
            content = (self.root / self.file(table)).read_bytes()
            rows: list[Row] = msgspec.json.decode(content, type=rows_of)
        except FileNotFoundError:
            self.faults.append(self.fault(table, "missing table", "the table is missing"))
        except OSError as error:
            self.faults.append(self.fault(table, "damaged table", f"unreadable: {error.strerror}"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.faults.append(self.fault(table, "damaged table", f"no such table: {error}"))
        else:
            self.rows[table] = {row.token: row for row in rows}
            if len(self.rows[table]) < len(rows):
                self._find_doubles(table, [row.token for row in rows])

    def _find_doubles(self, table: str, tokens: list[str]) -> None:
        seen: set[str] = set()
        for token in tokens:
            if token in seen:
                cause = f"two rows have the token {token}"
                self.faults.append(self.fault(table, "double token", cause))
            seen.add(token)

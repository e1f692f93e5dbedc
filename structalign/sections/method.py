"""`method`: which row of the methods table is trained."""

from pydantic import Field

from structalign.params import Section


class MethodName(Section):
    name: str = Field(description="a row of the methods table", json_schema_extra={"paper": "structalign"})

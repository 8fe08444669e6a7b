"""What every section of the settings is made of."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def option(default: Any, description: str, *environment: str, example: str | None = None) -> Any:
    """One option; `environment` are the names that set it, in the order they are asked.

    `example` is the line of YAML that the example file shows when there is no default to show.
    """
    extra: dict[str, Any] = {"environment": list(environment)}
    if example is not None:
        extra["x-example"] = example
    return Field(
        default=default, description=description, json_schema_extra=extra, validate_default=True
    )


class Section(BaseModel):
    """A mapping whose keys are all known, and which can be built by parts."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

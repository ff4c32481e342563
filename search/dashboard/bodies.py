"""The JSON bodies of requests to optuna-dashboard, as it needs them to answer without an error of its own."""

import base64
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

STUDY = "/api/studies/<study_id:int>"


def _printable(text: str) -> str:
    if any(character < " " or character == "\x7f" for character in text):
        raise ValueError("a control character is not allowed")
    return text


def _data_uri(text: str) -> str:
    start, comma, data = text.partition(",")
    try:
        base64.standard_b64decode(data)
    except ValueError:
        comma = ""
    if not comma or not start.startswith("data:"):
        raise ValueError("a data URI in base64 is needed")
    return text


def _storable(values: Any) -> Any:
    """Refuse objective values that optuna-dashboard accepts, but that a database cannot store or give back."""
    if not isinstance(values, list):
        return values
    if not values:
        raise ValueError("a value is needed")
    for value in values:
        try:
            number = float(value)
        except OverflowError as error:
            raise ValueError("a value is too large") from error
        except (TypeError, ValueError):
            break  # optuna-dashboard answers 400
        if math.isnan(number):
            raise ValueError("NaN is not allowed")
    return values


Name = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_printable)]


class Body(BaseModel):
    """A JSON object. A missing key has a default here: optuna-dashboard answers 400 for it."""

    model_config = ConfigDict(strict=True)


class NewStudy(Body):
    study_name: Name | None = None
    directions: list[str] = []


class Rename(Body):
    study_name: Name | None = None


class Removal(Body):
    remove_associated_artifacts: bool = True


class Note(Body):
    version: int | None = None
    body: str | None = None


class Tell(Body):
    state: Any = None
    values: Annotated[Any, AfterValidator(_storable)] = None


class Attributes(Body):
    user_attrs: dict[Name, Any] = {}


class Upload(Body):
    file: Annotated[str, AfterValidator(_data_uri)] | None = None
    filename: str = ""


class Preference(Body):
    mode: str = ""
    candidates: list[int] = []
    clicked: int = -1


class Feedback(Body):
    output_type: str = ""
    artifact_key: str | None = None


BODIES: Mapping[tuple[str, str], type[Body]] = MappingProxyType(
    {
        ("POST", "/api/studies"): NewStudy,
        ("POST", f"{STUDY}/rename"): Rename,
        ("DELETE", STUDY): Removal,
        ("PUT", f"{STUDY}/note"): Note,
        ("PUT", f"{STUDY}/<trial_id:int>/note"): Note,
        ("POST", f"{STUDY}/preference"): Preference,
        ("PUT", f"{STUDY}/preference_feedback_component"): Feedback,
        ("POST", "/api/trials/<trial_id:int>/tell"): Tell,
        ("POST", "/api/trials/<trial_id:int>/user-attrs"): Attributes,
        ("POST", "/api/artifacts/<study_id:int>"): Upload,
        ("POST", "/api/artifacts/<study_id:int>/<trial_id:int>"): Upload,
    }
)


def problem_of(model: type[Body], found: Any) -> str | None:
    """Return why `found`, a parsed JSON document, is no body of this kind, None if it is one.

    found: None for no document. Only Removal may be absent.
    """
    if model is Removal and not found:
        return None
    if not isinstance(found, dict):
        return "a JSON object is needed, with the Content-Type application/json"
    try:
        model.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg']}"
    return None

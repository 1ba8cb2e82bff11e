"""What requests and replies look like, with the limits that the OpenAPI schema tells clients.

Types are strict: nothing is coerced, nothing unknown is passed over. Whether a name exists is asked elsewhere.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from selector.service.limits import MOST_EXPLAINED, MOST_FIELDS, MOST_NAME, MOST_QUERIES, MOST_SHOTS, MOST_TEXT

# Half of a surrogate pair, which UTF-8 cannot hold, is no text to pydantic.
Text = Annotated[str, StringConstraints(max_length=MOST_TEXT)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MOST_NAME)]
Fields = Annotated[dict[Name, Text], Field(min_length=1, max_length=MOST_FIELDS, description="Field name to raw text.")]
Choices = Annotated[list[Text], Field(max_length=MOST_FIELDS, description="Where every query has choices of its own.")]
SHOTS_TEXT = "Demonstrations for each query; by default as many as the served policy was trained for, or 4."
Shots = Annotated[int, Field(ge=0, le=MOST_SHOTS, description=SHOTS_TEXT)]
# What a path can name, so that whatever is added can be removed. A schema has no word for what can be printed.
REMOVABLE: Final = r"^(?!\.{1,2}$)[^\s\x00-\x1f\x7f-\x9f](?:[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"


def _removable(uid: str) -> str:
    if not uid.isprintable() or uid != uid.strip() or uid in (".", ".."):
        raise ValueError("printable characters without a space at either end, and neither '.' nor '..'")
    return uid


NewUid = Annotated[Name, AfterValidator(_removable), Field(json_schema_extra={"pattern": REMOVABLE})]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class QueryMessage(_Message):
    """What is asked about; it has no label."""

    fields: Fields
    choices: Choices = []
    uid: Annotated[Name | None, Field(description="Where it is a row of the data: it is never shown itself.")] = None


class SelectRequest(_Message):
    """Asks for demonstrations."""

    queries: Annotated[list[QueryMessage], Field(min_length=1, max_length=MOST_QUERIES)]
    shots: Shots | None = None
    method: Annotated[Name | None, Field(description="One of /about's methods; by default the first.")] = None
    orderer: Annotated[Name, Field(description="One of /about's orderers.")] = "given"


class OrderRequest(_Message):
    """Asks for an order of given demonstrations."""

    queries: Annotated[list[QueryMessage], Field(min_length=1, max_length=MOST_QUERIES)]
    demonstrations: Annotated[
        list[Annotated[list[Name], Field(max_length=MOST_SHOTS)]],
        Field(min_length=1, max_length=MOST_QUERIES, description="For each query the uids of its demonstrations."),
    ]
    orderer: Name


class ExplainRequest(_Message):
    """Asks for one query's demonstrations and the reasons for them."""

    query: QueryMessage
    shots: Annotated[int, Field(ge=0, le=MOST_EXPLAINED, description=SHOTS_TEXT)] | None = None
    method: Name | None = None
    orderer: Name = "given"


class NewExample(_Message):
    """A labelled example for the pool."""

    fields: Fields
    label: Annotated[str, StringConstraints(min_length=1, max_length=MOST_TEXT)]
    choices: Choices = []
    uid: Annotated[
        NewUid | None,
        Field(description="By default one is made up. It has to be printable, without a space at either end."),
    ] = None


class ExampleReply(BaseModel):
    """A member of the pool."""

    uid: str
    fields: dict[str, str]
    label: str


class Demonstration(ExampleReply):
    """A member of the pool that was chosen.

    Attributes:
        score: Higher is better; what it measures is up to the method.
    """

    score: float


class Demonstrations(BaseModel):
    """The demonstrations of one query in prompt order: the last stands next to it."""

    demonstrations: list[Demonstration]


class SelectReply(BaseModel):
    """One entry for each query."""

    method: str
    pool_size: int
    selections: list[Demonstrations]


class OrderReply(BaseModel):
    """One entry for each query."""

    selections: list[Demonstrations]


class PredictionReply(Demonstrations):
    """An answer and what was really shown for it.

    Attributes:
        probabilities: Label to probability; empty where answers are written.
        text: What was written; else empty.
    """

    label: str
    probabilities: dict[str, float]
    text: str


class PredictReply(BaseModel):
    """One entry for each query."""

    method: str
    pool_size: int
    predictions: list[PredictionReply]


class Rival(ExampleReply):
    """The example that was not chosen and is most like one that was.

    Attributes:
        likeness: Cosine similarity to the chosen one.
        similarity: Cosine similarity to the query.
    """

    likeness: float
    similarity: float


class ExplainedDemonstration(Demonstration):
    """A demonstration and why it stands there.

    Attributes:
        similarity: Cosine similarity to the query.
        rival: The most similar example that was passed over; None where there is no other.
        influence: Log-probability of the answer with it minus without it, nats; None without a language model, for
            written answers, and where the window left it out.
        shown: Whether the context window had room for it.
    """

    similarity: float
    rival: Rival | None
    influence: float | None
    shown: bool


class ExplainReply(BaseModel):
    """One method's choice for one query.

    Attributes:
        prediction: The answer; None without a language model.
    """

    method: str
    pool_size: int
    demonstrations: list[ExplainedDemonstration]
    prompt: str
    prediction: PredictionReply | None


class PoolReply(BaseModel):
    """What an edit did."""

    uid: str
    pool_size: int


class PoolPage(BaseModel):
    """A page of the pool, newest examples first."""

    pool_size: int
    matching: int
    examples: list[ExampleReply]


class AboutReply(BaseModel):
    """What is served."""

    version: str
    task: str
    fields: list[str]
    labels: list[str]
    choices: bool
    methods: list[str]
    orderers: list[str]
    language_model: bool
    pool_size: int
    edits_kept: bool
    shots: int


class HealthReply(BaseModel):
    """The service is up."""

    status: str


class ErrorBody(BaseModel):
    """What went wrong and what to do."""

    found: str
    expected: str
    remedy: str


class ErrorReply(BaseModel):
    """The one shape of every refusal."""

    error: ErrorBody

"""The HTTP face: paths, messages, and the one error shape. What is answered is `Answerer`'s affair."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, Final

from selector.errors import ExtraMissingError, ShotsmithError, UsageError

try:
    import prometheus_client
    from fastapi import FastAPI, Query, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, JSONResponse, Response
    from starlette.exceptions import HTTPException
except ImportError as error:
    raise ExtraMissingError(package=str(error.name or "fastapi"), extra="serve") from error

from selector.service import messages
from selector.service.answering import Answerer
from selector.service.batching import Batcher
from selector.service.choices import Recipe, Shown
from selector.service.explaining import Explained, Reason, explain_choice
from selector.service.guard import OPEN_PATHS, Guard, ServiceState, check_token
from selector.service.limits import DEFAULT_LIMITS, MOST_EXPLAINED, MOST_LISTED, MOST_NAME, MOST_SHOTS, ServiceLimits
from selector.service.metrics import ServiceMetrics
from selector.service.page_file import service_page
from selector.service.refusals import (
    RETRY_SECONDS,
    Refusal,
    refusal_of,
    refusal_of_content,
    refusal_of_status,
)
from selector.strategies.exported import DEFAULT_SHOTS
from selector.types import Example, Prediction
from selector.version import __version__

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": messages.ErrorReply, "description": text}
    for status, text in {
        400: "The body is cut off, or cannot be decoded.",
        401: "No token, or a wrong one.",
        404: "No such path or example.",
        405: "No such HTTP method.",
        408: "The body came too slowly.",
        409: "The service or its pool, as it is, cannot do this.",
        413: "The body is too long.",
        415: "The body is not said to be JSON.",
        421: "A foreign host name.",
        422: "The body is no JSON, or its content is wrong.",
        429: "Too many requests.",
        503: "The service cannot answer now.",
    }.items()
}


class Service:
    """An ASGI application over an answerer.

    Args:
        answerer: Answers; from now on nobody else may call it.
        limits: What is taken.
        token: What clients must show; empty for none.
        loopback_only: Whether only loopback names of the host are answered to.

    Attributes:
        api: The FastAPI application without the guard before it.
        state: How the service stands; `state.stopping` refuses what is new.

    Raises:
        UsageError: When the token holds what a header cannot.
    """

    def __init__(
        self,
        answerer: Answerer,
        *,
        limits: ServiceLimits = DEFAULT_LIMITS,
        token: str = "",
        loopback_only: bool = True,
    ) -> None:
        check_token(token)
        self.answerer = answerer
        self.limits = limits
        self.state = ServiceState()
        self.batcher = Batcher(capacity=limits.queue, most=limits.batch, batched=self._batched)
        self.metrics = ServiceMetrics(waiting=lambda: self.batcher.waiting, pool_size=lambda: len(answerer.pool))
        self.api = FastAPI(
            title="shotsmith",
            version=__version__,
            summary="Chooses demonstrations for a language model's prompt.",
            docs_url=None,  # these pages ask other hosts for their scripts
            redoc_url=None,
            responses=REFUSALS,
            lifespan=self._lifespan,
        )
        _add_refusals(self.api)
        _add_choices(self.api, self)
        _add_pool(self.api, self)
        _add_outlook(self.api, self)
        self._guard = Guard(
            self.api,
            state=self.state,
            limits=limits,
            metrics=self.metrics,
            paths=list(_with_token(self.api.openapi(), asked=bool(token))["paths"]),
            token=token,
            loopback_only=loopback_only,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers one request; see ASGI."""
        await self._guard(scope, receive, send)

    def close(self) -> None:
        """Waits for what is running and lets the thread and the journal go."""
        self.batcher.close()
        if self.answerer.journal is not None:
            self.answerer.journal.close()

    def _batched(self, queries: int) -> None:
        self.metrics.batched(queries)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(self.close)


def _with_token(schema: dict[str, Any], *, asked: bool) -> dict[str, Any]:
    """The schema, which FastAPI keeps, told of the token: the guard asks for it, of which FastAPI knows nothing."""
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"token": []}] if asked else [{}, {"token": []}]
    for path in OPEN_PATHS:
        schema["paths"][path]["get"]["security"] = []
    return schema


def _add_refusals(api: FastAPI) -> None:
    def reply(refusal: Refusal, headers: dict[str, str] | None = None) -> JSONResponse:
        status, body = refusal
        retry = {"retry-after": RETRY_SECONDS} if status in (429, 503) else {}
        return JSONResponse(body, status, {**(headers or {}), **retry})

    async def of_ours(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ShotsmithError)  # noqa: S101  # registered for these
        return reply(refusal_of(error))

    async def of_content(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return reply(refusal_of_content(error.errors()))

    async def of_framework(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        return reply(refusal_of_status(error.status_code, str(error.detail)), dict(error.headers or {}))

    async def of_mistake(_: Request, error: Exception) -> JSONResponse:
        return reply(refusal_of_status(500, f"a mistake of the service: {type(error).__name__}"))

    api.add_exception_handler(ShotsmithError, of_ours)
    api.add_exception_handler(RequestValidationError, of_content)
    api.add_exception_handler(HTTPException, of_framework)
    api.add_exception_handler(Exception, of_mistake)


def _add_choices(api: FastAPI, service: Service) -> None:
    answerer, batcher = service.answerer, service.batcher

    def queries_of(request: messages.SelectRequest | messages.OrderRequest) -> list[Example]:
        return [answerer.query(own.fields, own.choices, own.uid) for own in request.queries]

    def recipe_of(request: messages.SelectRequest | messages.ExplainRequest) -> Recipe:
        answerer.check_orderer(request.orderer)
        method, shots = answerer.method(request.method), request.shots
        if shots is None:
            served = answerer.served.shots if method == answerer.served.name else DEFAULT_SHOTS
            shots = min(served, MOST_EXPLAINED if isinstance(request, messages.ExplainRequest) else MOST_SHOTS)
        return Recipe(method, shots, request.orderer)

    @api.post("/select", summary="Choose demonstrations.")
    async def select(request: messages.SelectRequest) -> messages.SelectReply:
        recipe, queries = recipe_of(request), queries_of(request)
        chosen = await batcher.together(("select", recipe), queries, partial(answerer.select, recipe))
        return messages.SelectReply(
            method=recipe.method, pool_size=chosen[0].pool_size, selections=[_demonstrations(own) for own in chosen]
        )

    @api.post("/order", summary="Order given demonstrations.")
    async def order(request: messages.OrderRequest) -> messages.OrderReply:
        if len(request.queries) != len(request.demonstrations):
            raise UsageError(
                f"{len(request.queries)} queries have {len(request.demonstrations)} lists of demonstrations",
                expected="one list for each query",
                remedy="Send as many lists as queries.",
            )
        answerer.check_orderer(request.orderer)
        asked = list(zip(queries_of(request), request.demonstrations, strict=True))
        key = ("order", request.orderer)
        ordered = await batcher.together(key, asked, partial(answerer.order, request.orderer))
        return messages.OrderReply(selections=[_demonstrations(own) for own in ordered])

    @api.post("/predict", summary="Answer queries with the language model.")
    async def predict(request: messages.SelectRequest) -> messages.PredictReply:
        answerer.require_lm("a prediction")
        recipe, queries = recipe_of(request), queries_of(request)
        if answerer.task.lm.calibration == "batch":  # a request's queries are its batch, whoever else asks
            answered = await batcher.alone(lambda: answerer.predict(recipe, queries))
        else:
            answered = list(await batcher.together(("predict", recipe), queries, partial(answerer.predict, recipe)))
        return messages.PredictReply(
            method=recipe.method,
            pool_size=answered[0][1].pool_size,
            predictions=[_prediction(*own) for own in answered],
        )

    @api.post("/explain", summary="Choose for one query and say why.")
    async def explain(request: messages.ExplainRequest) -> messages.ExplainReply:
        recipe, own = recipe_of(request), request.query
        query = answerer.query(own.fields, own.choices, own.uid)
        return _explanation(await batcher.alone(lambda: explain_choice(answerer, recipe, query)))


def _add_pool(api: FastAPI, service: Service) -> None:
    answerer, batcher = service.answerer, service.batcher

    @api.get("/pool/examples", summary="Look at the pool, the newest first.")
    async def listed(
        containing: Annotated[str, Query(max_length=MOST_NAME, description="Text to look for, in any case.")] = "",
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 20,
    ) -> messages.PoolPage:
        pool, wanted = answerer.pool, containing.casefold()
        rows = await asyncio.to_thread(lambda: [own for own in reversed(pool) if not wanted or _holds(own, wanted)])
        return messages.PoolPage(
            pool_size=len(pool),
            matching=len(rows),
            examples=[_example(own) for own in rows[offset : offset + limit]],
        )

    @api.post("/pool/examples", status_code=201, summary="Add an example to the pool.")
    async def add(request: messages.NewExample) -> messages.PoolReply:
        def work() -> messages.PoolReply:
            uid = answerer.add(request.fields, request.label, request.choices, request.uid)
            return messages.PoolReply(uid=uid, pool_size=len(answerer.pool))

        return await batcher.alone(work)

    @api.delete("/pool/examples/{uid:path}", summary="Take an example out of the pool.")
    async def remove(uid: str) -> messages.PoolReply:
        def work() -> messages.PoolReply:
            return messages.PoolReply(uid=answerer.remove(uid), pool_size=len(answerer.pool))

        return await batcher.alone(work)


def _add_outlook(api: FastAPI, service: Service) -> None:
    answerer = service.answerer

    @api.get("/", response_class=HTMLResponse, summary="The page.")
    async def page() -> HTMLResponse:
        html, policy = service_page()
        return HTMLResponse(html, headers={"content-security-policy": policy})

    @api.get("/healthz", summary="Whether the service takes requests.")
    async def health() -> messages.HealthReply:
        return messages.HealthReply(status="ok")

    @api.get("/about", summary="What is served.")
    async def about() -> messages.AboutReply:
        task = answerer.task
        return messages.AboutReply(
            version=__version__,
            task=task.name,
            fields=list(answerer.fields),
            labels=list(task.template.labels),
            choices=bool(task.choice_columns),
            methods=list(answerer.methods),
            orderers=list(answerer.orderers),
            language_model=answerer.with_lm,
            pool_size=len(answerer.pool),
            edits_kept=answerer.journal is not None,
            shots=answerer.served.shots,
        )

    @api.get("/metrics", response_class=Response, summary="For Prometheus.")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)


def _holds(example: Example, wanted: str) -> bool:
    texts = (example.uid, str(example.label), *example.fields.values())
    return any(wanted in text.casefold() for text in texts)


def _example(example: Example) -> messages.ExampleReply:
    return messages.ExampleReply(uid=example.uid, fields=dict(example.fields), label=str(example.label))


def _demonstration(example: Example, score: float) -> messages.Demonstration:
    return messages.Demonstration(
        uid=example.uid, fields=dict(example.fields), label=str(example.label), score=float(score)
    )


def _demonstrations(shown: Shown) -> messages.Demonstrations:
    pairs = zip(shown.examples, shown.scores, strict=True)
    return messages.Demonstrations(demonstrations=[_demonstration(*pair) for pair in pairs])


def _prediction(prediction: Prediction, shown: Shown) -> messages.PredictionReply:
    return messages.PredictionReply(
        label=prediction.label,
        probabilities=prediction.probabilities if prediction.scores else {},
        text=prediction.text,
        demonstrations=_demonstrations(shown).demonstrations,
    )


def _reason(reason: Reason) -> messages.ExplainedDemonstration:
    passed = reason.rival
    rival = None
    if passed is not None:
        rival = messages.Rival(
            **_example(passed.example).model_dump(), likeness=passed.likeness, similarity=passed.similarity
        )
    return messages.ExplainedDemonstration(
        **_demonstration(reason.example, reason.score).model_dump(),
        similarity=reason.similarity,
        rival=rival,
        influence=reason.influence,
        shown=reason.shown,
    )


def _explanation(explained: Explained) -> messages.ExplainReply:
    return messages.ExplainReply(
        method=explained.method,
        pool_size=explained.pool_size,
        demonstrations=[_reason(own) for own in explained.reasons],
        prompt=explained.prompt,
        prediction=None if explained.answer is None else _prediction(*explained.answer),
    )

"""Tests of the page in a headless browser: what a person sees and does, by keyboard, on a desk and on a phone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from selector.inference.engine import InferenceEngine
from selector.testing import ToyLanguageModel
from selector.workspace import Workspace

DESKTOP, PHONE = 1280, 390  # pixels
HOSTILE = "<img src=x onerror=alert(1)><script>alert('gotcha')</script> ${title} & \"quotes\""
CHOICES_TASK = """
[data]
train = "train.jsonl"
test_size = 2
dev_size = 2
reward_size = 2
[fields]
inputs = ["text", "topic"]
label = "answer"
choices = ["options"]
[prompt]
template = "{topic}: {text}\\nA:{label}"
"""
STICKING_OUT = """() => {
  const wide = document.documentElement.clientWidth;
  const seen = (own) => own.checkVisibility() && !own.closest(".skip");
  const beyond = (own) => own.getBoundingClientRect().right > wide + 0.5;
  const boxes = [...document.body.querySelectorAll("*")].filter((own) => seen(own) && beyond(own));
  const out = boxes.map((own) => own.outerHTML.slice(0, 90));
  if (document.documentElement.scrollWidth > wide) out.push(`the page scrolls ${document.documentElement.scrollWidth}`);
  return out;
}"""
# The least contrast of a text with what it stands on, and that text.
FAINTEST = """() => {
  const parts = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => {
    const linear = (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.map((one) => linear(one / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (own) => {
    for (let at = own; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  let least = [99, ""];
  for (const own of document.body.querySelectorAll("*")) {
    const texts = [...own.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!texts || !own.checkVisibility() || own.disabled) continue;
    const pair = [light(parts(getComputedStyle(own).color).slice(0, 3)), light(ground(own))];
    const [high, low] = pair.sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < least[0]) least = [contrast, own.outerHTML.slice(0, 90)];
  }
  return least;
}"""


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page; afterwards nothing may have been complained about or asked of another host."""
    contexts: list[Any] = []
    seen: list[str] = []
    foreign: list[str] = []

    def open_page(url: str, *, width: int = DESKTOP, expected: str = "", **settings: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda told: (expected and expected in told.text) or seen.append(told.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith((url, "data:")) or foreign.append(request.url))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert seen == []
    assert foreign == []


def choose(page: Any, text: str = "the plot is warm and clumsy") -> None:
    page.get_by_label("text").first.fill(text)
    page.get_by_role("button", name="Choose").click()
    # What was shown before stays until it is replaced; the click itself has set the status to "Choosing".
    page.get_by_role("status").get_by_text("Chosen by").wait_for()


def shown(page: Any, side: int) -> list[str]:
    labels = page.locator("article").nth(side).locator("ol .plain").evaluate_all("all => all.map((o) => o.ariaLabel)")
    return [label.removeprefix("Remove ").removesuffix(" from the pool") for label in labels]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_it_fits_and_can_be_read(make_service, served, opened, planted_policy, width: int, scheme: str) -> None:
    """Guards against sideways scrolling on a phone, long words, and faint text, in light and in dark."""
    service = make_service(planted_policy)
    service.answerer.add({"text": "the plot is warm and clumsy " + "unbroken" * 60}, "fresh", uid="u" * 200)
    page = opened(served(service)[0], width=width, color_scheme=scheme)
    choose(page)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.locator("article").count() == 2
    assert page.evaluate(STICKING_OUT) == []
    contrast, text = page.evaluate(FAINTEST)
    assert contrast >= 4.5, text
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (max(channels) < 64) == (scheme == "dark")
    low = page.locator("button:visible, select:visible, input:visible, textarea:visible").evaluate_all(
        "all => all.map((own) => own.getBoundingClientRect().height)"
    )
    assert min(low) >= 32  # pixels: a finger must hit it
    boxes = [panel.bounding_box() for panel in page.locator("article").all()]
    assert (boxes[0]["y"] == boxes[1]["y"]) == (width == DESKTOP), "side by side where there is room"


def test_it_shows_what_the_service_says(make_service, served, opened, planted_policy) -> None:
    """Guards against demonstrations in another order, of another method, or beside another answer."""
    url, _ = served(make_service(planted_policy))
    page = opened(url)
    choose(page)
    for side, method in enumerate(("policy", "nearest")):
        body = {"query": {"fields": {"text": "the plot is warm and clumsy"}}, "method": method}
        told = httpx.post(f"{url}/explain", json=body).json()
        panel = page.locator("article").nth(side)
        assert panel.get_by_role("heading").inner_text() == method
        assert shown(page, side) == [own["uid"] for own in told["demonstrations"]]
        items = panel.locator("ol > li").all_inner_texts()
        for item, own in zip(items, told["demonstrations"], strict=True):
            assert own["fields"]["text"] in item
            assert own["rival"]["uid"] in item
            assert f"{abs(own['influence']):.3f} nats" in item
            assert f"{abs(own['score']):.3f}" in item
        panel.locator("summary").click()
        assert panel.locator("pre").inner_text() == told["prompt"]
        probabilities = told["prediction"]["probabilities"]
        best = max(probabilities, key=probabilities.__getitem__)
        assert panel.locator(".answer").inner_text().startswith(best)
        widths = panel.locator(".track i").evaluate_all("all => all.map((o) => parseFloat(o.style.width))")
        assert widths == pytest.approx([100 * own for own in sorted(probabilities.values(), reverse=True)], abs=1e-3)


def test_each_side_stands_on_its_own(make_service, served, opened) -> None:
    """Guards against a failure of one method that hides the other's answer and leaves former ones on the page."""
    service = make_service(with_lm=False)
    page = opened(served(service)[0], expected="status of 4")
    page.get_by_label("Beside it").select_option("zero")
    choose(page)
    service.answerer._change(service.answerer.pool.subset([0, 1]))
    page.get_by_role("button", name="Choose").click()
    failed, fine = page.locator("article").first, page.locator("article").last
    failed.get_by_role("alert").get_by_text("2 demonstrations are available").wait_for()
    assert failed.get_by_role("heading").inner_text() == "nearest"
    assert shown(page, 0) == []
    assert "No demonstrations" in fine.inner_text()
    assert page.get_by_role("status").inner_text() == "Chosen by zero."
    page.get_by_label("Shots").fill("1")
    page.get_by_role("button", name="Choose").click()
    page.get_by_role("status").get_by_text("Chosen by nearest and zero.").wait_for()
    assert len(shown(page, 0)) == 1
    assert page.get_by_role("alert").count() == 0


def test_edits_of_the_pool_change_what_is_shown(make_service, served, opened) -> None:
    """Guards against a choice that stays on the page when the pool it was made from is gone."""
    service = make_service(with_lm=False)
    page = opened(served(service)[0])
    page.get_by_label("Beside it").select_option("bm25")
    choose(page)
    before = shown(page, 0)
    page.locator("#add").get_by_label("text").fill("the plot is warm and clumsy")
    page.locator("#add").get_by_label("Label").select_option("rotten")
    page.get_by_role("button", name="Add to the pool").click()
    page.get_by_role("status").get_by_text("39 examples").wait_for()
    # The same text is the query's own row and never shown; a nearly equal one is.
    assert "same" in page.get_by_role("status").inner_text()
    page.locator("#add").get_by_label("text").fill("the plot is so warm and clumsy")
    page.get_by_role("button", name="Add to the pool").click()
    page.get_by_role("status").get_by_text("40 examples").wait_for()
    assert "has changed" in page.get_by_role("status").inner_text()
    assert shown(page, 0) == [*before[1:], "added-39"]
    assert page.locator("#add").get_by_label("text").input_value() == ""
    assert "added-39 · new" in page.locator("article").first.inner_text()
    assert "added-39" in page.locator("#pool li").first.inner_text()
    page.locator("article").first.get_by_role("button", name="Remove added-39").click()
    page.get_by_role("status").get_by_text("39 examples").wait_for()
    assert shown(page, 0) == before
    assert len(service.answerer.pool) == 39


def test_it_works_by_keyboard_and_has_names(make_service, served, opened) -> None:
    """Guards against controls without a label, and a page that needs a mouse."""
    page = opened(served(make_service(with_lm=False))[0])
    page.get_by_label("text").first.wait_for()
    nameless = page.locator("input:visible, select:visible, textarea:visible").evaluate_all(
        "all => all.filter((own) => !own.labels[0]?.textContent.trim()).map((own) => own.outerHTML)"
    )
    assert nameless == []
    assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
    assert page.get_by_role("search").count() == 1
    assert page.get_by_role("heading", level=1).inner_text() == "task"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Tab")
    page.keyboard.type("the plot is warm")
    page.keyboard.press("Control+Enter")
    page.locator("article").first.wait_for()
    assert page.get_by_role("status").get_attribute("aria-live") == "polite"
    reached: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert {"Choose", "Remove", "The prompt", "Add to the pool", "Find"} <= set(reached)


def test_hostile_text_is_shown_and_not_run(make_service, served, opened) -> None:
    """Guards against an example, a uid or a query that runs as a script in the reader's browser."""
    service = make_service(with_lm=False)
    service.answerer.add({"text": f"{HOSTILE} of the pool"}, "fresh", uid=HOSTILE)
    page = opened(served(service)[0])
    choose(page, f"{HOSTILE} asked")
    item = page.locator("article").first.locator("ol > li").last
    assert f"{HOSTILE} of the pool" in item.inner_text()
    page.locator("summary").first.click()
    assert f"{HOSTILE} asked" in page.locator("pre").first.inner_text()
    assert page.locator("main img, main script").count() == 0
    page.get_by_label("Find examples").fill(HOSTILE[:40])
    page.get_by_role("button", name="Find", exact=True).click()
    page.get_by_text("1 of 39 examples").wait_for()
    page.locator("#pool").get_by_role("button").click()
    page.get_by_role("status").get_by_text("38 examples").wait_for()


def test_a_refusal_and_a_token_are_shown(make_service, served, opened) -> None:
    """Guards against a page that stays silent when the service refuses, and one that cannot show a token."""
    service = make_service(with_lm=False, token="a-token-of-mine")
    page = opened(served(service)[0], expected="status of 4")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("alert").get_by_text("wrong one").wait_for()
    page.get_by_label("Token").fill("a-token-of-mine")
    page.get_by_role("button", name="Use it").click()
    page.get_by_label("Shots").wait_for()
    page.get_by_role("heading", name="task").wait_for()
    assert page.get_by_label("Token").is_hidden()
    assert page.get_by_role("alert").count() == 0
    service.answerer._change(service.answerer.pool.subset([0, 1]))
    page.get_by_label("text").first.fill("x")
    page.get_by_role("button", name="Choose").click()
    page.get_by_role("alert").get_by_text("2 demonstrations are available").first.wait_for()
    page.get_by_label("Shots").fill("1")
    choose(page, "x")
    assert page.get_by_role("alert").count() == 0


def test_choices_and_several_fields_can_be_typed(make_service, served, opened, tmp_path, shared_encoder) -> None:
    """Guards against a page that can ask only where a query is one text and labels are shared."""
    rows = [
        {"topic": f"topic {at}", "text": f"where is {at}", "options": ["left", "right"], "answer": "right"}
        for at in range(20)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "task.toml").write_text(CHOICES_TASK, encoding="utf-8")
    workspace = Workspace.open(tmp_path / "task.toml", use_store=False)
    task = workspace.task
    workspace.__dict__["encoder"] = shared_encoder
    workspace.__dict__["engine"] = InferenceEngine(ToyLanguageModel(), task.template, task.pool)
    page = opened(served(make_service(workspace=workspace))[0], width=PHONE)
    form = page.locator("#ask")
    form.get_by_label("topic").fill("a topic")
    form.get_by_label("text", exact=True).fill("where is it")
    form.get_by_label("choices").fill("up\n\n down ")
    page.get_by_role("button", name="Choose").click()
    page.locator("article").first.wait_for()
    assert set(page.locator("article").first.locator(".bars dt").all_inner_texts()) == {"up", "down"}
    assert page.evaluate(STICKING_OUT) == []
    adding = page.locator("#add")
    adding.get_by_label("topic").fill("mine")
    adding.get_by_label("text", exact=True).fill("where is mine")
    adding.get_by_label("choices").fill("here\nthere")
    adding.get_by_label("Label").fill("here")
    page.get_by_role("button", name="Add to the pool").click()
    page.get_by_role("status").get_by_text("15 examples").wait_for()
    assert task.pool[0].choices == ("left", "right")

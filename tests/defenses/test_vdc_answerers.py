"""VDC's answerers behind an endpoint, against a local server with faults, and in a local folder."""

import base64
import io
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from PIL import Image
from vdc_tiny_model import save_tiny_model

from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet
from bdlib.defenses.vdc.answerers.http import HttpAnswerer
from bdlib.defenses.vdc.answerers.oracle import OracleAnswerer
from bdlib.defenses.vdc.answerers.pictures import data_uri
from bdlib.defenses.vdc.answerers.protocol import Answerer, AnswererError
from bdlib.defenses.vdc.answerers.recognizer import RecognizerAnswerer
from bdlib.defenses.vdc.answerers.store import Store, StoreError
from bdlib.defenses.vdc.answerers.transformers import TransformersAnswerer

IMAGES = torch.arange(4 * 3 * 8 * 8).reshape(4, 3, 8, 8).to(torch.uint8)
KEY = "sk-a-secret"
HALF = {"message": {"content": "yes \ud800"}}


class Endpoint(ThreadingHTTPServer):
    """Answers every request with the text of its question; `faults` are what it does first: one entry for a request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.requests, self.keys, self.running, self.most = [], [], [], 0, 0
        self.lock, self.delay = threading.Lock(), 0.0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        """A client that went away after its time-out is no news."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append((self.path, asked))
            server.keys.append(self.headers.get("Authorization"))
            fault = server.faults.pop(0) if server.faults else None
            server.running += 1
            server.most = max(server.most, server.running)
        time.sleep(server.delay)
        if fault == "slow":
            time.sleep(1.0)
        with server.lock:
            server.running -= 1
        if isinstance(fault, tuple):
            self.reply(fault[0], b"{}", fault[1])
        elif fault == "drip":
            self.reply(200, b"", {"Content-Length": "1000"})
            for _ in range(30):
                self.wfile.write(b" ")
                time.sleep(0.05)
        elif fault == "endless":
            self.reply(200, b" " * 2**21)
        elif fault == "truncated":
            self.reply(200, json.dumps({"choices": [{"message": {"content": "x"}}]}).encode(), {"Content-Length": "99"})
        elif fault in ("malformed", "empty", "null", "half a pair"):
            choices = {"empty": [], "null": [{"message": {"content": None}}], "half a pair": [HALF]}.get(fault)
            content = None if choices is None else {"choices": choices}
            self.reply(200, json.dumps(content).encode() if content else b"<html>")
        else:
            text = f"about {asked['messages'][0]['content'][-1]['text']}"
            self.reply(200, json.dumps({"choices": [{"message": {"content": text}}]}).encode())

    def reply(self, code, body, headers=None):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def answerer(endpoint, tmp_path):
    def make(**options):
        usual = {"cache": tmp_path, "progress": False, "timeout": 0.4, "longest_wait": 0.01, "retries": 2}
        return HttpAnswerer(endpoint.url, "m", **usual | options)

    return make


QUESTIONS = [["a", "b"], ["a"], [], ["c"]]
ANSWERS = [["about a", "about b"], ["about a"], [], ["about c"]]


def test_one_request_for_each_image_and_question_at_temperature_0(answerer, endpoint):
    client = answerer()
    assert isinstance(client, Answerer) and client.answer(IMAGES, QUESTIONS) == ANSWERS
    assert len(endpoint.requests) == 4 and {path for path, _ in endpoint.requests} == {"/v1/chat/completions"}
    for _, asked in endpoint.requests:
        assert asked["temperature"] == 0 and asked["model"] == "m"
        picture = asked["messages"][0]["content"][0]["image_url"]["url"]
        assert picture.startswith("data:image/png;base64,")
    assert endpoint.keys == [None] * 4


def test_answers_are_kept_by_image_question_and_model(answerer, endpoint):
    answerer().answer(IMAGES, QUESTIONS)
    assert answerer().answer(IMAGES, QUESTIONS) == ANSWERS and len(endpoint.requests) == 4
    answerer().answer(IMAGES, [["a", "b"], ["a", "new"], [], ["c"]])
    assert len(endpoint.requests) == 5
    HttpAnswerer(endpoint.url, "other", cache=answerer().store.path.parent, progress=False).answer(IMAGES[:1], [["a"]])
    assert len(endpoint.requests) == 6


@pytest.mark.parametrize("fault", [
    "slow", "malformed", "empty", "null", "half a pair", "truncated", "drip", "endless", (500, {}),
    (429, {"Retry-After": "0"}),
])  # fmt: skip
def test_a_fault_that_passes_is_tried_again(answerer, endpoint, fault):
    endpoint.faults = [fault]
    assert answerer().answer(IMAGES, QUESTIONS) == ANSWERS and len(endpoint.requests) == 5


def test_it_waits_as_long_as_the_server_asks(answerer, endpoint):
    endpoint.faults = [(429, {"Retry-After": "0.3"})]
    start = time.perf_counter()
    answerer(longest_wait=5.0).answer(IMAGES[:1], [["a"]])
    assert time.perf_counter() - start >= 0.3
    endpoint.faults = [(429, {"Retry-After": "3600"})]
    start = time.perf_counter()
    answerer(longest_wait=0.05).answer(IMAGES[:1], [["other"]])
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(("fault", "words"), [
    ("slow", "no answer within 0.4 seconds, after 3 tries"), ("malformed", "a malformed answer, after 3 tries"),
    ((429, {}), "HTTP 429, after 3 tries"), ((404, {}), "HTTP 404 for the model 'm'"),
    ((401, {}), "HTTP 401: the key in OPENAI_API_KEY is missing"),
    ((302, {"Location": "http://127.0.0.1:9/"}), "HTTP 302 for the model 'm'"),
])  # fmt: skip
def test_a_fault_that_stays_is_one_line_and_answers_so_far_are_kept(answerer, endpoint, fault, words):
    answerer(concurrency=1).answer(IMAGES[:1], [["a"]])
    endpoint.faults = [fault] * 3
    with pytest.raises(AnswererError, match=rf"\A{endpoint.url}: {words}[^\n]*\Z"):
        answerer(concurrency=1).answer(IMAGES, QUESTIONS)
    endpoint.faults.clear()
    before = len(endpoint.requests)
    assert answerer().answer(IMAGES, QUESTIONS) == ANSWERS
    assert len(endpoint.requests) - before <= 3


def test_what_had_come_before_an_error_is_not_asked_again(answerer, endpoint):
    many = [[str(n) for n in range(10)]]
    endpoint.faults = [None] * 5 + [(400, {})]
    with pytest.raises(AnswererError):
        answerer(concurrency=1).answer(IMAGES[:1], many)
    endpoint.faults.clear()
    assert answerer().estimate(IMAGES[:1], many).cached >= 5
    assert answerer().answer(IMAGES[:1], many) == [[f"about {n}" for n in range(10)]]


def test_a_refused_key_is_named_by_its_variable_and_not_shown(answerer, endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint.faults = [(401, {})]
    with pytest.raises(AnswererError, match="the key in OPENAI_API_KEY is refused") as raised:
        answerer().answer(IMAGES[:1], [["a"]])
    assert endpoint.keys == [f"Bearer {KEY}"] and KEY not in str(raised.value)
    assert KEY not in repr(vars(answerer())) + repr(vars(answerer().chat))
    assert KEY.encode() not in b"".join(p.read_bytes() for p in answerer().store.path.parent.glob("*"))
    with pytest.raises(ParameterError, match="must begin with https"):
        HttpAnswerer("http://example.org/v1", "m")


@pytest.mark.parametrize("key", [KEY + "\r", KEY + "\n", f" {KEY}", KEY + "\n more", "sk-é€"])
def test_a_key_that_cannot_be_sent_is_not_shown(answerer, endpoint, monkeypatch, key):
    client = answerer()
    monkeypatch.setenv("OPENAI_API_KEY", key)
    for call in (answerer, lambda: client.answer(IMAGES[:1], [["a"]])):
        with pytest.raises(ParameterError, match=r"\AOPENAI_API_KEY: the key in it must be ASCII") as raised:
            call()
        assert "sk-" not in str(raised.value)
    assert not endpoint.requests


def test_a_key_in_the_wrong_place_is_not_shown(endpoint, tmp_path):
    for change in (
        {"key_variable": KEY},
        {"url": f"http://me:{KEY}@localhost/v1"},
        {"url": f"{endpoint.url}?key={KEY}"},
    ):
        with pytest.raises(ParameterError, match=r"\A(key_variable|url): must") as raised:
            HttpAnswerer(**{"url": endpoint.url, "model": "m", "cache": tmp_path} | change)
        assert KEY not in str(raised.value)


def test_a_key_that_is_set_later_is_sent_to_no_other_machine_unencrypted(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    client = HttpAnswerer("http://example.invalid/v1", "m", cache=tmp_path, progress=False, retries=0)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ParameterError, match="must begin with https, because OPENAI_API_KEY is set"):
        client.answer(IMAGES[:1], [["a"]])


def test_a_proxy_is_not_asked_for_this_machine(answerer, endpoint, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("http_proxy", endpoint.url.removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(AnswererError, match="not reached"):
        HttpAnswerer("http://localhost:9/v1", "m", cache=tmp_path, progress=False, retries=0).ask("hello")
    assert not endpoint.requests and answerer().ask("hello") == "about hello"


def test_what_has_come_is_on_disk_while_the_rest_is_under_way(answerer, endpoint):
    endpoint.faults = [None, None, None, "slow"]
    client = answerer(concurrency=1, timeout=5.0)
    thread = threading.Thread(target=client.answer, args=(IMAGES[:1], [["a", "b", "c", "d"]]))
    thread.start()
    while len(endpoint.requests) < 4:
        time.sleep(0.01)
    time.sleep(0.4)
    assert answerer().estimate(IMAGES[:1], [["a", "b", "c", "d"]]).cached == 3
    thread.join()


def test_a_cache_that_cannot_be_written_is_an_error_before_the_first_request(answerer, endpoint, tmp_path):
    (tmp_path / "file").write_text("")
    for call in (lambda a: a.answer(IMAGES, QUESTIONS), lambda a: a.ask("hello")):
        with pytest.raises(StoreError, match=r"\A[^\n]*\Z"):
            call(answerer(cache=tmp_path / "file" / "answers"))
    assert not endpoint.requests
    assert HttpAnswerer(endpoint.url, "m" * 300, cache=tmp_path, progress=False).ask("hello") == "about hello"


WRONG = [
    ({"questions": ["ab", "cd", "ef", "gh"]}, r"questions=\['ab', .*: must be a list, each item a list"),
    ({"questions": [["a"]]}, "questions: must be 4 lists, one for each image, not 1"),
    ({"questions": [["a"], [" "], [], []]}, "questions: ' ': must be text with a word in it"),
    ({"questions": [["\ud800"], [], [], []]}, r"questions: '\\ud800': must be text with a word in it"),
    ({"images": IMAGES / 255}, "images=a Tensor of shape .*float32: must be an UInt8"),
    ({"images": IMAGES[:, :2]}, "images=a Tensor of shape .*: must have one or three channels"),
    ({"images": IMAGES[:, :, :0]}, "images=a Tensor of shape .*: must have one or three channels, and pixels"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_no_answerer_is_asked_what_it_cannot_answer(answerer, endpoint, change, words, tmp_path):
    arguments = {"images": IMAGES, "questions": QUESTIONS} | change
    clients = [RecognizerAnswerer(None), OracleAnswerer(ImageSet(IMAGES, torch.arange(4) % 2), ("cat", "dog"))]
    for client in (answerer(), *clients):
        with pytest.raises(ParameterError, match=rf"\A{words}[^\n]*\Z"):
            client.answer(**arguments)
    with pytest.raises(ParameterError, match=rf"\A{words}[^\n]*\Z"):
        answerer().estimate(**arguments)
    assert not endpoint.requests


def test_an_oracle_needs_two_names_and_one_for_each_label():
    for names in (("cat",), ("cat", "dog")):
        with pytest.raises(
            ParameterError, match=r"\Aclass_names=[^\n]*: must be two or more, and one for each label up"
        ):
            OracleAnswerer(ImageSet(IMAGES, torch.arange(4)), names)
    with pytest.raises(ParameterError, match=r"\Acache='x': must be a Path, or None\Z"):
        RecognizerAnswerer("x")


def test_requests_run_side_by_side_but_no_more_than_are_allowed(answerer, endpoint):
    endpoint.delay = 0.05
    answerer(concurrency=3).answer(IMAGES, [[f"{n}-{k}" for k in range(4)] for n in range(4)])
    assert 2 <= endpoint.most <= 3 and len(endpoint.requests) == 16


def test_the_price_is_known_before_the_first_request(answerer, endpoint):
    client = answerer(input_price=2.0, output_price=10.0, image_tokens=100, budget=0.0001)
    estimate = client.estimate(IMAGES, QUESTIONS)
    assert (estimate.requests, estimate.cached) == (4, 0)
    assert estimate.dollars == pytest.approx((4 * 100 + 4 * 0.25) * 2e-6 + 4 * 10 * 10e-6)
    with pytest.raises(ParameterError, match=r"budget=0.0001: must be at least the estimate: 4 requests"):
        client.answer(IMAGES, QUESTIONS)
    assert not endpoint.requests


def test_a_text_can_be_asked_too(answerer, endpoint):
    assert answerer().ask("hello") == "about hello" and answerer().ask("hello") == "about hello"
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(("change", "words"), [
    ({"url": "localhost:8000"}, "url='localhost:8000': must be an address"), ({"model": 3}, "model=3: must be text"),
    ({"concurrency": 0}, "concurrency=0: must be"), ({"timeout": 0.0}, "timeout=0.0: must be"),
    ({"url": "http://[::1"}, r"url='http://\[::1': must be an address"),
    ({"url": "http://a b"}, "url='http://a b': must be an address"), ({"url": "http://é.org"}, "url=.*: must be an"),
    ({"url": "http://localhost:x/v1"}, "url=.*: must be an address"),
    ({"url": "http://localhost:1/v1/chat/completions/"}, "url=.*: must end before /chat/completions, which is added"),
    ({"url": "http://localhost:99999"}, "url=.*: must be an address"), ({"model": " "}, "model=' ': must be the name"),
    ({"model": "\ud800"}, "model=.*: must be the name"), ({"budget": -1.0}, "budget=-1.0: must be"),
    ({"retries": -1}, "retries=-1: must be"),
])  # fmt: skip
def test_bad_arguments_are_one_line(change, words):
    with pytest.raises(ParameterError, match=rf"\A{words}[^\n]*\Z"):
        HttpAnswerer(**{"url": "http://localhost:1/v1", "model": "m"} | change)


def test_small_images_are_enlarged_and_gray_ones_stay_gray():
    for image, mode in ((IMAGES[0], "RGB"), (IMAGES[0, :1], "L")):
        picture = Image.open(io.BytesIO(base64.b64decode(data_uri(image).partition(",")[2])))
        assert picture.size == (224, 224) and picture.mode == mode


def test_a_damaged_store_is_one_line(tmp_path):
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"\A[^\n]*answers.sqlite: [^\n]*\Z"):
        Store(path).read([b"a"])


# A model in a local folder


@pytest.mark.filterwarnings("ignore")
def test_a_model_in_a_local_folder_answers_and_repeats_itself(tmp_path):
    folder = save_tiny_model(tmp_path / "tiny")
    client = TransformersAnswerer(folder, batch_size=2, longest=4)
    questions = [["what is in this picture", "is there a cat"], [], ["is there a dog"], ["yes"]]
    answers = client.answer(IMAGES, questions)
    assert [len(its) for its in answers] == [2, 0, 1, 1] and all(isinstance(t, str) for its in answers for t in its)
    assert client.answer(IMAGES, questions) == answers
    assert TransformersAnswerer(folder, batch_size=1, longest=4).answer(IMAGES, questions) == answers
    assert isinstance(client, Answerer) and client.name == "tiny"


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(ParameterError, match=r"\Afolder='[^\n]*must be a folder with a model[^\n]*\Z"):
        TransformersAnswerer(tmp_path)
    with pytest.raises(ParameterError, match="folder='elsewhere': must be"):
        TransformersAnswerer("elsewhere")


def test_two_processes_keep_their_answers_in_one_store(tmp_path):
    path = tmp_path / "answers.sqlite"
    program = (
        "import sys; from pathlib import Path; from bdlib.defenses.vdc.answerers.store import Store\n"
        "for n in range(100): Store(Path(sys.argv[1])).write({f'{sys.argv[2]}{n}'.encode(): b'yes'})"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "ab"]
    assert [process.wait(120) for process in both] == [0, 0]
    keys = [f"{name}{n}".encode() for name in "ab" for n in range(100)]
    assert Store(path).read(keys) == dict.fromkeys(keys, b"yes")

"""A model behind a server: what is sent, and what is made of the answers that servers give."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from endpoint_world import Puppet, completion, http, puppet, stream

from edgeagent.errors import ModelCancelled, ModelError, NotFound, PromptTooLong, UsageError
from edgeagent.model.endpoint import Address
from edgeagent.model.endpoint.checking import call_in_text, schemas_fault
from edgeagent.model.endpoint.wire import ToolNames
from edgeagent.model.protocol import ChatRequest, ChatResult, Sampling
from edgeagent.schema import Message, ToolCall, ToolSpec
from edgeagent.tools.specs import BUILTIN_SPECS

MOVE, READ = BUILTIN_SPECS["move_file"], BUILTIN_SPECS["read_file"]
ARGUMENTS = {"source": "/in/a", "destination": "/out/a"}
OUTPUT = {"type": "object", "properties": {"kind": {"enum": ["bill"]}}, "required": ["kind"]}
MESSAGES = (Message("system", "File it."), Message("user", "event: manual"))


def ask(server: Puppet, request: ChatRequest | None = None, **options: Any) -> ChatResult:
    asked = request or ChatRequest(MESSAGES, (MOVE, READ))
    return server.model(**options).chat(asked, threading.Event(), lambda text: None)


def call(name: str = "move_file", arguments: Any = None) -> tuple[str, Any]:
    return name, json.dumps(ARGUMENTS) if arguments is None else arguments


def test_a_request_carries_the_conversation_and_the_tools() -> None:
    said = Message("assistant", "", "thought", (ToolCall("read_file", {"path": "/ü"}),))
    messages = (*MESSAGES, said, Message("tool", "hello", name="read_file"))
    with puppet(completion()) as server:
        server.key_name = "KEY"
        ask(server, ChatRequest(messages, (MOVE, READ), max_tokens=77))
    sent, (line, headers) = server.asked[0], server.heads[0]
    assert line == "POST /v1/chat/completions HTTP/1.1" and headers["authorization"] == "Bearer sk-123456"
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "tool"]
    (made,) = sent["messages"][2]["tool_calls"]
    assert json.loads(made["function"]["arguments"]) == {"path": "/ü"}
    assert sent["messages"][3]["tool_call_id"] == made["id"] and "thought" not in json.dumps(sent)
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["move_file", "read_file"]
    assert (sent["max_tokens"], sent["temperature"], sent["seed"], sent["model"]) == (77, 0.0, 0, "big")
    assert "top_p" not in sent and "response_format" not in sent


def test_how_tokens_are_picked_is_sent_where_it_was_asked_for() -> None:
    with puppet(completion()) as server:
        model = server.model()
        model.sampling = Sampling(temperature=0.5, seed=9, repetition_penalty=1.2)
        model.chat(ChatRequest(MESSAGES, top_p=0.5, temperature=1.0), threading.Event(), lambda text: None)
    sent = server.asked[0]
    assert (sent["temperature"], sent["seed"], sent["top_p"]) == (1.0, 9, 0.5)
    assert sent["repeat_penalty"] == sent["repetition_penalty"] == 1.2


def test_without_a_key_none_is_sent() -> None:
    with puppet(completion()) as server:
        ask(server)
    assert "authorization" not in server.heads[0][1]


USAGE = {"prompt_tokens": 120, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 100}}


def test_tokens_are_those_that_the_server_says() -> None:
    with puppet(completion("hello", usage=USAGE)) as server:
        result = ask(server)
    assert (result.text, result.finish) == ("hello", "stop")
    assert (result.input_tokens, result.cached_tokens, result.output_tokens, result.disk_tokens) == (120, 100, 7, 0)


def test_where_the_server_says_none_what_was_written_is_guessed() -> None:
    with puppet(completion("x" * 400, usage=None)) as server:
        result = ask(server)
    assert (result.input_tokens, result.output_tokens) == (0, 100)


def test_an_answer_in_pieces_is_put_together_and_told_as_it_comes() -> None:
    pieces: list[str] = []
    answer = stream(
        {"reasoning_content": "hm"}, {"content": "Grü"}, ": a comment\r\n\r\n", {"content": "ße"}, usage=USAGE
    )
    with puppet(answer) as server:
        result = server.model().chat(ChatRequest(MESSAGES), threading.Event(), pieces.append)
    assert (result.text, result.reasoning, pieces) == ("Grüße", "hm", ["Grü", "ße"])
    assert result.output_tokens == 7 and 0 < result.time_to_first_token <= result.seconds


def function(arguments: str, name: str | None = None, **about: Any) -> dict[str, Any]:
    named = {"name": name} if name else {}
    return {"tool_calls": [{**about, "function": {**named, "arguments": arguments}}]}


WHOLE = json.dumps(ARGUMENTS)


@pytest.mark.parametrize(
    "deltas",
    [
        [function("", "move_file", index=0, id="a"), function(WHOLE[:9], index=0), function(WHOLE[9:], index=0)],
        [function(WHOLE[:9], "move_file", id="a"), function(WHOLE[9:])],  # no index
        [function(WHOLE, "move_file", index=0, id="a"), function("{}", "read_file", index=1, id="b")],
        [function(WHOLE, "move_file", index=0, id="a"), function("{}", "read_file", index=0, id="b")],  # Ollama
        [function(WHOLE, "move_file", index=0), function("{}", "read_file", index=0)],  # and no ids
        [function(WHOLE[:9], "move_file", index=0, id="a"), function(WHOLE[9:], "move_file", index=0, id="a")],
    ],
)
def test_of_calls_in_pieces_the_first_is_taken(deltas: list[dict[str, Any]]) -> None:
    with puppet(stream(*deltas, finish="tool_calls")) as server:
        result = ask(server)
    assert result.call == ToolCall("move_file", ARGUMENTS) and result.finish == "call"


def test_arguments_as_an_object_and_content_in_parts_are_taken() -> None:
    with puppet(completion(None, call(arguments=ARGUMENTS)), completion([{"type": "text", "text": "hi"}])) as server:
        assert ask(server).call == ToolCall("move_file", ARGUMENTS)
        assert ask(server).text == "hi"


def test_reasoning_that_was_left_in_the_text_is_no_answer() -> None:
    with puppet(completion("<think>\nshort\n</think>\n\ndone")) as server:
        result = ask(server)
    assert (result.text, result.reasoning) == ("done", "short")


def test_an_answer_that_was_cut_says_so_and_has_no_call() -> None:
    with puppet(completion(None, call(arguments='{"source": "/in'), finish="length")) as server:
        result = ask(server)
    assert (result.finish, result.call) == ("length", None)
    assert len(server.asked) == 1


def test_names_that_servers_do_not_allow_are_sent_as_others_and_meant_as_they_are() -> None:
    schema = {"type": "object", "properties": {}}
    tools = (ToolSpec("git/log", "", schema), ToolSpec("git_log", "", schema), ToolSpec("x" * 80, "", schema))
    names = ToolNames(tools)
    sent = [names.sent(tool.name) for tool in tools]
    assert len(set(sent)) == 3 and all(len(name) <= 64 and name.replace("_", "").isalnum() for name in sent)
    assert [names.meant(name) for name in sent] == [tool.name for tool in tools]
    with puppet(completion(None, call(sent[1], "{}"))) as server:
        assert ask(server, ChatRequest(MESSAGES, tools)).call == ToolCall("git_log", {})


# --- what is not valid --------------------------------------------------------------------------------------------

BAD_CALLS = {
    "no JSON": call(arguments="{source: a"),
    "no object": call(arguments="[1]"),
    "not its schema": call(arguments='{"source": 1}'),
    "not a number": call(arguments='{"source": NaN}'),
    "nested too deep": call(arguments='{"source": ' * 100_000),
    "no such tool": call("delete_everything"),
}


@pytest.mark.parametrize("bad", BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_call_that_is_not_valid_is_told_to_the_model_once(bad: tuple[str, Any]) -> None:
    with puppet(completion(None, bad, usage=USAGE), completion(None, call(), usage=USAGE)) as server:
        result = ask(server)
    assert result.call == ToolCall("move_file", ARGUMENTS)
    assert (result.input_tokens, result.output_tokens) == (240, 14)
    said, told = server.asked[1]["messages"][-2:]
    assert said["role"] == "assistant" and told["role"] == "user" and told["content"].startswith("That was not valid: ")


@pytest.mark.parametrize("bad", BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_call_that_is_not_valid_twice_is_an_error(bad: tuple[str, Any]) -> None:
    with puppet(completion(None, bad)) as server, pytest.raises(ModelError, match="not valid, twice") as caught:
        ask(server)
    assert len(server.asked) == 2 and "\n" not in caught.value.message and len(caught.value.message) < 500


def test_odd_characters_in_arguments_come_as_they_were_written() -> None:
    written = '{"source": "\\ud800a\\u0000", "destination": "\\ud83d\\ude00"}'
    with puppet(completion(None, call(arguments=written))) as server:
        result = ask(server)
    assert result.call == ToolCall("move_file", {"source": "\ud800a\0", "destination": "😀"})


def test_halves_of_characters_are_not_sent() -> None:
    made = Message("assistant", "", "", (ToolCall("move_file", {"source": "bad\udcff"}),))
    with puppet(completion()) as server:
        ask(server, ChatRequest((Message("user", "bad\udcff.txt"), made, Message("tool", "\ud800", name="move_file"))))
    assert "\\ud" not in json.dumps(server.asked[0]) and server.asked[0]["messages"][0]["content"] == "bad?.txt"


def test_arguments_of_a_hundred_kilobytes_are_taken() -> None:
    long = {"source": "ä" * 100_000, "destination": "/b"}
    with puppet(completion(None, call(arguments=json.dumps(long)))) as server:
        result = ask(server)
    assert result.call == ToolCall("move_file", long)


def test_an_answer_without_tools_is_held_to_its_schema_by_the_server() -> None:
    with puppet(completion('{"kind": "bill"}')) as server:
        assert ask(server, ChatRequest(MESSAGES, output_schema=OUTPUT)).text == '{"kind": "bill"}'
    sent = server.asked[0]
    assert sent["response_format"]["json_schema"]["schema"] == OUTPUT
    assert json.dumps(OUTPUT) in sent["messages"][0]["content"]


def test_an_answer_beside_tools_is_held_to_its_schema_only_after_one_that_did_not_match() -> None:
    with puppet(completion("It is a bill."), completion('```json\n{"kind": "bill"}\n```')) as server:
        assert ask(server, ChatRequest(MESSAGES, (MOVE,), OUTPUT)).text == '{"kind": "bill"}'
    first, second = server.asked
    assert "response_format" not in first and first["tool_choice"] == "auto"
    assert second["response_format"]["json_schema"]["schema"] == OUTPUT and second["tool_choice"] == "none"


def test_an_answer_that_never_matches_is_for_the_run_to_judge() -> None:
    with puppet(completion('{"kind": "letter"}')) as server:
        assert ask(server, ChatRequest(MESSAGES, output_schema=OUTPUT)).text == '{"kind": "letter"}'
    assert len(server.asked) == 2


def test_a_call_that_a_server_left_in_the_text_counts_only_where_it_is_all_of_it() -> None:
    names = ToolNames((MOVE,))
    written = json.dumps({"name": "move_file", "arguments": ARGUMENTS})
    for text in (written, f"<tool_call>\n{written}\n</tool_call>", f"```json\n{written}\n```"):
        assert call_in_text(text, (MOVE,), names) == ToolCall("move_file", ARGUMENTS)
    for text in (f"The file says: {written}", f"{written}\n{written}", written.replace("move_file", "other"), "[]", ""):
        assert call_in_text(text, (MOVE,), names) is None


def test_a_schema_that_calls_cannot_be_checked_by_is_named() -> None:
    for schema in ({"type": "thing"}, {"$ref": "http://127.0.0.1:9/x"}, {"properties": {"a": {"pattern": "("}}}):
        told = schemas_fault((ToolSpec("odd", "", schema),))
        assert told.startswith("odd: its schema cannot be used: ") and "\n" not in told
    assert schemas_fault(tuple(BUILTIN_SPECS.values())) == ""


# --- budgets ------------------------------------------------------------------------------------------------------


def test_a_conversation_is_fitted_to_its_budget_by_its_length() -> None:
    calls = (ToolCall("read_file", {"path": "/a"}),)
    messages = (*MESSAGES, Message("assistant", "", "", calls), Message("tool", "word " * 5000, name="read_file"))
    with puppet(completion()) as server:
        ask(server, ChatRequest(messages, (READ,), max_prompt_tokens=1000))
    content = server.asked[0]["messages"][-1]["content"]
    assert len(content) < 2000 and "more tokens]" in content


def test_what_can_never_fit_is_not_sent() -> None:
    with puppet(completion()) as server:
        with pytest.raises(PromptTooLong, match="may have 100"):
            ask(server, ChatRequest((Message("user", "word " * 1000),), max_prompt_tokens=100))
        with pytest.raises(PromptTooLong, match="may have"):
            ask(server, ChatRequest((Message("user", "word " * 1000),)), context=300)
    assert not server.asked


def test_a_conversation_that_had_more_tokens_than_it_may_ends_the_run() -> None:
    answer = completion("x", usage={"prompt_tokens": 5000, "completion_tokens": 1})
    with puppet(answer) as server, pytest.raises(PromptTooLong, match="has 5000 tokens and may have 4000"):
        ask(server, ChatRequest(MESSAGES, max_prompt_tokens=4000))


@pytest.mark.parametrize(
    "said",
    [
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error",
            }
        },
        {"error": {"code": "context_length_exceeded", "message": "This model's maximum context length is 4096 tokens"}},
        {"object": "error", "message": "'max_tokens' is too large: the maximum context length is 9"},
    ],
)
def test_a_context_that_is_too_short_is_told_apart(said: dict[str, Any]) -> None:
    with puppet(http(json.dumps(said), status="400 Bad Request")) as server, pytest.raises(PromptTooLong):
        ask(server)
    assert len(server.asked) == 1


# --- servers that take other things -------------------------------------------------------------------------------


def refusing(words: str, status: str = "400 Bad Request") -> bytes:
    return http(json.dumps({"error": {"message": words}}), status=status)


def test_what_a_server_says_that_it_does_not_take_is_not_sent_again() -> None:
    answers = (
        refusing("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        refusing("Extra inputs are not permitted: parallel_tool_calls", "422 Unprocessable Entity"),
        refusing("streaming is not supported with tools", "500 Internal Server Error"),
        completion(),
    )
    with puppet(*answers) as server:
        model = server.model()
        for _ in range(2):
            model.chat(ChatRequest(MESSAGES, (MOVE,)), threading.Event(), lambda text: None)
    for sent in server.asked[3:]:
        assert sent["max_completion_tokens"] == 512 and not {"max_tokens", "stream", "stream_options"} & sent.keys()
    assert len(server.asked) == 5


def test_a_server_that_knows_the_older_form_of_schemas_gets_that() -> None:
    words = "{'loc': ('body', 'response_format', 'type'), 'msg': \"Input should be 'text' or 'json_object'\"}"
    with puppet(refusing(words, "500 Internal Server Error"), completion('{"kind": "bill"}')) as server:
        ask(server, ChatRequest(MESSAGES, output_schema=OUTPUT))
    assert server.asked[1]["response_format"] == {"type": "json_object", "schema": OUTPUT}


def test_the_only_model_of_a_server_needs_no_name() -> None:
    with puppet(http('{"data": [{"id": "only"}]}'), completion()) as server:
        ask(server, name="")
    assert server.heads[0][0].startswith("GET /v1/models ") and server.asked[1]["model"] == "only"


def test_of_several_models_one_must_be_named() -> None:
    with puppet(http('{"data": [{"id": "a"}, {"id": "b"}]}')) as server, pytest.raises(NotFound) as caught:
        ask(server, name="")
    assert caught.value.hint == "name one of: a, b"


def test_a_turn_that_is_stopped_while_a_pause_goes_on_ends_at_once() -> None:
    stop = threading.Event()
    answer = http("{}", status="429 Too Many Requests", Retry_After="50")
    with puppet(answer) as server:
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(ModelCancelled):
            server.model().chat(ChatRequest(MESSAGES), stop, lambda text: None)


def test_addresses_are_read_with_and_without_their_path() -> None:
    shown = {
        "http://localhost:8080": "http://localhost:8080/v1",
        "http://localhost:8080/v1/": "http://localhost:8080/v1",
        "https://api.example.org/openai/v1/chat/completions": "https://api.example.org/openai/v1",
        "http://[::1]:11434/v1": "http://[::1]:11434/v1",
    }
    assert {text: str(Address.parse(text)) for text in shown} == shown


@pytest.mark.parametrize(
    "text", ["http://", "ftp://a/v1", "http://me:pw@a/v1", "http://a:b/v1", "http://a/v1?key=1", "http://a b/", "a"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Address.parse(text)
    assert caught.value.hint

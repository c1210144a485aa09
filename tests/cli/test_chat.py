"""`seodang chat` through the front door: in a pipe, and its commands."""

from __future__ import annotations

import io
import json
import sys

import pytest

from seodang.cli.conversation import Chat
from seodang.cli.main import main
from seodang.errors import UsageError
from seodang.inference.language_model import Stream
from tests.inference.conftest import taught


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("chat") / "model"
    taught().save(path)
    return str(path)


@pytest.fixture
def chat() -> Chat:
    return Chat(taught(), {"max_new_tokens": 6}, "be kind")


def talk(monkeypatch, capsys, lines: str, *argv: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    code = main(["chat", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_one_message_per_line(folder, monkeypatch, capsys):
    argv = ["--model", folder, "--system", "be kind", "--max-new-tokens", "6", "--json"]
    code, out, _ = talk(monkeypatch, capsys, "the cat\n\nthe dog\n", *argv)
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(answers) == 2
    system = {"role": "system", "content": "be kind"}
    first = taught().chat([system, user("the cat")], max_new_tokens=6)
    assert (answers[0]["content"], answers[0]["tokens"]) == (first.text, first.tokens)
    history = [system, user("the cat"), {"role": "assistant", "content": first.text}, user("the dog")]
    assert answers[1]["tokens"] == taught().chat(history, max_new_tokens=6).tokens


def test_answers_are_text(folder, monkeypatch, capsys):
    code, out, err = talk(monkeypatch, capsys, "the cat\n", "--model", folder, "--max-new-tokens", "6")
    assert (code, out) == (0, taught().chat([user("the cat")], max_new_tokens=6).text + "\n")
    assert "cut after 6 tokens" in err


def test_answers_keep_to_a_schema(folder, monkeypatch, capsys, tmp_path):
    (tmp_path / "mood.json").write_text('{"enum": ["긍정", "부정"]}', "utf-8")
    argv = ["--model", folder, "--schema", str(tmp_path / "mood.json")]
    code, out, _ = talk(monkeypatch, capsys, "the cat\nthe dog\n", *argv)
    assert code == 0 and all(json.loads(line) in ("긍정", "부정") for line in out.splitlines())
    code, _, err = talk(monkeypatch, capsys, "the cat\nthe dog\n", *argv, "--max-new-tokens", "2")
    assert code == 4 and "not whole after 2 tokens" in err


def test_exit_leaves(folder, monkeypatch, capsys):
    argv = ["--model", folder, "--json", "--max-new-tokens", "3"]
    assert len(talk(monkeypatch, capsys, "a\n/exit\nb\n", *argv)[1].splitlines()) == 1


def test_commands(chat, tmp_path, capsys):
    chat.answer("the cat")
    chat.answer("the dog")
    assert [message["role"] for message in chat.messages] == ["user", "assistant"] * 2
    file = tmp_path / "talk.jsonl"
    chat.command(f"/save {file}")
    chat.command("/undo")
    assert [message["content"] for message in chat.messages][0] == "the cat" and len(chat.messages) == 2
    chat.command("/system be brief")
    assert chat.system == "be brief"
    chat.command(f"/save {file}")
    rows = [json.loads(line)["messages"] for line in file.read_text("utf-8").splitlines()]
    assert [len(row) for row in rows] == [5, 3]
    assert [row[0]["content"] for row in rows] == ["be kind", "be brief"]
    chat.command("/reset")
    assert (chat.messages, chat.system) == ([], "be brief")
    assert chat.command("/system") is False and chat.system is None
    chat.command("/undo")  # nothing to undo is no mistake
    assert chat.command("/exit") is True
    for wrong in ("/rest", "/save"):
        with pytest.raises(UsageError):
            chat.command(wrong)


def test_a_full_context_forgets_the_oldest_turns_and_says_so(chat, capsys):
    for _ in range(8):
        chat.answer("the cat sat on the mat and the dog")
    assert len(chat.messages) < 16 and chat.messages[0]["role"] == "user"
    assert "oldest messages are forgotten" in capsys.readouterr().err


def test_ctrl_c_stops_the_answer_only(chat, monkeypatch, capsys):
    whole = Stream.__next__
    count = iter([False, True])

    def interrupted(stream):
        if next(count, False):
            raise KeyboardInterrupt
        return whole(stream)

    monkeypatch.setattr(Stream, "__next__", interrupted)
    chat.answer("the cat")
    out, err = capsys.readouterr()
    assert "[stopped]" in err
    assert chat.messages[-1] == {"role": "assistant", "content": out.removesuffix("\n")}
    chat.answer("the dog")
    assert len(chat.messages) == 4


def test_at_the_terminal_a_mistake_is_said_and_the_talk_goes_on(monkeypatch, capsys):
    lines = iter(["/rest", KeyboardInterrupt(), "the cat " * 200, "the cat", EOFError()])

    def typed(prompt: str) -> str:
        line = next(lines)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", typed)
    chat = Chat(taught(), {"max_new_tokens": 3}, None, interactive=True)
    chat.run()
    err = capsys.readouterr().err
    assert "did you mean '/reset'" in err and "/exit leaves" in err and "context" in err
    assert len(chat.messages) == 2


def test_mistakes(folder, monkeypatch, capsys):
    for lines, argv, expected in (
        ("the cat\n", ["--temperature", "-1"], 2),
        ("the cat " * 200 + "\n", [], 4),
        ("/nonsense\n", [], 2),
    ):
        code, _, err = talk(monkeypatch, capsys, lines, "--model", folder, *argv)
        assert (code, err.count("\n")) == (expected, 3)


def test_a_model_that_only_continues_text(monkeypatch, capsys, tmp_path):
    lm = taught()
    monkeypatch.setattr(lm.tokenizer, "chat_template", None)
    lm.save(tmp_path / "plain")
    code, _, err = talk(monkeypatch, capsys, "hello\n", "--model", str(tmp_path / "plain"))
    assert (code, err.count("\n")) == (2, 3) and "no chat template" in err

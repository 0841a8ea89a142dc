"""A person and a run in turns: with a graph, answers that the graph bears out; without one, plain chat.

    with a graph     a question    the grounded model, or the reasoner alone where the run was not tuned on facts;
                                   what the graph cannot answer is refused, and never chatted about
                     small talk    the model (`talk`)
    without          anything      the model, from what was said before; one that was never tuned to answer goes on
                                   with what was written

Only plain chat comes in pieces: what a model makes of facts is not shown before it was read back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groundzero.generate import Completion, Engine, Event
from groundzero.generate.chat import chat_request
from groundzero.generate.config import SamplingConfig
from groundzero.ground.answer import Answer, GraphState, Seconds
from groundzero.ground.grounded import GroundedModel
from groundzero.ground.reason import Reasoner
from groundzero.ground.talk import is_talk
from groundzero.tokenizer.chat import ChatTemplate


@dataclass(frozen=True)
class Reply:
    """What was said to one turn."""

    text: str
    answer: Answer | None = None
    """Where a graph was asked."""
    completion: Completion | None = None
    """Where the model chatted."""

    @property
    def stopped(self) -> bool:
        """Somebody stopped it on the way."""
        return self.completion is not None and self.completion.finish_reason == "cancelled"


class Conversation:
    """Turns, and what they are answered with.

    Args:
        form: how the run frames turns; None where it never learnt to answer.
        source: what answers questions to a graph; None without one.
    """

    def __init__(
        self, engine: Engine, form: ChatTemplate | None, source: GroundedModel | Reasoner | None = None
    ) -> None:
        self.engine, self.form, self.source = engine, form, source
        self.sampling: SamplingConfig = engine.defaults
        """Of plain chat."""
        self.asks_graph = source is not None
        """Whether questions go to the graph now."""
        self.history: list[str] = []
        """What was said, the person first and the two sides by turns."""
        self.replies: list[Reply] = []

    @property
    def answer(self) -> Answer | None:
        """The last one from the graph."""
        return next((reply.answer for reply in reversed(self.replies) if reply.answer is not None), None)

    def say(self, text: str, on_piece: Callable[[str], object] = lambda piece: None) -> Reply:
        """Take a turn.

        Args:
            on_piece: told of text as it comes, where it comes in pieces; the reply holds the same text.

        Raises:
            KeyboardInterrupt: while a graph was asked: then the turn was not taken. A chat that is interrupted ends
                with what was said so far.
        """
        answer = self._asked(text, self.history)
        reply = Reply(answer.text, answer) if answer is not None else self._chatted(text, on_piece)
        self.history += [text, reply.text]
        self.replies.append(reply)
        return reply

    def ask_again(self) -> Answer | None:
        """What the graph says now to the last question that it was asked; it stands in the place of what it said."""
        for place in range(len(self.replies) - 1, -1, -1):
            if self.replies[place].answer is not None:
                answer = self._asked(self.history[2 * place], self.history[: 2 * place])
                if answer is not None:
                    self.history[2 * place + 1] = answer.text
                    self.replies[place] = Reply(answer.text, answer)
                return answer
        return None

    def take_back(self) -> str | None:
        """Forget the last turn; what the person said in it."""
        if not self.replies:
            return None
        self.replies.pop()
        text, _ = self.history[-2:]
        del self.history[-2:]
        return text

    def reset(self) -> None:
        """Begin anew."""
        self.history.clear()
        self.replies.clear()

    def _asked(self, text: str, history: list[str]) -> Answer | None:
        """From the graph; None where nobody is to ask it."""
        if self.source is None or not self.asks_graph:
            return None
        if isinstance(self.source, GroundedModel):
            return self.source.ask(text, history=history)
        return None if is_talk(text, self.source) else self.source.ask(text, history)

    def _chatted(self, text: str, on_piece: Callable[[str], object]) -> Reply:
        handle = self.engine.submit(chat_request(self.engine, self.form, [*self.history, text], self.sampling))
        events: deque[Event] = deque()
        handle.events = events
        while handle.completion is None or events:
            try:
                if not events:
                    self.engine.step()
                while events:
                    piece = events.popleft().text
                    if piece:
                        on_piece(piece)
            except KeyboardInterrupt:
                handle.cancel()
        completion = handle.result()
        return Reply(completion.text, completion=completion)


def answer_without_graph(engine: Engine, form: ChatTemplate, question: str, history: Sequence[str] = ()) -> Answer:
    """What a model says where there is no graph, as an answer: it rests on nothing, and says so."""
    completion = engine.run([chat_request(engine, form, [*history, question])])[0]
    return Answer(
        question=question,
        text=completion.text,
        status="unknown",
        reason="no_graph",
        probability=0.0,
        citations=(),
        path=(),
        query=None,
        candidates=(),
        graph=GraphState("", 0),
        tokens_generated=len(completion.ids),
        seconds=Seconds(generate=completion.seconds),
    )

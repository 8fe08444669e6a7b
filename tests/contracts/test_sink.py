"""What every sink promises, held against real servers; the sink of the tests is held to it, too."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import anyio
import pytest

from fakes.incidents import after
from fakes.notices import MemorySink, a_notice
from fakes.receivers import Answer, Receiver, receiving
from kubecase.channels.sinks.options import SinkOptions
from kubecase.channels.sinks.posting import Way
from kubecase.channels.sinks.slack import SlackSink
from kubecase.channels.sinks.webhook import WebhookSink
from kubecase.core.errors import NotDelivered
from kubecase.core.messages import Degraded, Message, Recovered, Trial
from kubecase.core.model import Status
from kubecase.core.ports import Sink

pytestmark = pytest.mark.anyio

SERVICE: tuple[Message, ...] = (
    Degraded(
        agent="claude", failures=5, window=310.0, reasons=("quota", "timeout", "auth"), at=after(1)
    ),
    Recovered(agent="claude", downtime=5400.0, failures=7, at=after(2)),
    Trial(at=after(3)),
)
ENDS: tuple[Message, ...] = tuple(
    a_notice(status, word)
    for status in (Status.SUCCESS, Status.FAILED, Status.TIMEOUT, Status.CANCELLED)
    for word in ("critical", "info")
)


@dataclass
class Rig:
    """A sink that posts to `receiver`, the pauses it took instead of sleeping, and its makers."""

    receiver: Receiver
    slept: list[float]
    make: Callable[..., Sink]


@pytest.fixture(params=["slack", "webhook"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    kind = {"slack": SlackSink, "webhook": WebhookSink}[request.param]
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with receiving(Receiver(strict=request.param == "slack")) as receiver:

        def make(url: str = receiver.url, **way: float) -> Sink:
            options = SinkOptions(name="team", url=url, way=Way(**way), secret="s3cret-of-team")
            made: Sink = kind.configured(options, sleep=sleep)
            return made

        yield Rig(receiver=receiver, slept=slept, make=make)


@pytest.mark.parametrize("message", [*ENDS, *SERVICE], ids=lambda m: type(m).__name__)
async def test_every_message_is_taken(rig: Rig, message: Message) -> None:
    """The receiver, as strict as the real one, takes each kind of message at the first try."""
    await rig.make().send(message, reference="r-1")

    assert len(rig.receiver.taken) == 1
    assert rig.slept == []


async def test_the_sink_of_the_tests_is_a_sink() -> None:
    """What stands in for sinks elsewhere takes every message and can refuse like one."""
    sink: Sink = MemorySink(troubles=[NotDelivered("no")])

    with pytest.raises(NotDelivered):
        await sink.send(SERVICE[0], reference="r")
    for message in (*ENDS, *SERVICE):
        await sink.send(message, reference="r")


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_what_may_pass_is_tried_again(rig: Rig, status: int) -> None:
    """After 429 and 5xx the same message follows after 1, 2 and 4 seconds (docs/formats.md 5)."""
    rig.receiver.script = [Answer(status=status)] * 3

    await rig.make().send(a_notice(), reference="r-1")

    assert rig.slept == [1, 2, 4]
    assert len(rig.receiver.arrived) == 4
    assert len({body for _, body in rig.receiver.arrived}) == 1


async def test_after_four_tries_it_is_not_delivered(rig: Rig) -> None:
    """A receiver that stays broken is an error that may pass, and names the answer."""
    rig.receiver.answer = Answer(status=503, body=b"overloaded")

    with pytest.raises(NotDelivered, match="503: overloaded") as caught:
        await rig.make().send(a_notice(), reference="r-1")

    assert not caught.value.lasting
    assert len(rig.receiver.arrived) == 4


async def test_the_receivers_wish_to_wait_is_kept(rig: Rig) -> None:
    """Retry-After is waited for, and a long one ends the send instead of holding it up."""
    rig.receiver.script = [Answer(status=429, headers={"Retry-After": "7"})]
    await rig.make().send(a_notice(), reference="r-1")
    assert rig.slept == [7]

    rig.receiver.script = [Answer(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(NotDelivered) as caught:
        await rig.make().send(a_notice(), reference="r-2")
    assert caught.value.retry_after == 3600
    assert rig.slept == [7]


@pytest.mark.parametrize("status", [301, 307, 400, 403, 404, 410])
async def test_what_will_not_pass_is_not_tried_again(rig: Rig, status: int) -> None:
    """Any other answer is final; a redirect is not followed (docs/formats.md 5)."""
    elsewhere = Receiver()
    with receiving(elsewhere):
        rig.receiver.script = [
            Answer(status=status, headers={"Location": elsewhere.url}, body=b"no_service")
        ]
        with pytest.raises(NotDelivered, match="no_service") as caught:
            await rig.make().send(a_notice(), reference="r-1")

    assert caught.value.lasting
    assert caught.value.hint
    assert (len(rig.receiver.arrived), elsewhere.arrived) == (1, [])


async def test_a_receiver_that_is_silent_or_gone_may_come_back(rig: Rig) -> None:
    """No answer in time, and no server at all, are tried again and then an error that may pass."""
    rig.receiver.answer = Answer(hang=30)
    with anyio.fail_after(30), pytest.raises(NotDelivered, match="no answer") as silent:
        await rig.make(post_seconds=0.2).send(a_notice(), reference="r-1")

    with pytest.raises(NotDelivered, match=r"cannot reach 127\.0\.0\.1") as gone:
        await rig.make("http://127.0.0.1:1/services/xxxx-secret").send(a_notice(), reference="r")

    assert not silent.value.lasting
    assert not gone.value.lasting
    assert rig.slept == [1, 2, 4, 1, 2, 4]


async def test_no_error_tells_the_address_or_the_key(rig: Rig) -> None:
    """Neither an answer that repeats the address, nor any other trouble, gives it away."""
    rig.receiver.script = [Answer(status=404, body=f"no {rig.receiver.url}".encode() * 3)]
    troubles = []
    for url in (rig.receiver.url, "http://127.0.0.1:1/xxxx-secret", "http://[::1/xxxx-secret"):
        with pytest.raises((NotDelivered, ValueError)) as caught:
            await rig.make(url).send(a_notice(), reference="r-1")
        troubles.append(f"{caught.value!r} {getattr(caught.value, 'hint', '')}")

    assert "xxxx-secret" not in " ".join(troubles[:2])
    assert "s3cret-of-team" not in " ".join(troubles)
    assert "xxxx-secret" not in repr(SinkOptions(name="a", url=rig.receiver.url))


async def test_a_huge_answer_is_not_read(rig: Rig) -> None:
    """Of an answer only the beginning is looked at."""
    rig.receiver.script = [Answer(status=400, body=b"x" * 30_000_000)]

    with pytest.raises(NotDelivered) as caught:
        await rig.make().send(a_notice(), reference="r-1")

    assert len(str(caught.value)) < 400

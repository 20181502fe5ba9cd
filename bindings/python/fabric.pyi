"""The fabric: messages and windows of memory between threads, processes and machines.

A channel is a conversation of two peers over one or more transports, which addresses choose: ``inproc:NAME`` (threads), ``ipc:NAME`` or
``ipc:/path.sock`` (processes of one machine), ``tcp://host:port``, ``vsock://cid:port``. One peer listens, the other connects, in either order.

Times are seconds: ``None`` waits without end, ``0`` not at all. Whoever waits lets other threads of the interpreter run, and hears signals. An object may
be used by any thread, a sender or receiver by one at a time (else ``RuntimeError``).
"""

from types import TracebackType
from typing import Any, Iterator, Literal, Self, Sequence, final
from typing_extensions import Buffer

def schemes() -> list[str]:
    """The schemes of the transports that are there."""

@final
class Channel:
    """A conversation. It is opened by making it, and closed by leaving its ``with``; the peer need not be there."""

    def __new__(
        cls,
        *,
        listen: str | Sequence[str] | None = None,
        connect: str | Sequence[str] | None = None,
        name: str | None = None,
        windows: tuple[int, int] | None = None,
        urgent_windows: tuple[int, int] | None = None,
        accept: tuple[int, int] | None = None,
        arena: tuple[int, int] | None = None,
        trust: Literal["hostile", "same"] | None = None,
        users: Sequence[int] | None = None,
        weights: Sequence[int] | None = None,
        waiting: Literal["spin", "busy", "park"] | None = None,
        progress: Literal["service", "caller"] | None = None,
        reconnect: Literal["always", "never"] | None = None,
        receive_queue: tuple[Literal["mono", "multi"], int | None, Literal["hold-back", "discard-oldest", "discard-newest"]] | None = None,
    ) -> Self:
        """Opens a channel.

        listen, connect  addresses at which to wait for a peer, or to go to; a message goes over all of them
        name             what errors call it; else its first address
        windows          (bytes of a window, how many) for sending: the size bounds messages, the number how far the peer may lag behind
        urgent_windows   the same for messages of critical priority
        accept           the largest window and how many of them a peer may bring
        arena            (bytes of a window, how many) of memory that ``take_window`` lends, and peers read where it lies
        trust            "same": the peer runs our code under our user, and its windows are read where they lie. "hostile" (the default): they are copied
        users            numbers of users that may be peers, besides root and one's own
        weights          how the five sharing priorities share, highest first: bytes in proportion
        waiting          look for a while and then sleep ("spin"), look without end ("busy"), or sleep at once ("park")
        progress         "service": by a thread of its own. "caller": by whoever waits, and ``progress``
        reconnect        whether another peer may come after the first
        receive_queue    (consumers, capacity in messages or None, what happens then) of a queue in front of the receiver
        """

    @property
    def name(self) -> str: ...
    @property
    def receiver(self) -> Receiver:
        """The channel's receiver, always the same."""

    def sender(
        self,
        kind: Literal["mono", "multi", "tagged"] = "mono",
        *,
        priority: Literal["critical", "highest", "high", "normal", "low", "lowest", "idle"] = "normal",
        capacity: int | None = None,
        full: Literal["block", "refuse", "discard-oldest", "discard-newest"] = "block",
        bytes: int = 67108864,
    ) -> Sender:
        """A new input queue, and its sender. "mono" has one producer; "multi" any number; in "tagged" a newer message replaces the queued one of its
        tag. ``capacity`` bounds it in messages, ``bytes`` in memory."""

    def take_window(self) -> Window:
        """A window of the arena; raises Busy while all are in use, or without an arena."""

    def state(self) -> tuple[Literal["looking", "up", "lost", "failed", "closed"], str]:
        """Where it stands, and who is there, or why not."""

    def stats(self) -> dict[str, int]:
        """sent_messages, sent_bytes, queued_messages, unread_messages, links, links_lost, received_messages, received_bytes (these two of the receive
        queue)."""

    def flush(self, timeout: float | None = None) -> None:
        """Waits until peers have read everything that was posted."""

    def close(self, linger: float | None = 5.0) -> None:
        """Takes nothing more, sends what was taken, waits until peers have read it or the time is over, and closes. It does not hear signals."""

    def progress(self) -> None:
        """Makes what progress there is to make, without waiting: for progress="caller", when a descriptor is readable."""

    def descriptors(self) -> list[int]:
        """What an event loop has to watch for readability; ask again after each ``progress``. Do not close them."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Closes: with a linger of five seconds, and raises TimedOut or PeerGone if peers have not read everything then; without one, and silently, when
        an exception is on its way."""

@final
class Sender:
    """Posts into one input queue."""

    def post(self, data: Buffer | Message, *, tag: int | None = None, timeout: float | None = None) -> None:
        """Posts bytes, a slice of a window (by reference), or a message. A message is left empty, or, if it was not taken, as it was. With a tag it
        replaces the message of that tag that is still queued. Waits for room where the queue does."""

    def another(self) -> Sender:
        """A further producer of the same queue."""

    @property
    def message_bytes_max(self) -> int:
        """The longest message that this queue takes, headers included: 24 bytes for the first frame, 8 for each further one, frames padded to 8."""

@final
class Receiver:
    """Takes messages. As an iterator it ends when the peer has closed, or the channel was closed here."""

    def receive(self, timeout: float | None = None) -> Received: ...
    def try_receive(self) -> Received | None:
        """A message if one is there."""

    def another(self) -> Receiver:
        """A further consumer of the same receive queue."""

    def fileno(self) -> int:
        """A descriptor that becomes readable when a message, a new peer or a death may be there, for channels with progress="service" and without a
        receive queue. Call ``about_to_wait`` before each wait and ``awake`` after it."""

    def about_to_wait(self) -> bool:
        """Says that we are about to wait for ``fileno``; if True, do not: something is there."""

    def awake(self) -> None: ...
    def __iter__(self) -> Iterator[Received]: ...
    def __next__(self) -> Received: ...

@final
class Message:
    """A message to be sent: frames in order, at most 64."""

    def __new__(
        cls,
        *frames: Buffer,
        kind: Literal["data", "request", "response", "cancel", "gap", "ping", "pong"] = "data",
        correlation: int = 0,
    ) -> Self: ...
    def append(self, data: Buffer, schema: int = 0) -> None:
        """Appends a frame. A slice of a window goes by reference where the transport shares memory; ``bytes`` of 4 KiB and more are referred to until
        they are encoded; all else is copied."""

    def stamp(self, nanoseconds: int) -> None:
        """Stamps it, by a clock of the sender's choice."""

    def tag(self, tag: int) -> None:
        """Gives it a tag that travels with it."""

    def erase(self) -> None:
        """Asks that its bytes be zeroed, wherever the fabric held them, when they have been read."""

    @property
    def kind(self) -> str: ...
    @property
    def correlation(self) -> int: ...
    @property
    def encoded_bytes(self) -> int:
        """Bytes of its encoding when nothing is lent."""

    def __len__(self) -> int: ...

@final
class Received:
    """A message that was received. ``message[0]`` is its first frame, ``bytes(message)`` a copy of all."""

    @property
    def kind(self) -> str: ...
    @property
    def correlation(self) -> int: ...
    @property
    def timestamp(self) -> int | None: ...
    @property
    def tag(self) -> int | None: ...
    def release(self) -> None:
        """Lets go of it, so that windows of the peer go back. Frames and views that are still held keep what they show. Leaving its ``with`` does so."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> Frame: ...
    def __bytes__(self) -> bytes: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None: ...

@final
class Frame(Buffer):
    """Bytes of a message. ``memoryview(frame)`` shows them where they lie, read-only; those of a window of a peer that is not trusted are copied once."""

    @property
    def schema(self) -> int:
        """The sender's number for their form."""

    @property
    def lent(self) -> bool:
        """Whether they lie in a window of the peer's."""

    def __len__(self) -> int: ...
    def __bytes__(self) -> bytes: ...

@final
class Window(Buffer):
    """Memory to be filled from front to back. ``memoryview(window)`` is what is not filled yet, to be written in place."""

    @property
    def room(self) -> int: ...
    @property
    def filled(self) -> int: ...
    def fill(self, length: int) -> Slice:
        """Declares the next bytes written: from now on nobody changes them. Raises BufferError while a view is alive."""

    def release(self) -> None:
        """Lets go of it; it is free again when its slices, and messages that refer to them, are gone, too, also at the peer. Leaving its ``with`` does so."""

    def __len__(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None: ...

@final
class Slice(Buffer):
    """Filled bytes, read-only, shared by counting."""

    def __len__(self) -> int: ...

class Error(Exception):
    """Anything that the fabric says; its text names the channel, the peer and the rule."""

class TimedOut(Error):
    """Nothing came, or not all was read, in time."""

class Busy(Error):
    """The queue is full and the time is over, or no window is free."""

class PeerGone(Error):
    """The peer closed, died, or broke the protocol."""

    peer: str
    reason: str
    in_doubt: int | None
    """Messages sent last of which it is not known whether the peer has read them; None where that is not told."""

class Closed(Error):
    """The channel is closed here, or looks for no further peer."""

class TooLarge(Error):
    """Over a limit."""

    limit: int

class Failed(Error):
    """A transport gave up."""

class OpenFailed(Error):
    """A channel cannot be opened."""

    errno: int | None

class Refused(OpenFailed):
    """The peer's version or user, or the peer refused us."""

class Taken(OpenFailed):
    """Someone else listens there."""

class Unavailable(OpenFailed):
    """No transport of this scheme, or the machine lacks something for it."""

class WrongAddress(OpenFailed):
    """The text says which part."""

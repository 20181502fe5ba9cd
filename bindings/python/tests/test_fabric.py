"""What fabric.pyi promises, within one process."""

import ast
import asyncio
import ctypes
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time
import unittest

import fabric

SOON = 20.0


def pair(name, **settings):
    uri = f"inproc:{name}"
    return fabric.Channel(listen=uri, **settings), fabric.Channel(connect=uri, **settings)


class PyBuffer(ctypes.Structure):
    """The interpreter's Py_buffer, to find out where bytes lie."""

    _fields_ = [
        ("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("len", ctypes.c_ssize_t), ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int), ("ndim", ctypes.c_int), ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p), ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p),
    ]


def place(data):
    buffer = PyBuffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(data), ctypes.byref(buffer), 0)
    at = buffer.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return at


class Messages(unittest.TestCase):
    def test_bytes_arrive_in_order_whatever_they_are_in(self):
        one, two = pair("order")
        with one, two:
            sender = one.sender()
            for number in range(3000):
                data = [bytes, bytearray, memoryview][number % 3](number.to_bytes(4, "little") * (1 + number % 2000))
                sender.post(data, timeout=SOON) if number < 50 else None
            for number in range(50):
                self.assertEqual(bytes(two.receiver.receive(SOON)), number.to_bytes(4, "little") * (1 + number % 2000))
            self.assertIsNone(two.receiver.try_receive())

    def test_frames_keep_what_they_were_given(self):
        one, two = pair("frames")
        with one, two:
            message = fabric.Message(b"first", kind="request", correlation=2**63)
            message.append(b"x" * 5000, schema=7)
            message.append(memoryview(b"abcdef")[::2])
            message.append(b"")
            message.stamp(123)
            message.tag(2**64 - 1)
            self.assertEqual((len(message), message.kind, message.correlation), (4, "request", 2**63))
            one.sender("multi").post(message)
            self.assertEqual(len(message), 0)
            received = two.receiver.receive(SOON)
            self.assertEqual((received.kind, received.correlation, received.timestamp, received.tag), ("request", 2**63, 123, 2**64 - 1))
            self.assertEqual([bytes(frame) for frame in received], [b"first", b"x" * 5000, b"ace", b""])
            self.assertEqual([frame.schema for frame in received], [0, 7, 0, 0])
            self.assertEqual(bytes(received), b"first" + b"x" * 5000 + b"ace")
            self.assertEqual(bytes(received[-3]), b"x" * 5000)
            for wrong in (4, -5):
                with self.assertRaises(IndexError):
                    received[wrong]
            with self.assertRaises(TypeError):
                memoryview(received[0])[0] = 1

    def test_the_limits_of_a_message(self):
        one, two = pair("limits", windows=(4096, 4))
        with one, two:
            sender = one.sender()
            self.assertEqual(sender.message_bytes_max, 4096 - 40)
            sender.post(b"x" * (sender.message_bytes_max - 24), timeout=SOON)
            two.receiver.receive(SOON)
            with self.assertRaises(fabric.TooLarge) as caught:
                sender.post(b"x" * 4096)
            self.assertEqual(caught.exception.limit, 4096 - 40)
            self.assertIn("inproc:limits", str(caught.exception))
            with self.assertRaises(ValueError):
                fabric.Message(*[b"x"] * 65)
            message = fabric.Message(*[b"x"] * 64)
            with self.assertRaises(ValueError):
                message.append(b"x")
            self.assertEqual(len(message), 64)
            with self.assertRaises(TypeError):
                sender.post("text")
            with self.assertRaises(ValueError):
                fabric.Message(kind="letter")

    def test_bytes_that_are_referred_to_are_let_go_of(self):
        data = os.urandom(1 << 16)
        before = sys.getrefcount(data)
        one, two = pair("references")
        with one, two:
            message = fabric.Message(data)
            self.assertEqual(sys.getrefcount(data), before + 1)
            one.sender().post(message)
            with two.receiver.receive(SOON) as received:
                self.assertEqual(bytes(received), data)
        self.assertEqual(sys.getrefcount(data), before)

    def test_what_was_not_taken_stays_as_it_was(self):
        channel = fabric.Channel(listen="inproc:alone")
        with self.assertRaises(fabric.TimedOut), channel:
            sender = channel.sender("multi", capacity=2)
            message = fabric.Message(b"kept", b"too")
            begun = time.monotonic()
            with self.assertRaises(fabric.Busy):
                # One may leave the queue for the hand of whoever looks for a peer.
                for _ in range(5):
                    sender.post(b"x", timeout=0.1)
            with self.assertRaises(fabric.Busy):
                sender.post(message, timeout=0.25)
            self.assertGreater(time.monotonic() - begun, 0.24)
            self.assertEqual(len(message), 2)
            refusing = channel.sender("multi", capacity=1, full="refuse")
            with self.assertRaises(fabric.Busy):
                for _ in range(5):
                    refusing.post(b"x")
            channel.flush(0.01)

    def test_a_newer_message_replaces_the_queued_one_of_its_tag(self):
        one = fabric.Channel(listen="inproc:tags")
        tagged = one.sender("tagged", priority="high")
        for number in range(10):
            tagged.post(str(number).encode(), tag=number % 2)
        two = fabric.Channel(connect="inproc:tags")
        with one, two:
            one.sender(priority="idle").post(b"last")
            received = []
            while received[-1:] != [b"last"]:
                received.append(bytes(two.receiver.receive(SOON)))
            # One may leave the queue before it is replaced, for the hand of whoever looks for a peer.
            self.assertEqual(set(received[-3:]), {b"8", b"9", b"last"})
            self.assertLessEqual(len(received), 4)

    def test_a_receive_queue_has_many_consumers(self):
        one = fabric.Channel(listen="inproc:consumers")
        two = fabric.Channel(connect="inproc:consumers", receive_queue=("multi", None, "hold-back"))
        with one, two:
            first, second = two.receiver, two.receiver.another()
            sender = one.sender()
            sender.post(b"1")
            sender.post(b"2")
            self.assertEqual({bytes(first.receive(SOON)), bytes(second.receive(SOON))}, {b"1", b"2"})
            with self.assertRaises(ValueError):
                one.receiver.another()


class Windows(unittest.TestCase):
    def test_a_window_is_filled_where_it_lies_and_passes_by_reference(self):
        one, two = pair("window", arena=(1 << 16, 1))
        with one, two:
            window = one.take_window()
            self.assertEqual((len(window), window.room, window.filled), (1 << 16, 1 << 16, 0))
            with self.assertRaises(fabric.Busy):
                one.take_window()
            at = place(window)
            view = memoryview(window)
            self.assertFalse(view.readonly)
            view[:1000] = b"y" * 1000
            with self.assertRaises(BufferError):
                window.fill(1000)
            with self.assertRaises(BufferError):
                window.release()
            view.release()
            filled = window.fill(1000)
            self.assertEqual((window.filled, place(window) - at, place(filled)), (1000, 1000, at))
            with self.assertRaises(ValueError):
                window.fill(1 << 16)
            with self.assertRaises(TypeError):
                memoryview(filled)[0] = 0
            one.sender().post(filled)
            received = two.receiver.receive(SOON)
            self.assertEqual(place(received[0]), at)
            self.assertEqual(memoryview(received[0]), b"y" * 1000)
            # A view outlives the message, the slice, the window.
            view = memoryview(received[0])
            received.release()
            with self.assertRaises(ValueError):
                received.kind
            del received, filled
            window.release()
            with self.assertRaises(ValueError):
                window.room
            self.assertEqual(view[999], ord("y"))
            with self.assertRaises(fabric.Busy):
                one.take_window()
            del view
            one.take_window().release()

    def test_a_trusted_peers_window_is_not_copied_and_goes_back_when_nobody_looks(self):
        for trust in ("same", "hostile"):
            with self.subTest(trust), tempfile.TemporaryDirectory() as directory:
                uri = f"ipc:window?dir={directory}"
                one = fabric.Channel(listen=uri, arena=(1 << 16, 1), trust=trust)
                two = fabric.Channel(connect=uri, trust=trust)
                with one, two:
                    with one.take_window() as window:
                        with memoryview(window) as view:
                            view[:8000] = bytes(range(250)) * 32
                        one.sender().post(window.fill(8000), timeout=SOON)
                    frame = two.receiver.receive(SOON)[0]
                    self.assertTrue(frame.lent)
                    view = memoryview(frame)
                    self.assertTrue(view.readonly)
                    self.assertEqual(view, bytes(range(250)) * 32)
                    mapped = any(
                        "fabric-arena" in line and int(line.split("-")[0], 16) <= place(frame) < int(line.split("-")[1].split()[0], 16)
                        for line in pathlib.Path("/proc/self/maps").read_text().splitlines()
                    )
                    self.assertEqual(mapped, trust == "same")
                    with self.assertRaises(fabric.Busy):
                        one.take_window()
                    del view, frame
                    until = time.monotonic() + SOON
                    while time.monotonic() < until:
                        try:
                            one.take_window().release()
                            break
                        except fabric.Busy:
                            time.sleep(0.01)
                    else:
                        self.fail("the window did not come back")


class Waiting(unittest.TestCase):
    def test_times_are_kept(self):
        channel = fabric.Channel(listen="inproc:times")
        with channel:
            for timeout in (0, 0.05, 0.25):
                begun = time.monotonic()
                with self.assertRaises(fabric.TimedOut):
                    channel.receiver.receive(timeout)
                self.assertGreaterEqual(time.monotonic() - begun, timeout)
            for wrong in (-1, float("nan")):
                with self.assertRaises(ValueError):
                    channel.receiver.receive(wrong)

    def test_others_run_while_one_waits(self):
        one, two = pair("others", waiting="park")
        with one, two:
            got = []
            waiter = threading.Thread(target=lambda: got.append(bytes(two.receiver.receive(60))))
            begun = time.monotonic()
            waiter.start()
            time.sleep(0.3)
            with self.assertRaises(RuntimeError):
                two.receiver.try_receive()
            one.sender().post(b"there")
            waiter.join(SOON)
            self.assertEqual(got, [b"there"])
            self.assertLess(time.monotonic() - begun, SOON)

    def test_signals_are_heard(self):
        channel = fabric.Channel(listen="inproc:signals", waiting="park")

        class Heard(Exception):
            pass

        def hear(*_):
            raise Heard

        before = signal.signal(signal.SIGALRM, hear)
        try:
            with self.assertRaises(Heard), channel:
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                channel.receiver.receive(60)
        finally:
            signal.signal(signal.SIGALRM, before)
        self.assertEqual(channel.state()[0], "closed")

    def test_an_event_loop_waits(self):
        one, two = pair("loop")

        async def take(count):
            loop, receiver, taken = asyncio.get_running_loop(), two.receiver, []
            while len(taken) < count:
                message = receiver.try_receive()
                if message is not None:
                    taken.append(bytes(message))
                    continue
                descriptor = receiver.fileno()
                if receiver.about_to_wait():
                    continue
                readable = loop.create_future()
                loop.add_reader(descriptor, lambda: readable.done() or readable.set_result(None))
                await asyncio.wait_for(readable, SOON)
                loop.remove_reader(descriptor)
                receiver.awake()
            return taken

        with one, two:
            sender = one.sender()

            def post():
                for number in range(20):
                    time.sleep(0.005)
                    sender.post(str(number).encode())

            poster = threading.Thread(target=post)
            poster.start()
            self.assertEqual(asyncio.run(take(20)), [str(number).encode() for number in range(20)])
            poster.join()


class Ends(unittest.TestCase):
    def test_iteration_ends_with_the_peer(self):
        one, two = pair("iteration")
        sender = one.sender()
        for number in range(5):
            sender.post(str(number).encode())
        reader = threading.Thread(target=one.close)
        reader.start()
        self.assertEqual([bytes(message) for message in two.receiver], [b"0", b"1", b"2", b"3", b"4"])
        reader.join()
        two.close(0)
        self.assertEqual((one.state()[0], two.state()[0]), ("closed", "closed"))
        with self.assertRaises(fabric.Closed):
            sender.post(b"late")

    def test_a_loss_says_who_and_why(self):
        one, two = pair("loss", reconnect="never")
        one.sender().post(b"unread", timeout=SOON)
        until = time.monotonic() + SOON
        while one.state()[0] != "up" and time.monotonic() < until:
            time.sleep(0.001)
        two.close(0)
        del two
        with self.assertRaises(fabric.PeerGone) as caught:
            one.receiver.receive(SOON)
        gone = caught.exception
        self.assertIn("closed", gone.reason)
        self.assertEqual(gone.in_doubt, 1)
        self.assertTrue(isinstance(gone, fabric.Error) and "inproc:loss" in str(gone) and isinstance(gone.peer, str))
        with self.assertRaises((fabric.PeerGone, fabric.Closed)):
            one.receiver.receive(SOON)
        # What was posted was not read, so a context does not end as if it had been.
        with self.assertRaises(fabric.PeerGone):
            with one:
                pass
        self.assertEqual(one.state()[0], "closed")

    def test_what_cannot_be_opened_says_why(self):
        for uri, error in (("no colon", fabric.WrongAddress), ("ipc:a/b", fabric.WrongAddress), ("carrier:pigeon", fabric.Unavailable)):
            with self.assertRaises(error) as caught:
                fabric.Channel(listen=uri)
            self.assertIsInstance(caught.exception, fabric.OpenFailed)
        with tempfile.TemporaryDirectory() as directory:
            uri = f"ipc:twice?dir={directory}"
            with fabric.Channel(listen=uri), self.assertRaises(fabric.Taken):
                fabric.Channel(listen=uri)
        with self.assertRaises(fabric.TooLarge):
            fabric.Channel(listen="inproc:huge", windows=(1 << 40, 1))
        for wrong in ({"trust": "none"}, {"windows": (1, 1)}, {"arena": (1 << 40, 1)}, {"weights": [0] * 5}, {"receive_queue": ("mono", 0, "hold-back")}):
            with self.assertRaises(ValueError):
                fabric.Channel(listen="inproc:wrong", **wrong)
        with self.assertRaises(TypeError):
            fabric.Channel(listen="inproc:wrong", colour="red")

    def test_the_schemes_are_there(self):
        self.assertLessEqual({"inproc", "ipc", "tcp"}, set(fabric.schemes()))


class Stubs(unittest.TestCase):
    def test_they_name_what_is_there(self):
        tree = ast.parse(pathlib.Path(os.environ["FABRIC_STUBS"]).read_text())
        named = {}
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                inner = node.body if isinstance(node, ast.ClassDef) else []
                named[node.name] = {part.name for part in inner if isinstance(part, ast.FunctionDef)}
        self.assertEqual(set(named), {name for name in dir(fabric) if not name.startswith("_")})
        for name, methods in named.items():
            there = getattr(fabric, name)
            if not isinstance(there, type) or issubclass(there, Exception):
                continue
            # What every object has is not worth a stub, unless it is named.
            public = {method for method in vars(there) if not method.startswith("_")}
            self.assertEqual({method for method in methods if not method.startswith("_")}, public, name)
            self.assertLessEqual(methods, set(dir(there)), name)


if __name__ == "__main__":
    unittest.main()

"""The Python end of a conversation with a process in Rust (tests/module.rs), which checks what it gets."""

import os
import unittest

import fabric

SOON = 60.0


class WithRust(unittest.TestCase):
    def test_numbers_windows_and_the_end(self):
        channel = fabric.Channel(connect=os.environ["FABRIC_URI"], arena=(1 << 20, 2), trust="same")
        with channel:
            receiver, sender = channel.receiver, channel.sender()
            total = 0
            for number in range(10_000):
                with receiver.receive(SOON) as message:
                    self.assertEqual(memoryview(message[0]), number.to_bytes(8, "little"))
                    total += len(message[0])
            # A window of the Rust process, read where it lies.
            with receiver.receive(SOON) as message:
                frame = message[1]
                self.assertEqual((bytes(message[0]), frame.lent, frame.schema, len(frame)), (b"window", True, 9, 500_000))
                with memoryview(frame) as view:
                    self.assertEqual(view, bytes(n * 3 % 256 for n in range(256)) * 1953 + bytes(n * 3 % 256 for n in range(32)))
                del frame
            # One of ours, with an answer in front.
            with channel.take_window() as window:
                with memoryview(window) as view:
                    view[:600_000] = bytes(n * 5 % 256 for n in range(250)) * 2400
                answer = fabric.Message(total.to_bytes(8, "little"), kind="response", correlation=77)
                answer.append(window.fill(600_000), schema=11)
                sender.post(answer, timeout=SOON)
            self.assertEqual([bytes(message) for message in receiver], [b"good bye"])


if __name__ == "__main__":
    unittest.main()

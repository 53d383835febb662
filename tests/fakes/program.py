"""A program run for a test, which may hang and may be killed."""

import signal


class Program:
    """What can be done to `process`, which whoever starts it sets."""

    process = None

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.resume()
        self.kill()

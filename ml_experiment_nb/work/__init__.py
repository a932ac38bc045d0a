"""One task, performed in isolation: a process of its own, a stream of events, and a way to stop it."""

"""The process that answers for one project: what a page asks Jupyter's server, the server asks here, over two pipes.

So the server never opens a store, and what a library does cannot end it. The process knows nothing of HTTP but its
status codes.
"""

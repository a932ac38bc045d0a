"""What people look at in a notebook while it is open, and what is left of it in the saved file.

A view is drawn in the browser by a widget of plain ES modules (`static/`), whose data travels as binary columns.
Beside it stand the same facts as HTML and as text, for a notebook that is read without a kernel. `bundle.py` puts
the three together.
"""

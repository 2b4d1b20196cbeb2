"""The version, and what requests say of who sends them."""

import sys

__version__ = "0.1.0"
SERVER_SOFTWARE = f"Python/{sys.version_info[0]}.{sys.version_info[1]} wherry/{__version__}"

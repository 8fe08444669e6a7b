"""The entry of the program when it is run by its path; importing this does nothing."""

import os
import sys

if __name__ == "__main__":
    # At the end: no file beside this package can stand in for the standard library.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.exit(__import__("chat_program.main", fromlist=["main"]).main(sys.argv))

"""What a dashboard's kernel process runs: IPython's kernel, without the debugger it never needs.

Leaving debugpy out saves a third of the start (measured: 0.3 s) and two thirds of the memory.
"""

import sys


def main() -> None:
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance()


if __name__ == "__main__":
    main()

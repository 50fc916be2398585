"""`make bench`: every figure that is a ratio, measured side by side in one run."""

import os
import platform
from datetime import date

from benchmarks import criterion

if __name__ == "__main__":
    print(f"{date.today()} · {platform.processor() or platform.machine()} · {os.cpu_count()} cores")
    criterion.report()

"""What a CPU is called, for records of what was measured on it."""

import platform
from pathlib import Path


def processor_name() -> str:
    """Model name of the processor."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor()

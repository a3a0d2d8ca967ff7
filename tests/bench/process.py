"""What Linux tells of a process, and what a benchmark wants of it: many files, and memory that has been used before."""

import os
import resource
from pathlib import Path

# What is left free for processes to grow into.
FREE = 256 << 20
STEP = 16 << 20
# A file that takes more than this is worth removing. Small ones are many, and ext4 is slow for minutes after those go.
LARGE = 16 << 20


def cpu_seconds(pid: int) -> float:
    """The user and system time that a process has used, all threads together."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """The time that the machine's cores have worked since it was started: all programs, and the system for itself."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """The memory of a process that is in RAM, the pages of files that it has mapped among it."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmRSS"].split()[0]) / 1024


def raise_file_limit() -> int:
    """Allow this process and its children as many files as the system lets it; tells how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for wanted in (1_000_000, 200_000, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
        except (ValueError, OSError):
            continue
        return wanted
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def touch_memory(file: Path) -> None:
    """Fill free memory with a file without blocks, which must stay until the end of the run.

    A virtual machine may give its free memory back to its host. The first write to a page costs many times what it does
    later then (1.6 s/GB of system time were seen, for each of three replicas), and whoever is measured after much was
    written pays for it. Memory that holds a file is kept, and is used again.
    """
    with open("/proc/meminfo") as told:
        free = int(dict(line.split(":", 1) for line in told)["MemFree"].split()[0]) << 10
    with file.open("w+b", buffering=0) as hole:
        hole.truncate(max(free - FREE, 0))
        buffer = bytearray(STEP)
        while hole.readinto(buffer):
            pass


def give_room(folder: Path) -> None:
    """Remove the large files of what was measured, so that what comes has the disk; those without blocks stay."""
    for file in folder.rglob("*"):
        if file.is_file() and file.stat().st_blocks * 512 > LARGE:
            file.unlink()

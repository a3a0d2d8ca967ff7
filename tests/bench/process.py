"""What Linux tells of a process, and the limits that a benchmark needs raised."""

import os
import resource


def cpu_seconds(pid: int) -> float:
    """The user and system time that a process has used, all threads together."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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

"""A network of hosts on one machine, each with an address and a host name of its own."""

import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from testing.processes import Host

NAME_AND_RUN = 'hostname "$0" && exec "$@"'


def run(command: str) -> None:
    """Run a command, which must succeed."""
    subprocess.run(command.split(), check=True, capture_output=True)


def are_namespaces_permitted() -> bool:
    """Return whether this process may make network namespaces: they need root and a Linux."""
    try:
        run("unshare --net --uts true")
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@contextmanager
def hosts(names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """Make hosts and yield them by name.

    Each is a network namespace on one bridge, by which this process reaches all of them. Where
    namespaces are not permitted, the hosts are loopback addresses and share this machine's name.
    """
    subnet = secrets.randbelow(250)  # several runs of the tests may have a network each
    if not are_namespaces_permitted():
        yield {name: Host(f"127.77.{subnet}.{number}") for number, name in enumerate(names, 2)}
        return
    bridge = f"llama-{subnet}"
    with ExitStack() as made:
        run(f"ip link add {bridge} type bridge")
        made.callback(run, f"ip link delete {bridge}")
        run(f"ip address add 10.77.{subnet}.1/24 dev {bridge}")
        run(f"ip link set {bridge} up")
        network = {}
        for number, name in enumerate(names, 2):
            address, namespace = f"10.77.{subnet}.{number}", f"{bridge}-{name}"
            run(f"ip netns add {namespace}")
            made.callback(run, f"ip netns delete {namespace}")
            run(f"ip link add {bridge}-{number} type veth peer name eth0 netns {namespace}")
            run(f"ip link set {bridge}-{number} master {bridge} up")
            run(f"ip -n {namespace} address add {address}/24 dev eth0")
            run(f"ip -n {namespace} link set eth0 up")
            run(f"ip -n {namespace} link set lo up")
            enter = ("ip", "netns", "exec", namespace, "unshare", "--uts")
            network[name] = Host(address, (*enter, "sh", "-c", NAME_AND_RUN, name))
        yield network

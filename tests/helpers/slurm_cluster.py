"""A Slurm cluster of two virtual nodes on this machine, in a folder of its own."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import aqr_exp
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

PACKAGE = Path(aqr_exp.__file__).parent
WITHIN_S = 100
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")
NODES = ("n1", "n2")
READY_WITHIN_S = 30.0

_CONFIGURATION = """\
ClusterName=trial
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
SlurmdParameters=config_overrides
SlurmdTimeout=15
KillWait=5
InactiveLimit=0
MinJobAge=10
MessageTimeout=20
OverTimeLimit=0
ReturnToService=2
MailProg=/bin/true
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname={hosts[0]} Port={ports[1]} CPUs=2 RealMemory=8000 Gres=gpu:2
NodeName=n2 NodeAddr=127.0.0.1 NodeHostname={hosts[1]} Port={ports[2]} CPUs=2 RealMemory=8000 Gres=gpu:2
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=n1,n2 MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str:
    """Why no cluster can be brought up here; empty where one can."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurm-wlm munge brings Slurm"
    return ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _names_apart() -> bool:
    """Whether a process can be given a host name of its own here."""
    try:
        command = ["unshare", "--uts", "hostname", NODES[0]]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@contextlib.contextmanager
def running_cluster() -> Iterator["SlurmCluster"]:
    """A cluster for as long as the context lasts; the test is skipped where none can be brought up."""
    if why := missing():
        pytest.skip(why)
    # The names of sockets are short.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        cluster = SlurmCluster(Path(folder) / "its")
        try:
            try:
                cluster.start()
            except RuntimeError as error:
                pytest.skip(f"Slurm does not start here: {error}")
            yield cluster
        finally:
            cluster.stop()


def _is_step_daemon(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("slurmstepd")
    return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class SlurmCluster:
    """One controller and two nodes of two cores and two files for GPUs each.

    Attributes:
        environment: Variables by which Slurm's commands find it.
        apart: Its nodes have names of their own, as machines do; only root can give them any.
    """

    def __init__(self, folder: Path) -> None:
        # The name of a Unix socket has at most 107 bytes.
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        for name in [name for name in self.environment if name.startswith("SLURM_")]:
            if name != "SLURM_CONF":
                del self.environment[name]
        self.apart = _names_apart()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Bring it up."""
        folder = self.folder
        (folder / "state").mkdir(parents=True)
        for node in NODES:
            (folder / f"spool.{node}").mkdir()
            for index in range(2):
                (folder / f"gpu.{node}.{index}").touch()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        here = socket.gethostname().partition(".")[0]
        text = _CONFIGURATION.format(
            folder=folder,
            user=pwd.getpwuid(os.geteuid()).pw_name,
            ports=_free_ports(3),
            hosts=NODES if self.apart else (here, here),
        )
        (folder / "slurm.conf").write_text(text)
        (folder / "gres.conf").write_text(
            "".join(f"NodeName={node} Name=gpu File={folder}/gpu.{node}.[0-1]\n" for node in NODES)
        )
        munge = [f"--socket={folder}/munge.socket", f"--key-file={key}", "--force", "--foreground"]
        munge += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "seed", "log")]
        self._start("munged", *munge)
        self._wait("munged", (folder / "munge.socket").exists)
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        idle = ["sinfo", "-h", "-N", "-o", "%N %t"]
        self._wait(
            "idle nodes",
            lambda: sorted(set(self.said(*idle).split("\n"))) == ["n1 idle", "n2 idle"],
        )

    def start_controller(self) -> None:
        """Start its controller, with what it remembers."""
        self._start("slurmctld", "-D", "-i")

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        within = ["unshare", "--uts", "sh", "-c", f'hostname {node} && exec "$0" "$@"']
        self._start("slurmd", "-D", "-N", node, key=node, within=within if self.apart else [])

    def _start(
        self, name: str, *arguments: str, key: str = "", within: list[str] | None = None
    ) -> None:
        program = _program(name)
        assert program is not None
        with (self.folder / f"{key or name}.log").open("ab") as log:
            self._daemons[key or name] = subprocess.Popen(
                [*(within or []), program, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not holds():
            if time.monotonic() > deadline:
                logs = [
                    path.read_text(errors="replace")[-600:] for path in self.folder.glob("*.log")
                ]
                raise RuntimeError(f"no {what} after {READY_WITHIN_S} s:\n" + "\n".join(logs))
            time.sleep(0.1)

    def said(self, *command: str) -> str:
        """What one of Slurm's commands prints; empty where it fails."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def recover(self) -> None:
        """Wait until both nodes take jobs; what an earlier job did to one of them is forgiven."""
        deadline = time.monotonic() + WITHIN_S
        while self.said("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split() != ["idle"] * 2:
            assert time.monotonic() < deadline, self.said("sinfo", "-N", "-l")
            self.said("scontrol", "update", f"NodeName={','.join(NODES)}", "State=RESUME")
            time.sleep(0.2)

    def kill(self, name: str) -> None:
        """Kill the controller's or a node's daemon, without a word."""
        daemon = self._daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def lose_node(self, node: str) -> None:
        """Let a node vanish with everything that runs on it."""
        names = Path(f"/proc/{self._daemons[node].pid}/ns/uts").readlink()
        self.kill(node)
        if not self.apart:
            return self._end(self.processes(f"SLURMD_NODENAME={node}"))
        here = []
        for path in Path("/proc").glob("[0-9]*/ns/uts"):
            with contextlib.suppress(OSError):
                if path.readlink() == names:
                    here.append(int(path.parts[2]))
        # First of all those that would tell the controller what has ended.
        watchers = [pid for pid in here if _is_step_daemon(pid)]
        return self._end([*watchers, *here])

    def _end(self, processes: list[int]) -> None:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self, variable: str) -> list[int]:
        """Processes of this cluster's jobs with a variable that begins so."""
        mine = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                variables = path.read_bytes().split(b"\0")
                found_it = any(item.startswith(variable.encode()) for item in variables)
                if found_it and mine in variables:
                    found.append(int(path.parent.name))
        return found

    def stop(self) -> None:
        """Take it down, with every job."""
        self.said("scancel", "--user", pwd.getpwuid(os.geteuid()).pw_name)
        for node in NODES:
            self._end(self.processes(f"SLURMD_NODENAME={node}"))
        for name in reversed(list(self._daemons)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._daemons[name].pid, signal.SIGKILL)
            self._daemons.pop(name).wait()


class Site:
    """A folder to work in on the cluster's login node, with a hostile name.

    Args:
        program: Started in the training's place; None trains.
    """

    def __init__(self, folder: Path, cluster: SlurmCluster, program: list[str] | None) -> None:
        self.cluster = cluster
        self.within_s = float(WITHIN_S)
        self.folder = folder / "it's 100%; echo $HOME"
        self.folder.mkdir()
        self.audit = folder / "audit.jsonl"
        self.store = Store(self.folder / "results")
        self.environment = {
            **cluster.environment,
            "PYTHONPATH": str(PACKAGE.parent),
            "PATH": f"{cluster.environment['PATH']}:/usr/sbin",
            "XDG_DATA_HOME": str(folder / "home"),
            "AQR_EXP_CACHE": str(folder / "cache"),
            "STUB_AUDIT": str(self.audit),
        }
        if program is not None:
            self.environment["AQR_EXP_TRAIN_COMMAND"] = json.dumps(program)
        self.environment.pop("AQR_EXP_RESULTS", None)

    def aqr_exp(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "aqr_exp.cli.main", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=self.within_s,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def sweep(self, runs: int, plan: dict, *more: str) -> subprocess.CompletedProcess:
        """Submit seeds of the baseline."""
        self.environment["STUB_PLAN"] = json.dumps(plan)
        return self.aqr_exp(
            *("sweep", "baseline", f"seed=range({runs})", "launcher=slurm", "--name", "s"),
            *("launcher.slurm.time_min=30", *more),
        )

    def runs(self) -> list[RunFolder]:
        return list(self.store)

    def statuses(self) -> list[str]:
        return sorted(str(folder.effective_status()) for folder in self.store)

    def queue(self) -> list[str]:
        """Jobs that are not over, such as `20_1 RUNNING`."""
        return self.cluster.said("squeue", "-h", "-o", "%i %T").splitlines()

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.within_s
        while not holds():
            logs = [path.read_text() for path in self.store.root.glob("slurm/logs/*.log")]
            assert time.monotonic() < deadline, "\n".join([*logs, *self.queue(), *self.statuses()])
            time.sleep(0.1)

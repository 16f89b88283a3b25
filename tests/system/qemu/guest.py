"""A machine of our own: a Debian kernel under QEMU, with busybox and a static Rekindle in memory.

Everything is fetched by apt (as root, once) into `target/qemu` and unpacked there; nothing is
installed. The guest runs under emulation (TCG), as a stock kernel does not boot under every nested
KVM; that needs no rights but those of an ordinary user. Its first program is `init`, beside this.

This does not know what is tested: `run` and its siblings do.
"""

import json
import lzma
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from support import REPOSITORY, STATIC, check, static_rekindle, wait_until

HERE = Path(__file__).resolve().parent
CACHE = REPOSITORY / "target/qemu"
TOOLS = CACHE / "tools"
# The kernel as Debian packs it, and unpacked, which saves the guest three seconds a boot.
PACKED_KERNEL, KERNEL = CACHE / "vmlinuz", CACHE / "vmlinux"
BOOT_TIMEOUT = 60  # 2 to 3 s on an idle machine
ANSWER_TIMEOUT = 60
NUDGE_EVERY = 5
# In the order in which they are loaded.
MODULES = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
           "virtio_blk", "crc16", "crc32c_generic", "mbcache", "jbd2", "ext4"]
COMMAND_LINE = ("console=ttyS0 quiet mitigations=off random.trust_cpu=on no_timer_check "
                "cryptomgr.notests nokaslr")


def build():
    """Fetches and builds what a guest is made of, as far as it is not there."""
    if not (CACHE / "fetched").exists():
        fetch()
    initramfs()


def fetch():
    """Takes QEMU, a kernel, busybox and what unpacks them from Debian."""
    print("fetching QEMU and a kernel from Debian", flush=True)
    shutil.rmtree(CACHE, ignore_errors=True)
    packages = CACHE / "packages"
    (packages / "partial").mkdir(parents=True)
    run("apt-get", "update", "-qq")
    kernel = output("apt-cache", "depends", "linux-image-amd64").split("Depends: ")[1].split()[0]
    # The first command takes only what the machine lacks, with all that it depends on.
    run("apt-get", "install", "-y", "-qq", "--download-only", "--no-install-recommends",
        "-o", f"Dir::Cache::archives={packages}", "qemu-system-x86", "cpio", "e2fsprogs")
    run("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "busybox-static", kernel,
        cwd=packages)
    for package in packages.glob("*.deb"):
        run("dpkg-deb", "-x", package, TOOLS)
    shutil.rmtree(packages)
    shutil.copy(next((TOOLS / "boot").glob("vmlinuz-*")), PACKED_KERNEL)
    KERNEL.write_bytes(unpacked(PACKED_KERNEL))
    (CACHE / "fetched").touch()


def unpacked(image):
    """The kernel itself out of its compressed image."""
    data = image.read_bytes()
    sectors, (offset, length) = data[0x1f1], struct.unpack_from("<II", data, 0x248)
    payload = data[(sectors + 1) * 512 + offset:][:length]
    # Debian 12 takes xz; an image that is packed otherwise unpacks itself. Behind the compressed
    # kernel stands its length.
    return lzma.decompress(payload[:-4]) if payload.startswith(b"\xfd7zXZ") else data


def initramfs(planted=False):
    """Makes the guest's memory disk, and returns it. `planted`: with faults that can be planted."""
    archive = CACHE / ("initramfs-planted" if planted else "initramfs")
    static_rekindle(*(["--features", "planted-faults"] if planted else []))
    # Another run may be doing the same, or start a guest from it.
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        root, packed = Path(scratch) / "root", Path(scratch) / "packed"
        fill(root)
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        command = ("cpio", "--quiet", "-o", "-H", "newc")
        packed.write_bytes(tool(*command, data=names.encode(), cwd=root))
        packed.replace(archive)
    return archive


def fill(root):
    """Makes the folder of which the memory disk is packed."""
    for folder in ("bin", "usr/bin", "modules"):
        (root / folder).mkdir(parents=True)
    shutil.copy(TOOLS / "bin/busybox", root / "bin/busybox")
    shutil.copy(STATIC, root / "bin/rekindle")
    shutil.copy(HERE / "init", root / "init")
    shutil.copytree(HERE / "root", root, dirs_exist_ok=True)
    # Busybox has one, but it makes no cgroup namespaces.
    with_libraries(shutil.which("unshare"), root / "usr/bin", root)
    for module in MODULES:
        shutil.copy(next((TOOLS / "lib/modules").rglob(f"{module}.ko")), root / "modules")
    (root / "modules/order").write_text("".join(f"{module}\n" for module in MODULES))


def with_libraries(program, folder, root):
    """Copies a program of this machine, and what it is linked with to where it is looked for."""
    shutil.copy(program, folder)
    for library in re.findall(r"(/\S+) \(0x", output("ldd", program)):
        place = root / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)


def tools_env():
    """The environment in which the fetched programs run."""
    folders = [TOOLS / folder for folder in ("usr/sbin", "usr/bin", "sbin", "bin")]
    libraries = [TOOLS / folder / "x86_64-linux-gnu" for folder in ("usr/lib", "lib")]
    return dict(os.environ, PATH=":".join([*map(str, folders), os.environ["PATH"]]),
                LD_LIBRARY_PATH=":".join(map(str, libraries)))


def tool(*command, data=None, good=(0,), **options):
    """Runs a program of the fetched ones, or else of the machine; what it printed."""
    done = subprocess.run([str(word) for word in command], input=data, env=tools_env(),
                          capture_output=True, **options)
    check(done.returncode in good, f"{command[0]} ended with {done.returncode}: "
          f"{(done.stdout + done.stderr).decode(errors='replace')}")
    return done.stdout


def run(*command, **options):
    subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL, **options)


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Guest:
    """A running machine; its power is cut on leaving.

    `words` come behind the kernel's command line, `options` are QEMU's.
    """

    def __init__(self, scratch, words="", rtc="utc", kernel=KERNEL, options=(),
                 initramfs=CACHE / "initramfs"):
        self.log = scratch / "console.log"
        self.sockets = {name: scratch / f"{name}.sock" for name in ("orders", "monitor")}
        for path in self.sockets.values():
            path.unlink(missing_ok=True)
        self.command = [
            "qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-m", "256", "-smp", "1",
            "-nodefaults", "-no-user-config", "-display", "none",
            "-L", TOOLS / "usr/share/qemu", "-L", TOOLS / "usr/share/seabios",
            "-rtc", f"base={rtc}", "-kernel", kernel, "-initrd", initramfs,
            "-append", f"{COMMAND_LINE} {words}", "-serial", "stdio",
            "-serial", f"unix:{self.sockets['orders']},server=on,wait=off",
            "-qmp", f"unix:{self.sockets['monitor']},server=on,wait=off", *options]

    def __enter__(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in self.command], env=tools_env(), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)
        return self

    def __exit__(self, *_):
        self.cut()

    def cut(self):
        """The power cut: not even QEMU gets to do anything."""
        self.process.kill()
        self.process.wait()

    def connect(self, name):
        """Connects to one of QEMU's sockets once it is there."""
        def connected():
            check(self.process.poll() is None, f"QEMU ended with {self.process.poll()}")
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.sockets[name]))
            except OSError:
                connection.close()
                return None
            return connection
        return wait_until(f"QEMU listens on {name}", 20, connected)

    def boot(self):
        """Waits until the guest obeys."""
        self.orders = self.connect("orders")
        # A terminal says back what it is told until it is raw.
        self.answer(BOOT_TIMEOUT, "the guest has booted", nudge_every=BOOT_TIMEOUT)

    def ask(self, order, fails=False):
        """Has the guest run a line of shell; what it printed. `fails`: its exit code may be bad."""
        self.tell(order)
        return self.heard(order, fails)

    def tell(self, order):
        self.orders.sendall(order.encode() + b"\n")

    def heard(self, order, fails=False):
        """What the guest says to an order that it was told."""
        text, code = self.answer(ANSWER_TIMEOUT, order)
        check(fails or code == "0", f"in the guest, `{order}` ended with {code}: {text}")
        return text

    def answer(self, seconds, what, nudge_every=NUDGE_EVERY):
        """What comes from the guest up to its next end mark, and what stands in the mark."""
        said, end = b"", time.monotonic() + seconds
        while True:
            mark = re.search(rb"(?:^|\n)=== (\w+)\r?\n", said)
            if mark:
                return said[:mark.start()].decode(errors="replace"), mark[1].decode()
            left = end - time.monotonic()
            check(left > 0, f"no answer within {seconds} s: {what}; got {said[-500:]}")
            self.orders.settimeout(min(left, nudge_every))
            try:
                more = self.orders.recv(65536)
            except TimeoutError:
                # A serial port that has missed the interrupt for what it has to send sends it when
                # something comes; `read` drops blanks before an order.
                self.orders.sendall(b" ")
                continue
            check(more, f"the guest ended: {what}")
            said += more

    def monitor(self, order):
        """Gives QEMU itself an order (QMP); what it says to it."""
        with self.connect("monitor") as connection, connection.makefile("rw") as lines:
            lines.readline()
            for execute in ("qmp_capabilities", order):
                lines.write(json.dumps({"execute": execute}) + "\n")
                lines.flush()
                while "return" not in (said := json.loads(lines.readline())):
                    check("error" not in said, f"QEMU refuses {order}: {said}")
            return said["return"]

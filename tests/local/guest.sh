#!/usr/bin/env bash
# A virtual machine with systemd and control groups of version 2, for what a container cannot show.
#
#   guest.sh image DIR             make kernel, initrd and disk in DIR, with this checkout and its environments built
#   guest.sh boot DIR SCRIPT OUT   run SCRIPT (Python) inside, its output to OUT; the disk stays as it was
#
# Needs root, mmdebstrap and qemu-system-x86_64. The guest has no network and downloads nothing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
export HUBFLEET_TEST_PACKAGES="systemd systemd-sysv dbus udev kmod procps linux-image-cloud-amd64"

# Reads the script from the second disk, for the first one is shared by all runs.
unit='[Unit]
Description=The script of the test
After=multi-user.target dbus.service
[Service]
Type=simple
ExecStart=/bin/sh -c "tr -d \\\\000 </dev/vdb >/run/script.py; cd /root; /opt/hubfleet/.venv/bin/python /run/script.py >/dev/ttyS1 2>&1; poweroff -f"
[Install]
WantedBy=multi-user.target'

image() {
    local into=$1 root=$1/root
    mkdir -p "$into"
    "$here/clean_root.sh" build "$root"
    mkdir -p "$root/opt/hubfleet/tests/local"
    (cd "$checkout" && cp -r src pyproject.toml README.md LICENSE requirements "$root/opt/hubfleet/")
    cp "$here/harness.py" "$root/opt/hubfleet/tests/local/"
    printf '%s\n' "$unit" >"$root/etc/systemd/system/script.service"
    ln -s ../script.service "$root/etc/systemd/system/multi-user.target.wants/script.service"
    echo guest >"$root/etc/hostname"
    "$here/clean_root.sh" run "$root" "$(cat "$here/guest_setup.sh")"
    cp -L "$root/vmlinuz" "$root/initrd.img" "$into/"
    rm -rf "$root/root/.cache" "$root/var/cache/apt" "$root/var/lib/apt/lists"
    mke2fs -q -t ext4 -d "$root" "$into/disk.part" 4G
    rm -rf --one-file-system "$root"
    mv "$into/disk.part" "$into/disk"
}

boot() {
    local image=$1 script=$2 out=$3
    cp "$script" "$out.script"
    truncate --size=%512 "$out.script"
    exec qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 4 -m 3G -nographic -nodefaults -no-reboot \
        -kernel "$image/vmlinuz" -initrd "$image/initrd.img" \
        -append "root=/dev/vda rw console=ttyS0 quiet systemd.unified_cgroup_hierarchy=1" \
        -drive "file=$image/disk,if=virtio,format=raw,snapshot=on" \
        -drive "file=$out.script,if=virtio,format=raw,readonly=on" \
        -serial "file:$out.console" -serial "file:$out"
}

case "${1:-}" in
    image) image "$2" ;;
    boot) boot "$2" "$3" "$4" ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

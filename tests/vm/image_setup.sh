# Inside a guest's root, before it is a disk: what every guest is. Services are off: a test starts what it is about.
set -e
cd /etc/systemd/system

cat >guest-network.service <<'UNIT'
[Unit]
Description=Addresses that the kernel's command line names
DefaultDependencies=no
After=systemd-remount-fs.service
Before=network-pre.target network.target ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/guest-network
[Install]
WantedBy=multi-user.target
UNIT
cat >/usr/local/sbin/guest-network <<'SCRIPT'
#!/bin/sh
set -e
for word in $(cat /proc/cmdline); do
    case $word in guest.address=*) address=${word#*=} ;; esac
done
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
ip address add "$address/24" dev eth1
ip link set eth1 up
printf '%s\n' "127.0.0.1 localhost" "$address $(hostname)" >/etc/hosts
SCRIPT
chmod 755 /usr/local/sbin/guest-network
ln -sf ../guest-network.service multi-user.target.wants/guest-network.service

for unit in docker.service docker.socket containerd.service nfs-server.service nfs-client.target rpcbind.service \
    rpcbind.socket rpc-statd.service nfs-idmapd.service blkmapd.service xfs_scrub_all.timer apt-daily.timer \
    apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service; do
    find . -name "$unit" -type l -delete
done
ln -sf /dev/null getty.target
ln -sf /dev/null serial-getty@ttyS0.service

# An empty machine id is made anew at the first boot, without what else systemd does at the first boot of an image.
truncate --size 0 /etc/machine-id

mkdir -p -m 700 /root/.ssh
ssh-keygen -q -t ed25519 -N '' -C guest -f /root/.ssh/guest
mv /root/.ssh/guest.pub /root/.ssh/authorized_keys
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C guest -f /etc/ssh/ssh_host_ed25519_key
echo 'PermitRootLogin prohibit-password' >/etc/ssh/sshd_config.d/guest.conf

# What a machine would download in a test: it finds this, and is told that there is nothing newer.
apt-get update -q
apt-get install -q -y --download-only --no-install-recommends nfs-kernel-server xfsprogs
echo 'Acquire::Languages "none"; Acquire::http::Timeout "5"; Acquire::Retries "0";' >/etc/apt/apt.conf.d/90guest

# Only what finds the disk and the network: the usual one is several times larger, and has to be unpacked.
echo 'MODULES=list' >/etc/initramfs-tools/conf.d/guest
printf '%s\n' virtio_pci virtio_blk virtio_net ext4 >>/etc/initramfs-tools/modules
update-initramfs -u

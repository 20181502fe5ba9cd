#!/bin/busybox sh
# The first process of the guest that `cargo xtask test-vm` boots: loads the modules, makes two RDMA adapters in
# software, runs what it was given, reports its exit code on the serial console and switches the machine off.
export PATH=/bin:/usr/bin:/sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
hostname guest

while read -r module; do
    insmod "/modules/$module" || echo "test-vm: cannot load $module"
done < /modules/order

# A thousand channels hold several descriptors each.
ulimit -n 65536
ip link set lo up
# A second network device, so that there are two adapters: each port of `rdma link` has one.
ip link set dummy0 up
ip address add 10.99.0.1/24 dev dummy0
rdma link add rxe0 type rxe netdev lo || echo "test-vm: no adapter on lo"
rdma link add rxe1 type rxe netdev dummy0 || echo "test-vm: no adapter on dummy0"

echo "test-vm: Linux $(uname -r), modules:" $(cut -d' ' -f1 /proc/modules)
rdma link
ibv_devices

/command
code=$?
[ "$code" = 0 ] || dmesg | grep -v 'speed is unknown' | tail -n 20
# The console is slow; let it print everything before the marker that ends the run.
echo
echo "test-vm: exit $code"
poweroff -f

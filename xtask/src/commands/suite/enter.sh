# Runs the words from the third on in the root folder $1, with this machine's devices and processes, its files in /host, and
# the folder $2 under its own name. What is mounted is seen by them alone, and gone with them.
set -e
root=$1
folder=$2
shift 2
mkdir -p "$root/dev" "$root/proc" "$root/tmp" "$root/host/usr"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount --bind /usr "$root/host/usr"
for links in lib lib64; do
    ln -sfn "usr/$links" "$root/host/$links"
done
mount -t tmpfs tmpfs "$root/tmp"
chmod 1777 "$root/tmp"
mkdir -p "$root$folder"
mount --bind "$folder" "$root$folder"
exec chroot "$root" "$@"

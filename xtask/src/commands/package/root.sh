# Runs the words from the third on in a root folder of their own: all files of this system, of which what is changed lies in
# memory and is gone with them. The root is mounted below the
# folder $1, and the folder $2 is seen in it as /tmp/packages. Called in mount and process namespaces of its own.
set -e
space=$1
packages=$2
shift 2
# Nothing that is mounted here is seen outside.
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$space"
mkdir "$space/changes" "$space/work" "$space/root"
mount -t overlay -o "lowerdir=/,upperdir=$space/changes,workdir=$space/work" overlay "$space/root"
root=$space/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/tmp/packages"
mount --bind "$packages" "$root/tmp/packages"
cd "$root"
exec chroot "$root" "$@"

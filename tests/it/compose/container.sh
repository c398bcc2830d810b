#!/usr/bin/env bash
# One service of docker-compose.yml: a root of its own that cannot be written, without capabilities.
#
#   container.sh ROOT NAMES [SOURCE:TARGET:MODE]... -- COMMAND...
#
# ROOT: an empty directory; NAMES: a directory with the file `hosts`; MODE: ro or rw; a SOURCE `tmpfs` is a directory for
# the SOURCEs after it. Runs in a mount namespace of its own; needs mount, setpriv (util-linux) and chroot (coreutils).
set -euo pipefail
root=$1 names=$2
shift 2
mount -t tmpfs -o mode=755 tmpfs "$root"

# The programs of this machine stand in for those of the images.
for entry in /*; do
  name=${entry#/}
  case $name in etc | run | data) continue ;; esac
  if [ -L "$entry" ]; then
    cp -P "$entry" "$root/"
  elif [ -d "$entry" ]; then
    mkdir "$root/$name"
    mount --rbind "$entry" "$root/$name"
    case $name in proc | dev | sys) ;; *) mount -o remount,bind,ro "$root/$name" ;; esac
  fi
done

mkdir "$root/.etc" "$root/.names" "$root/etc" "$root/run" "$root/data"
mount --rbind /etc "$root/.etc"
mount --bind "$names" "$root/.names"
for entry in /etc/*; do
  ln -s "/.etc/${entry#/etc/}" "$root/etc/"
done
rm -f "$root"/etc/{hosts,nsswitch.conf,resolv.conf}
ln -s /.names/hosts "$root/etc/hosts"
echo 'hosts: files' >"$root/etc/nsswitch.conf"

covered=()
while [ "$1" != -- ]; do
  IFS=: read -r source target mode <<<"$1"
  shift
  if [ "$source" = tmpfs ]; then
    mount -t tmpfs tmpfs "$root$target"
    covered+=("$root$target")
    continue
  fi
  mkdir -p "$(dirname "$root$target")"
  if [ -d "$source" ]; then mkdir -p "$root$target"; else touch "$root$target"; fi
  mount --bind "$source" "$root$target"
  [ "$mode" = rw ] || mount -o remount,bind,ro "$root$target"
done
shift
for mounted in "$root" "${covered[@]}"; do
  mount -o remount,bind,ro "$mounted"
done
exec chroot "$root" setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"

// What containerd's own mount code takes, measured in its own process:
//
//	userns UIDMAP GIDMAP                     GetUsernsFD, and closing it
//	mount TYPE SOURCE TARGET OPTION...       mount.All and mount.UnmountAll
//	command TYPE SOURCE TARGET OPTION...     mount(8) and umount(8) instead, each a subprocess
//
// It keeps no user namespace: one that it has made before costs as much as a new one.
package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"

	"bench-peer/lines"

	"github.com/containerd/containerd/v2/core/mount"
)

func main() {
	// Its idmapped layers are mounted there for a moment.
	if err := mount.SetTempMountLocation(os.Args[1]); err != nil {
		panic(err)
	}
	lines.Serve(map[string]lines.Act{
		"userns":  lines.Timed(userns),
		"mount":   lines.Timed(mountAndUnmount),
		"command": lines.Timed(byCommand),
	})
}

func userns(args []string) error {
	fd, err := mount.GetUsernsFD(args[0], args[1])
	if err != nil {
		return err
	}
	return fd.Close()
}

func mountAndUnmount(args []string) error {
	// Options of its own each time: those that are handed over are changed.
	options := slices.Clone(args[3:])
	mounts := []mount.Mount{{Type: args[0], Source: args[1], Options: options}}
	if err := mount.All(mounts, args[2]); err != nil {
		return err
	}
	return mount.UnmountAll(args[2], 0)
}

func byCommand(args []string) error {
	options := []string{"-t", args[0], "-o", strings.Join(args[3:], ","), args[1], args[2]}
	if args[0] == "bind" {
		options = options[2:]
	}
	if err := exec.Command("mount", options...).Run(); err != nil {
		return err
	}
	return exec.Command("umount", args[2]).Run()
}

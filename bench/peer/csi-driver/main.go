// A CSI node plugin as those of kubernetes-csi are written (csi-driver-nfs, -smb and -host-path; their binaries are no Go
// modules): k8s.io/mount-utils, mount(8) as a subprocess, no record of anything. It publishes
//
//	{"source": DIRECTORY}                          a bind mount
//	{"type": "overlay", "lowerdir": LAYERS}        an overlay
//
// Its flag is that of those drivers: -endpoint unix:///csi.sock
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/mount-utils"
)

func main() {
	endpoint := flag.String("endpoint", "", "unix://PATH")
	flag.String("nodeid", "", "as those drivers have it")
	flag.Parse()
	listener, err := net.Listen("unix", strings.TrimPrefix(*endpoint, "unix://"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server := grpc.NewServer()
	csi.RegisterNodeServer(server, &node{mounter: mount.New("")})
	csi.RegisterIdentityServer(server, &identity{})
	if err := server.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type identity struct {
	csi.UnimplementedIdentityServer
}

func (*identity) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

type node struct {
	csi.UnimplementedNodeServer
	mounter mount.Interface
	// As their VolumeLocks.
	busy sync.Map
}

func (n *node) NodeStageVolume(context.Context, *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	return &csi.NodeStageVolumeResponse{}, nil
}

func (n *node) NodeUnstageVolume(context.Context, *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	return &csi.NodeUnstageVolumeResponse{}, nil
}

func (n *node) NodePublishVolume(_ context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if request.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume capability missing in request")
	}
	volume, target := request.GetVolumeId(), request.GetTargetPath()
	if volume == "" || target == "" {
		return nil, status.Error(codes.InvalidArgument, "volume id or target path missing in request")
	}
	done, err := n.take(volume + target)
	if err != nil {
		return nil, err
	}
	defer done()
	notMounted, err := n.mounter.IsLikelyNotMountPoint(target)
	if err != nil {
		if !os.IsNotExist(err) {
			return nil, status.Error(codes.Internal, err.Error())
		}
		if err := os.MkdirAll(target, 0o777); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		notMounted = true
	}
	if !notMounted {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	if err := n.mount(request); err != nil {
		os.Remove(target)
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *node) mount(request *csi.NodePublishVolumeRequest) error {
	options := request.GetVolumeCapability().GetMount().GetMountFlags()
	if request.GetReadonly() {
		options = append(options, "ro")
	}
	wanted := request.GetVolumeContext()
	if wanted["type"] == "overlay" {
		options = append(options, "lowerdir="+wanted["lowerdir"])
		return n.mounter.Mount("overlay", request.GetTargetPath(), "overlay", options)
	}
	return n.mounter.Mount(wanted["source"], request.GetTargetPath(), "", append(options, "bind"))
}

func (n *node) NodeUnpublishVolume(_ context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	volume, target := request.GetVolumeId(), request.GetTargetPath()
	if volume == "" || target == "" {
		return nil, status.Error(codes.InvalidArgument, "volume id or target path missing in request")
	}
	done, err := n.take(volume + target)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := n.cleanUp(target); err != nil {
		return nil, status.Errorf(codes.Internal, "failed to unmount target %q: %v", target, err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// As csi-driver-nfs and -smb do, with their extensive check.
func (n *node) cleanUp(target string) error {
	if forceful, ok := n.mounter.(mount.MounterForceUnmounter); ok {
		return mount.CleanupMountWithForce(target, forceful, true, 30*time.Second)
	}
	return mount.CleanupMountPoint(target, n.mounter, true)
}

func (n *node) take(what string) (func(), error) {
	if _, busy := n.busy.LoadOrStore(what, true); busy {
		return nil, status.Errorf(codes.Aborted, "an operation with %s already exists", what)
	}
	return func() { n.busy.Delete(what) }, nil
}

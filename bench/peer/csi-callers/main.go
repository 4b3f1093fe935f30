// Calls a CSI node plugin as kubelet does, a connection for each call, and says what each publish and unpublish took:
//
//	stage SOCKET VOLUMES CONTEXT DIRECTORY                  NodeStageVolume of volumes 0, 1, ...; nothing is measured
//	unstage SOCKET VOLUMES CONTEXT DIRECTORY
//	cycle SOCKET CALLERS TIMES CONTEXT DIRECTORY            for each cycle of each caller: NodePublish and NodeUnpublish
//	publish SOCKET CALLERS TIMES CONTEXT DIRECTORY GROUP    NodePublish alone, with an fsGroup if it is not empty
//
// CONTEXT is the volume context as JSON. DIRECTORY is kubelet's: the targets lie in it where kubelet has them. Each caller
// has a volume and a target of its own.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"bench-peer/lines"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func main() {
	lines.Serve(map[string]lines.Act{
		"stage":   each(stage),
		"unstage": each(unstage),
		"cycle":   cycles,
		"publish": publishes,
	})
}

// One volume of a plugin, as kubelet has it.
type volume struct {
	socket, id, staging, target string
	context                     map[string]string
	group                       string
}

func volumeOf(socket, context, directory string, number int) (*volume, error) {
	id := fmt.Sprintf("bench-%d", number)
	v := &volume{
		socket:  socket,
		id:      id,
		staging: filepath.Join(directory, "plugins/kubernetes.io/csi/idmap.csi.dev", id, "globalmount"),
		target:  filepath.Join(directory, "pods/uid-of-"+id, "volumes/kubernetes.io~csi/data/mount"),
	}
	if err := json.Unmarshal([]byte(context), &v.context); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(v.staging, 0o750); err != nil {
		return nil, err
	}
	return v, os.MkdirAll(filepath.Dir(v.target), 0o750)
}

func each(call func(*volume) error) lines.Act {
	return func(args []string) ([]time.Duration, error) {
		count, err := strconv.Atoi(args[1])
		for i := 0; i < count && err == nil; i++ {
			var v *volume
			if v, err = volumeOf(args[0], args[2], args[3], i); err == nil {
				err = call(v)
			}
		}
		return nil, err
	}
}

func cycles(args []string) ([]time.Duration, error) {
	return byCallers(args, "", func(v *volume) (time.Duration, error) {
		begun := time.Now()
		if err := publish(v); err != nil {
			return 0, err
		}
		err := unpublish(v)
		return time.Since(begun), err
	})
}

func publishes(args []string) ([]time.Duration, error) {
	return byCallers(args, args[5], func(v *volume) (time.Duration, error) {
		begun := time.Now()
		if err := publish(v); err != nil {
			return 0, err
		}
		took := time.Since(begun)
		return took, unpublish(v)
	})
}

func byCallers(args []string, group string, measured func(*volume) (time.Duration, error)) ([]time.Duration, error) {
	callers, err := strconv.Atoi(args[1])
	if err != nil {
		return nil, err
	}
	times, err := strconv.Atoi(args[2])
	if err != nil {
		return nil, err
	}
	took := make([]time.Duration, callers*times)
	failed := make([]error, callers)
	var all sync.WaitGroup
	for caller := range callers {
		v, err := volumeOf(args[0], args[3], args[4], caller)
		if err != nil {
			return nil, err
		}
		v.group = group
		all.Go(func() {
			for i := range times {
				if took[caller*times+i], failed[caller] = measured(v); failed[caller] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}
	return took, nil
}

func (v *volume) capability() *csi.VolumeCapability {
	mount := &csi.VolumeCapability_MountVolume{VolumeMountGroup: v.group}
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: mount},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

func publish(v *volume) error {
	return call(v, func(ctx context.Context, node csi.NodeClient) error {
		_, err := node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
			VolumeId: v.id, StagingTargetPath: v.staging, TargetPath: v.target,
			VolumeCapability: v.capability(), VolumeContext: v.context,
		})
		return err
	})
}

func unpublish(v *volume) error {
	return call(v, func(ctx context.Context, node csi.NodeClient) error {
		_, err := node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.id, TargetPath: v.target})
		return err
	})
}

func stage(v *volume) error {
	return ifImplemented(v, func(ctx context.Context, node csi.NodeClient) error {
		_, err := node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
			VolumeId: v.id, StagingTargetPath: v.staging,
			VolumeCapability: v.capability(), VolumeContext: v.context,
		})
		return err
	})
}

func unstage(v *volume) error {
	return ifImplemented(v, func(ctx context.Context, node csi.NodeClient) error {
		_, err := node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: v.id, StagingTargetPath: v.staging})
		return err
	})
}

// Kubelet asks for the capability instead.
func ifImplemented(v *volume, request func(context.Context, csi.NodeClient) error) error {
	if err := call(v, request); status.Code(err) != codes.Unimplemented {
		return err
	}
	return nil
}

func call(v *volume, request func(context.Context, csi.NodeClient) error) error {
	connection, err := grpc.NewClient("unix://"+v.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return request(ctx, csi.NewNodeClient(connection))
}

// A container runtime as far as NRI goes, by containerd's own code: it listens for plugins, and relays to them what it
// reads from standard input, a JSON object a line:
//
//	{"id": 1, "call": "SetState", "pods": [...], "containers": [...]}   what plugins are told when they register
//	{"id": 2, "call": "RunPodSandbox", "pod": {...}}
//	{"id": 4, "call": "CreateContainer", "pod": {...}, "container": {...}, "spec": {...}}
//
// Answers have the same id, how long it took, and what went wrong; for CreateContainer the OCI spec as containerd would
// change it. {"plugins": N} comes when plugins come and go. It ends with its input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/runtime-tools/generate"
	oci "github.com/opencontainers/runtime-spec/specs-go"
)

type request struct {
	ID         int               `json:"id"`
	Call       string            `json:"call"`
	Pod        *api.PodSandbox   `json:"pod"`
	Container  *api.Container    `json:"container"`
	Pods       []*api.PodSandbox `json:"pods"`
	Containers []*api.Container  `json:"containers"`
	Spec       *oci.Spec         `json:"spec"`
}

type answer struct {
	ID    int       `json:"id"`
	Error string    `json:"error,omitempty"`
	Ms    float64   `json:"ms"`
	Spec  *oci.Spec `json:"spec,omitempty"`
}

type host struct {
	sync.Mutex
	runtime    *adaptation.Adaptation
	pods       []*api.PodSandbox
	containers []*api.Container
}

var output struct {
	sync.Mutex
	*json.Encoder
}

func main() {
	socket := flag.String("socket", "", "where plugins connect")
	timeout := flag.Duration("timeout", 2*time.Second, "for each request of a plugin")
	flag.Parse()
	output.Encoder = json.NewEncoder(os.Stdout)
	if err := run(*socket, *timeout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(socket string, timeout time.Duration) error {
	h := &host{}
	adaptation.SetPluginRequestTimeout(timeout)
	runtime, err := adaptation.New("nri-host", "1.2.3", h.sync, h.update,
		adaptation.WithSocketPath(socket), adaptation.WithPluginPath("/nonexistent"),
		adaptation.WithPluginConfigPath("/nonexistent"), adaptation.WithMetrics(plugins{}))
	if err != nil {
		return err
	}
	h.runtime = runtime
	if err := runtime.Start(); err != nil {
		return err
	}
	defer runtime.Stop()
	say(map[string]any{"listening": socket})
	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return nil
		}
		var asked request
		if err := json.Unmarshal(line, &asked); err != nil {
			return err
		}
		go func() { say(h.answer(&asked)) }()
	}
}

func (h *host) answer(asked *request) answer {
	begun := time.Now()
	spec, err := h.carryOut(asked)
	given := answer{ID: asked.ID, Ms: float64(time.Since(begun).Nanoseconds()) / 1e6, Spec: spec}
	if err != nil {
		given.Error = err.Error()
	}
	return given
}

func (h *host) carryOut(asked *request) (*oci.Spec, error) {
	ctx := context.Background()
	switch asked.Call {
	case "SetState":
		h.Lock()
		defer h.Unlock()
		h.pods, h.containers = asked.Pods, asked.Containers
		return nil, nil
	case "RunPodSandbox":
		return nil, h.runtime.RunPodSandbox(ctx, &api.RunPodSandboxRequest{Pod: asked.Pod})
	case "CreateContainer":
		return h.createContainer(ctx, asked)
	}
	return nil, fmt.Errorf("no such call: %s", asked.Call)
}

// As containerd does, internal/cri/nri/nri_api_linux.go.
func (h *host) createContainer(ctx context.Context, asked *request) (*oci.Spec, error) {
	container := asked.Container
	container.Mounts = api.FromOCIMounts(asked.Spec.Mounts)
	response, err := h.runtime.CreateContainer(ctx, &api.CreateContainerRequest{Pod: asked.Pod, Container: container})
	if err != nil {
		return nil, err
	}
	spec := asked.Spec
	if err := generate.SpecGenerator(&mounts{spec: spec}).AdjustMounts(response.Adjust.GetMounts()); err != nil {
		return nil, err
	}
	return spec, nil
}

// With h.Lock() held, or a plugin could miss what comes between.
func (h *host) sync(ctx context.Context, synchronize adaptation.SyncCB) error {
	h.Lock()
	defer h.Unlock()
	_, err := synchronize(ctx, h.pods, h.containers)
	return err
}

func (h *host) update(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) {
	return nil, nil
}

// What of runtime-tools' Generator the adjustment of mounts needs; anything else would be a nil pointer.
type mounts struct {
	generate.UnderlyingGenerator
	spec *oci.Spec
}

func (m *mounts) Spec() *oci.Spec        { return m.spec }
func (m *mounts) Mounts() []oci.Mount    { return m.spec.Mounts }
func (m *mounts) ClearMounts()           { m.spec.Mounts = nil }
func (m *mounts) AddMount(one oci.Mount) { m.spec.Mounts = append(m.spec.Mounts, one) }

func (m *mounts) RemoveMount(destination string) {
	for i, one := range m.spec.Mounts {
		if one.Destination == destination {
			m.spec.Mounts = append(m.spec.Mounts[:i], m.spec.Mounts[i+1:]...)
			return
		}
	}
}

func (m *mounts) SetLinuxRootPropagation(propagation string) error {
	m.spec.Linux.RootfsPropagation = strings.TrimPrefix(propagation, "MS_")
	return nil
}

type plugins struct{}

func (plugins) RecordPluginInvocation(string, string, error)      {}
func (plugins) RecordPluginLatency(string, string, time.Duration) {}
func (plugins) UpdatePluginCount(count int)                       { say(map[string]any{"plugins": count}) }
func (plugins) RecordPluginAdjustments(string, string, *api.ContainerAdjustment, int, int) {
}

func say(what any) {
	output.Lock()
	defer output.Unlock()
	output.Encode(what)
}

// Registers the plugin behind a socket as kubelet does, by kubelet's own client and gRPC: asks for its info, which it
// prints as JSON, and tells it the outcome: registered, or the problem given as the second argument. It is as patient as
// kubelet; the third argument says how many times as patient, where the machine is slower than any that kubelet runs on.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func main() {
	scale, err := strconv.Atoi(os.Args[3])
	if err == nil {
		err = register(os.Args[1], os.Args[2], time.Duration(scale)*time.Second)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func register(socket, problem string, second time.Duration) error {
	// kubelet, pkg/kubelet/pluginmanager/operationexecutor/operation_generator.go
	dialing, cancel := context.WithTimeout(context.Background(), 10*second)
	defer cancel()
	connection, err := grpc.DialContext(dialing, socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithBlock(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", address)
		}))
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer connection.Close()
	client := registration.NewRegistrationClient(connection)

	asking, cancel := context.WithTimeout(context.Background(), second)
	defer cancel()
	info, err := client.GetInfo(asking, &registration.InfoRequest{})
	if err != nil {
		return fmt.Errorf("GetInfo: %w", err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{
		"type": info.Type, "name": info.Name, "endpoint": info.Endpoint, "versions": info.SupportedVersions,
	}); err != nil {
		return err
	}

	telling, cancel := context.WithTimeout(context.Background(), 5*second)
	defer cancel()
	_, err = client.NotifyRegistrationStatus(telling, &registration.RegistrationStatus{
		PluginRegistered: problem == "", Error: problem,
	})
	return err
}

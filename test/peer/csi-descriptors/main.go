// Prints the descriptor of csi.proto as the CSI specification's own Go module carries it, in protobuf's
// JSON form. The test beside it in test/unit/rpc/csi-proto.test.ts compares it with our proto/csi.proto.
package main

import (
	"fmt"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protodesc"
)

func main() {
	file := protodesc.ToFileDescriptorProto(csi.File_csi_proto)
	text, err := protojson.Marshal(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(text))
}

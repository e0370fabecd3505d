// Command golangci-lint is golangci-lint v2 with the plugins that this project
// uses compiled in.
//
// Upstream's own way to add a plugin ("golangci-lint custom") clones its
// repository from the network, at a tag. This main is the same program from
// the module proxy, pinned by go.sum as everything else is.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"

	_ "sigs.k8s.io/kube-api-linter" // registers the plugin kubeapilinter
)

func main() {
	if err := commands.Execute(buildInfo()); err != nil {
		fmt.Fprintln(os.Stderr, "golangci-lint:", err)
		os.Exit(exitcodes.Failure)
	}
}

// buildInfo names the version of golangci-lint that is inside, which is what
// the configuration file and its cache depend on.
func buildInfo() commands.BuildInfo {
	info := commands.BuildInfo{Version: "unknown", GoVersion: "unknown", Commit: "from the module proxy", Date: "-"}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	info.GoVersion = build.GoVersion
	for _, module := range build.Deps {
		if module.Path == "github.com/golangci/golangci-lint/v2" {
			info.Version = module.Version[1:]
		}
	}
	return info
}

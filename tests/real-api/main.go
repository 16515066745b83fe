// Command real-api is what a Kubernetes API is made of, in one program for tests: etcd and kube-apiserver, both as
// upstream ships them, and the keys between them. The first argument says which; a process is one of them.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"

	// The apiserver counts its own requests and tells its version in /metrics only with these.
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func main() {
	os.Exit(run())
}

func run() int {
	// Made only when asked for: making one installs signal handlers and global flags.
	commands := map[string]func() *cobra.Command{
		"keys":           keysCommand,
		"etcd":           etcdCommand,
		"kube-apiserver": app.NewAPIServerCommand,
	}
	if len(os.Args) > 1 {
		if command, known := commands[os.Args[1]]; known {
			os.Args = os.Args[1:]
			return cli.Run(command())
		}
	}
	fmt.Fprintln(os.Stderr, "usage: real-api keys|etcd|kube-apiserver FLAGS")
	return 2
}

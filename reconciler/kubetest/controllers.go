package kubetest

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"

	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/process"
)

// StartControllers runs Kubernetes' own controllers of these names, for example
// garbage-collector-controller, until the cluster is stopped. They are built
// first if need be, which takes minutes.
func (c *Cluster) StartControllers(ctx context.Context, names ...string) error {
	bin, err := assets.Ensure(ctx, c.options.Progress, "kube-controller-manager")
	if err != nil {
		return err
	}
	ports, err := process.Ports(1)
	if err != nil {
		return err
	}
	c.controllers, err = process.Start(process.Spec{
		Name: "kube-controller-manager", Path: bin.Path("kube-controller-manager"), Dir: c.dir,
		Args: []string{
			"--kubeconfig=" + c.Kubeconfig, "--controllers=" + strings.Join(names, ","), "--leader-elect=false",
			"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(ports[0]),
			"--tls-cert-file=" + c.pki.serverCert, "--tls-private-key-file=" + c.pki.serverKey,
		},
		Env: []string{"HOME=" + c.dir}, Log: filepath.Join(c.dir, "kube-controller-manager.log"),
	})
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c.admin)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := c.controllers.Wait(ctx, process.OK(client, "https://"+process.Addr(ports[0])+"/healthz")); err != nil {
		return fmt.Errorf("starting kube-controller-manager: %w", err)
	}
	return nil
}

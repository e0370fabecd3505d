package main

import (
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
)

// cluster holds the flags of verbs that talk to an API server.
type cluster struct {
	kubeconfig, namespace string
}

func (c *cluster) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.kubeconfig, "kubeconfig", "", "kubeconfig `file` (default: $KUBECONFIG, then ~/.kube/config)")
	cmd.Flags().StringVarP(&c.namespace, "namespace", "n", "millwright-system", "namespace of the Factory")
}

// connect reads the configuration; the first request is made later.
func (c *cluster) connect() (*rest.Config, client.Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		err = errors.New("no API server is named")
	}
	if err != nil {
		err = fmt.Errorf("reading the kubeconfig: %w", err)
		return nil, nil, unknown{report.ReasonClusterUnreachable, "name a readable kubeconfig with --kubeconfig or $KUBECONFIG", err}
	}
	cfg.UserAgent, cfg.QPS = "millwright/"+version, -1
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, nil, fmt.Errorf("registering the built-in kinds: %w", err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, nil, fmt.Errorf("registering our kinds: %w", err)
	}
	ctrllog.SetLogger(logr.Discard()) // the client has nothing to tell a user that an error does not
	k, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, nil, fmt.Errorf("preparing the connection to the API server: %w", err)
	}
	return cfg, k, nil
}

package node

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// ready asks whether the kubelet says that pods may be started. What an earlier
// one said with the same data does not count; the API server counts in seconds.
func (n *Node) ready(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(n.admin)
	if err != nil {
		return err
	}
	node, err := client.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady || c.LastHeartbeatTime.Unix() <= n.began.Unix() {
			continue
		}
		if c.Status == corev1.ConditionTrue {
			return nil
		}
		return fmt.Errorf("%w: %s: %s", errNotReady, c.Reason, c.Message)
	}
	return errNotReady
}
